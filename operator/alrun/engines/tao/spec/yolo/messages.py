"""The schema of yolo_v4's experiment specs: text form of protocol buffers, as in TAO 5.0, the last release.

The table says of each message its fields, as `name type number`; `*` before a type: any number of them, `map T`: by
string keys, `|name`: one of the fields that exclude each other under that name. Numbers are those of NVIDIA's own
schema, though the text form never shows them. No compiler of protocol buffers is needed, at no time.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

TABLE = """
Experiment
  dataset_config YOLOv3DatasetConfig 1; augmentation_config AugmentationConfig 2; training_config TrainingConfig 3
  eval_config EvalConfig 4; nms_config NMSConfig 5; yolov4_config YOLOv4Config 6; random_seed uint32 7
  class_weighting_config ClassWeightingConfig 8
YOLOv3DatasetConfig
  data_sources *YOLOv3DataSource 1; target_class_mapping map string 2; validation_data_sources *YOLOv3DataSource 3
  validation_fold uint32 4; type string 5; image_extension string 6; include_difficult_in_training bool 7
  is_monochrome bool 8
YOLOv3DataSource
  label_directory_path string 1 |labels_format; tfrecords_path string 2 |labels_format
  image_directory_path string 3; root_path string 4; source_weight float 5
AugmentationConfig
  hue float 1; saturation float 2; exposure float 3; vertical_flip float 4; horizontal_flip float 5; jitter float 6
  output_width int32 7; output_height int32 8; output_channel int32 9; randomize_input_shape_period int32 10
  mosaic_prob float 11; mosaic_min_ratio float 12; image_mean map float 13; output_depth uint32 14
TrainingConfig
  batch_size_per_gpu uint32 1; num_epochs uint32 2; learning_rate LearningRateConfig 3
  regularizer RegularizerConfig 4; optimizer OptimizerConfig 5; cost_scaling CostScalingConfig 6
  checkpoint_interval uint32 7; enable_qat bool 8; resume_model_path string 9 |load_model
  pretrain_model_path string 10 |load_model; pruned_model_path string 11 |load_model; max_queue_size uint32 12
  n_workers uint32 13; use_multiprocessing bool 14; early_stopping EarlyStopping 15; visualizer VisualizerConfig 16
  model_ema bool 17
EarlyStopping
  monitor string 1; min_delta float 2; patience uint32 3
LearningRateConfig
  soft_start_annealing_schedule SoftStartAnnealingSchedule 1 |learning_rate
  soft_start_cosine_annealing_schedule SoftStartCosineAnnealingSchedule 2 |learning_rate
SoftStartAnnealingSchedule
  min_learning_rate float 1; max_learning_rate float 2; soft_start float 3; annealing float 4
SoftStartCosineAnnealingSchedule
  max_learning_rate float 1; soft_start float 2; min_learning_rate float 3
RegularizerConfig
  type RegularizerConfig.Type 1; weight float 2
RegularizerConfig.Type = NO_REG L1 L2
OptimizerConfig
  adam Adam 1 |optimizer; sgd SGD 2 |optimizer; rmsprop RMSProp 3 |optimizer
Adam
  epsilon float 1; beta1 float 2; beta2 float 3; amsgrad bool 4
SGD
  momentum float 1; nesterov bool 2
RMSProp
  rho float 1; momentum float 2; epsilon float 3; centered bool 4
CostScalingConfig
  enabled bool 1; initial_exponent double 2; increment double 3; decrement double 4
EvalConfig
  average_precision_mode EvalConfig.Mode 1; batch_size uint32 2; matching_iou_threshold float 3
  visualize_pr_curve bool 4
EvalConfig.Mode = SAMPLE INTEGRATE
NMSConfig
  confidence_threshold float 1; clustering_iou_threshold float 2; top_k uint32 3; infer_nms_score_bits uint32 4
  force_on_cpu bool 5
