"""The experiment spec's protobuf schema, field by field, as descriptors: no compiler is needed."""

from __future__ import annotations

import re

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

# One line a message: `[repeated] name:type=tag`, `|` before the members of a oneof, map<key,value>, and enum{…}.
_MESSAGES = {
    "Experiment": """
        dataset_config:YOLOv3DatasetConfig=1 augmentation_config:AugmentationConfig=2 training_config:TrainingConfig=3
        eval_config:EvalConfig=4 nms_config:NMSConfig=5 yolov4_config:YOLOv4Config=6 random_seed:uint32=7
        class_weighting_config:ClassWeightingConfig=8""",
    "YOLOv3DatasetConfig": """
        *data_sources:YOLOv3DataSource=1 target_class_mapping:map<string,string>=2
        *validation_data_sources:YOLOv3DataSource=3 validation_fold:uint32=4 type:string=5 image_extension:string=6
        include_difficult_in_training:bool=7 is_monochrome:bool=8""",
    "YOLOv3DataSource": """
        label_directory_path|labels_format:string=1 tfrecords_path|labels_format:string=2 image_directory_path:string=3
        root_path:string=4 source_weight:float=5""",
    "AugmentationConfig": """
        hue:float=1 saturation:float=2 exposure:float=3 vertical_flip:float=4 horizontal_flip:float=5 jitter:float=6
        output_width:int32=7 output_height:int32=8 output_channel:int32=9 randomize_input_shape_period:int32=10
        mosaic_prob:float=11 mosaic_min_ratio:float=12 image_mean:map<string,float>=13 output_depth:uint32=14""",
    "TrainingConfig": """
        batch_size_per_gpu:uint32=1 num_epochs:uint32=2 learning_rate:LearningRateConfig=3 regularizer:RegularizerConfig=4
        optimizer:OptimizerConfig=5 cost_scaling:CostScalingConfig=6 checkpoint_interval:uint32=7 enable_qat:bool=8
        resume_model_path|load_model:string=9 pretrain_model_path|load_model:string=10
        pruned_model_path|load_model:string=11 max_queue_size:uint32=12 n_workers:uint32=13 use_multiprocessing:bool=14
        early_stopping:EarlyStopping=15 visualizer:VisualizerConfig=16 model_ema:bool=17""",
    "EarlyStopping": "monitor:string=1 min_delta:float=2 patience:uint32=3",
    "LearningRateConfig": """
        soft_start_annealing_schedule|learning_rate:SoftStartAnnealing=1
        soft_start_cosine_annealing_schedule|learning_rate:SoftStartCosine=2""",
    "SoftStartAnnealing": "min_learning_rate:float=1 max_learning_rate:float=2 soft_start:float=3 annealing:float=4",
    "SoftStartCosine": "max_learning_rate:float=1 soft_start:float=2 min_learning_rate:float=3",
    "RegularizerConfig": "type:enum{NO_REG,L1,L2}=1 weight:float=2",
    "OptimizerConfig": "adam|optimizer:Adam=1 sgd|optimizer:Sgd=2 rmsprop|optimizer:RmsProp=3",
    "Adam": "epsilon:float=1 beta1:float=2 beta2:float=3 amsgrad:bool=4",
    "Sgd": "momentum:float=1 nesterov:bool=2",
    "RmsProp": "rho:float=1 momentum:float=2 epsilon:float=3 centered:bool=4",
    "CostScalingConfig": "enabled:bool=1 initial_exponent:double=2 increment:double=3 decrement:double=4",
    "EvalConfig": """
        average_precision_mode:enum{SAMPLE,INTEGRATE}=1 batch_size:uint32=2 matching_iou_threshold:float=3
        visualize_pr_curve:bool=4""",
    "NMSConfig": """
        confidence_threshold:float=1 clustering_iou_threshold:float=2 top_k:uint32=3 infer_nms_score_bits:uint32=4
        force_on_cpu:bool=5""",
    "YOLOv4Config": """
        big_anchor_shape:string=1 mid_anchor_shape:string=2 small_anchor_shape:string=3 matching_neutral_box_iou:float=4
        box_matching_iou:float=5 arch:string=6 nlayers:uint32=7 arch_conv_blocks:uint32=8 loss_loc_weight:float=9
        loss_neg_obj_weights:float=10 loss_class_weights:float=11 *freeze_blocks:float=12 freeze_bn:bool=13
        force_relu:bool=14 focal_loss_alpha:float=15 focal_loss_gamma:float=16 label_smoothing:float=17
        big_grid_xy_extend:float=18 mid_grid_xy_extend:float=19 small_grid_xy_extend:float=20 activation:string=21""",
    "VisualizerConfig": """
        enabled:bool=1 num_images:uint32=2 weight_histograms:bool=3 wandb_config:WandBConfig=4
        clearml_config:ClearMLConfig=5""",
    "WandBConfig": """
        enabled:bool=1 key:string=2 project:string=3 entity:string=4 reinit:bool=5 name:string=6 *tags:string=7
        wandb_dir:string=8 notes:string=9 mode:enum{ONLINE,OFFLINE,DISABLED}=10""",
    "ClearMLConfig": """
        project:string=1 task:string=2 *tags:string=3 reuse_last_task_id:bool=4 continue_last_task:bool=5
        deferred_init:bool=6""",
    "ClassWeightingConfig": "class_weighting:map<string,float>=1 enable_auto:bool=2",
}
_FIELD = re.compile(
    r"(?P<repeated>\*?)(?P<name>\w+)(?:\|(?P<oneof>\w+))?:(?P<type>map<\w+,\w+>|enum\{[\w,]+\}|\w+)=(?P<tag>\d+)"
)
_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "string": _Field.TYPE_STRING,
    "bool": _Field.TYPE_BOOL,
    "float": _Field.TYPE_FLOAT,
    "double": _Field.TYPE_DOUBLE,
    "int32": _Field.TYPE_INT32,
    "uint32": _Field.TYPE_UINT32,
}