YOLOv4Config
  big_anchor_shape string 1; mid_anchor_shape string 2; small_anchor_shape string 3
  matching_neutral_box_iou float 4; box_matching_iou float 5; arch string 6; nlayers uint32 7
  arch_conv_blocks uint32 8; loss_loc_weight float 9; loss_neg_obj_weights float 10; loss_class_weights float 11
  freeze_blocks *float 12; freeze_bn bool 13; force_relu bool 14; focal_loss_alpha float 15
  focal_loss_gamma float 16; label_smoothing float 17; big_grid_xy_extend float 18; mid_grid_xy_extend float 19
  small_grid_xy_extend float 20; activation string 21
VisualizerConfig
  enabled bool 1; num_images uint32 2; weight_histograms bool 3; wandb_config WandBConfig 4
  clearml_config ClearMLConfig 5
WandBConfig
  enabled bool 1; key string 2; project string 3; entity string 4; reinit bool 5; name string 6; tags *string 7
  wandb_dir string 8; notes string 9; mode WandBConfig.Mode 10
WandBConfig.Mode = ONLINE OFFLINE DISABLED
ClearMLConfig
  project string 1; task string 2; tags *string 3; reuse_last_task_id bool 4; continue_last_task bool 5
  deferred_init bool 6
ClassWeightingConfig
  class_weighting map float 1; enable_auto bool 2
"""
ROOT = "Experiment"

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "string": _Field.TYPE_STRING,
    "float": _Field.TYPE_FLOAT,
    "double": _Field.TYPE_DOUBLE,
    "int32": _Field.TYPE_INT32,
    "uint32": _Field.TYPE_UINT32,
    "bool": _Field.TYPE_BOOL,
}


@cache
def experiment_class() -> type[Any]:
    """The class of messages that hold an experiment spec."""
    # A pool of its own: another library's schema in the same process may have messages of the same names.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_file())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(ROOT))


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="yolo_v4.proto", syntax="proto3")
    lines = TABLE.strip().splitlines()
    enums = {name.strip(): values.split() for name, _, values in (line.partition("=") for line in lines) if values}
    message = file.message_type.add()
    for line in lines:
        if "=" in line:
            continue
        if not line.startswith(" "):
            message = file.message_type.add(name=line)
            for name, values in enums.items():
                if name.startswith(f"{line}."):
                    enum = message.enum_type.add(name=name.partition(".")[2])
                    for number, value in enumerate(values):
                        enum.value.add(name=value, number=number)
            continue
        for entry in line.split(";"):
            _add_field(message, entry, enums)
    del file.message_type[0]  # what `message` was before the first line
    return file


def _add_field(message: descriptor_pb2.DescriptorProto, entry: str, enums: dict[str, list[str]]) -> None:
    declared, _, group = entry.partition("|")
    name, *kind, number = declared.split()
    field = message.field.add(name=name, number=int(number), label=_Field.LABEL_OPTIONAL)
    if kind[0] == "map":
        pair = message.nested_type.add(name="".join(part.capitalize() for part in name.split("_")) + "Entry")
        pair.options.map_entry = True
        pair.field.add(name="key", number=1, type=_Field.TYPE_STRING, label=_Field.LABEL_OPTIONAL)
        pair.field.add(name="value", number=2, type=_SCALARS[kind[1]], label=_Field.LABEL_OPTIONAL)
        field.label, field.type = _Field.LABEL_REPEATED, _Field.TYPE_MESSAGE
        field.type_name = f".{message.name}.{pair.name}"
        return
    if kind[0].startswith("*"):
        field.label = _Field.LABEL_REPEATED
    scalar = kind[0].removeprefix("*")
    if scalar in _SCALARS:
        field.type = _SCALARS[scalar]
    else:
        field.type = _Field.TYPE_ENUM if scalar in enums else _Field.TYPE_MESSAGE
        field.type_name = f".{scalar}"
    if group:
        groups = [oneof.name for oneof in message.oneof_decl]
        if group not in groups:
            message.oneof_decl.add(name=group)
            groups.append(group)
        field.oneof_index = groups.index(group)