def _typed(field: _Field, kind: str) -> None:
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{kind}"


def _message(file: descriptor_pb2.FileDescriptorProto, name: str, fields: str) -> None:
    message = file.message_type.add(name=name)
    oneofs: list[str] = []
    for text in fields.split():
        found = _FIELD.fullmatch(text)
        assert found, f"{name}: {text}"
        kind = found["type"]
        repeated = found["repeated"] or kind.startswith("map<")
        field = message.field.add(
            name=found["name"],
            number=int(found["tag"]),
            label=_Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL,
        )
        if kind.startswith("map<"):
            entry_name = "".join(part.capitalize() for part in found["name"].split("_")) + "Entry"
            entry = message.nested_type.add(name=entry_name)
            entry.options.map_entry = True
            for number, (part, of) in enumerate(zip(("key", "value"), kind[4:-1].split(","), strict=True), start=1):
                _typed(entry.field.add(name=part, number=number, label=_Field.LABEL_OPTIONAL), of)
            field.type, field.type_name = _Field.TYPE_MESSAGE, f".{name}.{entry_name}"
        elif kind.startswith("enum{"):
            enum = message.enum_type.add(name=f"{found['name']}_values")
            for number, value in enumerate(kind[5:-1].split(",")):
                enum.value.add(name=value, number=number)
            field.type, field.type_name = _Field.TYPE_ENUM, f".{name}.{enum.name}"
        else:
            _typed(field, kind)
        if found["oneof"]:
            if found["oneof"] not in oneofs:
                oneofs.append(found["oneof"])
                message.oneof_decl.add(name=found["oneof"])
            field.oneof_index = oneofs.index(found["oneof"])


def _experiment() -> type:
    file = descriptor_pb2.FileDescriptorProto(name="yolo_v4_stand_in.proto", syntax="proto3")
    for name, fields in _MESSAGES.items():
        _message(file, name, fields)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("Experiment"))


Experiment = _experiment()
"""The root message."""
