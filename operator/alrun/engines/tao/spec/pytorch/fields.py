"""Which fields an experiment spec of a PyTorch network may have, release by release.

TAO reads these specs against dataclasses of its own (NVIDIA's package `nvidia-tao-core` from 6.0 on,
`tao_pytorch_backend` before): a name that is not there ends the command, and so does a value of another type. The
tables have a field a line:

    path kind [lowest..highest] [=a|b: refused otherwise | ~a|b: what NVIDIA names] [>=release] [<release]

`?` after a kind: null is taken. `>=` and `<`: the first release that has the field, and the first that no longer
has it. Bounds are those that NVIDIA documents; its programs do not look at them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from alrun.api.training import TaoNetwork

from ...dialects import Version

_ALL = """
encryption_key str?
results_dir str?
model.pretrained_backbone_path str?
model.train_backbone bool
model.return_interm_indices list[int]
model.hidden_dim int
model.nheads int
model.dropout_ratio float 0..1
model.dim_feedforward int 1..
model.bbox_loss_coef float 0..
model.giou_loss_coef float 0..
model.clip_max_norm float
model.aux_loss bool
model.loss_types list[str]
model.backbone_names list[str]
model.linear_proj_names list[str]
dataset.train_data_sources list[dict]?
dataset.test_data_sources dict?
dataset.infer_data_sources dict?
dataset.batch_size int 1..
dataset.workers int 1..
dataset.pin_memory bool
dataset.dataset_type str =serialized|default
dataset.num_classes int 1..
dataset.eval_class_ids list[int]?
train.num_gpus int 1..
train.num_nodes int 1..
train.num_epochs int 1..
train.checkpoint_interval int 1..
train.checkpoint_interval_unit str =epoch|step >=6.25.10
train.validation_interval int 1..
train.resume_training_checkpoint_path str?
train.results_dir str?
train.checkpointer.enable_topk bool >=7.1
train.checkpointer.replace_periodic bool >=7.1
train.checkpointer.monitor str? >=7.1
train.checkpointer.mode str? =min|max >=7.1
train.checkpointer.save_top_k int 1.. >=7.1
train.checkpointer.filename str >=7.1
train.checkpointer.dirpath str? >=7.1
train.checkpointer.auto_insert_metric_name bool >=7.1
train.pretrained_model_path str?
train.clip_grad_norm float
train.is_dry_run bool
train.optim.optimizer str =AdamW|SGD
train.optim.monitor_name str ~val_loss|train_loss
train.optim.momentum float 0..1
train.optim.lr_scheduler str =MultiStep|StepLR
train.optim.lr_steps list[int]
train.optim.lr_step_size int 1..10000
train.optim.lr_decay float 0..1
train.distributed_strategy str =ddp|fsdp
train.activation_checkpoint bool
evaluate.num_gpus int 1..
evaluate.trt_engine str?
evaluate.results_dir str?
evaluate.batch_size int -1.. >=6.25.10
evaluate.input_width int? 1..
evaluate.input_height int? 1..
evaluate.conf_threshold float 0..1
inference.num_gpus int 1..
inference.trt_engine str?
inference.results_dir str?
inference.batch_size int -1.. >=6.25.10
inference.color_map dict?
inference.conf_threshold float 0..1
inference.is_internal bool
inference.input_width int? 32..
inference.input_height int? 32..
export.results_dir str?
export.gpu_id int
export.checkpoint str
export.onnx_file str
export.on_cpu bool
export.input_channel int 1..
export.input_width int 32..
export.input_height int 32..
export.opset_version int 1..
export.batch_size int -1..
export.verbose bool
gen_trt_engine any
"""

_RTDETR = """
model_name str?
wandb.enable bool
wandb.project str
wandb.entity str?
wandb.group str? >=6.26.3
wandb.tags list[str]
wandb.reinit bool
wandb.sync_tensorboard bool
wandb.save_code bool
wandb.name str
wandb.run_id str >=6.25.10
model.precise_msda bool >=7.1
model.backbone str ~resnet_18|resnet_34|resnet_50|resnet_101|convnext_tiny|convnext_small|convnext_base|\
convnext_large|convnext_xlarge|fan_tiny|fan_small|fan_base|fan_large|efficientvit_b0|efficientvit_b1|\
efficientvit_b2|efficientvit_b3|efficientvit_l0|efficientvit_l1|efficientvit_l2|efficientvit_l3
model.load_teacher_enc_dec bool
model.num_queries int 1..
model.num_select int 1..1000
model.num_feature_levels int 1..4
model.feat_strides list[int]
model.feat_channels list[int]
model.use_encoder_idx list[int]
model.enc_layers int 1..
model.pe_temperature int 1..
model.expansion float 0..
model.depth_mult int 1..
model.enc_act str
model.act str
model.dec_layers int 1..
model.dn_number int 0..
model.eval_idx int -1..
model.vfl_loss_coef float 0..
model.class_cost float 0..
model.bbox_cost float 0..
model.giou_cost float 0..
model.alpha float
model.gamma float
model.distillation_loss_coef float 0..
model.frozen_fm.enabled bool
model.frozen_fm.backbone str ~radio_v2-b|radio_v2-l|radio_v2-h
model.frozen_fm.checkpoint str?
dataset.val_data_sources dict?
dataset.quant_calibration_data_sources dict? >=6.25.10
dataset.remap_mscoco_category bool
dataset.augmentation.multi_scales list[int]
dataset.augmentation.train_spatial_size list[int]
dataset.augmentation.eval_spatial_size list[int]
dataset.augmentation.distortion_prob float 0..1
dataset.augmentation.iou_crop_prob float 0..1
dataset.augmentation.preserve_aspect_ratio bool
train.gpu_ids list[int]
train.seed int -1..
train.cudnn.benchmark bool
train.cudnn.deterministic bool
train.freeze list[str]?
train.enable_ema bool
train.ema.decay float 0..1
train.ema.every_n_steps int 1..
train.ema.validate_original_weights bool
train.ema.cpu_offload bool
train.optim.lr float 0..1
train.optim.lr_backbone float 0..1
train.optim.weight_decay float 0..1
train.optim.warmup_steps int 0..
train.precision str =fp32|fp16|bf16
train.verbose bool <6.26.3
evaluate.gpu_ids list[int]
evaluate.num_nodes int 1..
evaluate.checkpoint str
evaluate.is_quantized bool >=6.25.10
inference.gpu_ids list[int]
inference.num_nodes int 1..
inference.checkpoint str
inference.outline_width int 1..
inference.is_quantized bool >=6.25.10
export.format str =onnx|xdl
export.serialize_nvdsinfer bool
export.is_quantized bool >=6.25.10
distill any
quantize any >=6.25.10
"""

_DETRS = """
model_name str? >=6.0
wandb.enable bool >=5.5
wandb.project str >=5.5
wandb.entity str? >=5.5
wandb.group str? >=6.26.3
wandb.tags list[str] >=5.5
wandb.reinit bool >=5.5
wandb.sync_tensorboard bool >=5.5
wandb.save_code bool >=5.5
wandb.name str >=5.5
wandb.run_id str >=6.25.10
model.num_feature_levels int 1..5
model.cls_loss_coef float 0..
model.focal_alpha float
model.dec_n_points int 1..
model.enc_n_points int 1..
model.dilation bool
dataset.train_sampler str =default_sampler|non_uniform_sampler|uniform_sampler
dataset.val_data_sources list[dict]?
dataset.quant_calibration_data_sources dict? >=6.26.3
dataset.augmentation.scales list[int]
dataset.augmentation.input_mean list[float]
dataset.augmentation.input_std list[float]
dataset.augmentation.train_random_resize list[int]
dataset.augmentation.horizontal_flip_prob float 0..1
dataset.augmentation.train_random_crop_min int 32..
dataset.augmentation.train_random_crop_max int 32..1333
dataset.augmentation.random_resize_max_size int 1..
dataset.augmentation.test_random_resize int 32..
dataset.augmentation.fixed_padding bool
dataset.augmentation.fixed_random_crop int? 1.. >=5.2
dataset.augmentation.pad_size_divisor int? 1.. >=7.0.1
train.gpu_ids list[int] >=5.5
train.seed int -1.. >=5.5
train.cudnn.benchmark bool >=5.5
train.cudnn.deterministic bool >=5.5
train.freeze list[str]? >=5.2
train.optim.lr_linear_proj_mult float 0..1
train.precision str =fp16|fp32
evaluate.gpu_ids list[int] >=5.5
evaluate.num_nodes int 1.. >=5.5
evaluate.checkpoint str
inference.gpu_ids list[int] >=5.5
inference.num_nodes int 1.. >=5.5
inference.checkpoint str
export.format str =onnx|xdl >=6.0
export.serialize_nvdsinfer bool >=6.0
quantize any >=6.26.3
"""

_DINO = """
model.precise_msda bool >=7.1
model.backbone str ~fan_tiny|fan_small|fan_base|fan_large|gc_vit_xxtiny|gc_vit_xtiny|gc_vit_tiny|gc_vit_small|\
gc_vit_base|gc_vit_large|gc_vit_large_384|vit_large_nvdinov2|vit_large_dinov2|swin_tiny_224_1k|swin_base_224_22k|\
swin_base_384_22k|swin_large_224_22k|swin_large_384_22k|resnet_34|resnet_50|efficientvit_b0|efficientvit_b1|\
efficientvit_b2|efficientvit_b3
model.num_queries int 1..
model.num_select int 1..1000
model.enc_layers int 1..
model.dec_layers int 1..
model.dn_number int 1..
model.distillation_loss_coef float 0.. >=5.5
model.interm_loss_coef float
model.no_interm_box_loss bool
model.pre_norm bool
model.two_stage_type str =standard|no
model.decoder_sa_type str =sa|ca_label|ca_content
model.embed_init_tgt bool
model.fix_refpoints_hw int -2..
model.pe_temperatureH int 1..
model.pe_temperatureW int 1..
model.use_dn bool
model.dn_box_noise_scale float 0..
model.dn_label_noise_ratio float 0..
dataset.contiguous_labels bool >=7.0.1
train.conf_threshold float
train.optim.lr float 0..1
train.optim.lr_backbone float 0..1
train.optim.weight_decay float 0..1
train.optim.layer_decay_rate float 0..1 >=5.2
train.verbose bool >=5.2 <6.26.3
inference.outline_width int 1.. >=5.3
distill any >=5.5
"""

_DEFORMABLE_DETR = """
model.precise_msda bool >=7.0.1
model.backbone str ~gc_vit_xxtiny|gc_vit_xtiny|gc_vit_tiny|gc_vit_small|gc_vit_base|gc_vit_large|gc_vit_large_384|\
resnet_50
model.dld_model_dir_path str? >=6.26.3
model.num_queries int 100..900
model.num_select int 1..1000 >=5.5
model.enc_layers int 1..12
model.dec_layers int 1..12
model.with_box_refine bool
train.optim.lr float 0..0.01
train.optim.lr_backbone float 0..0.001
train.optim.weight_decay float 0..0.1
train.verbose bool >=5.2
train.input_width int? 1.. >=6.26.3
train.input_height int? 1.. >=6.26.3
inference.outline_width int 1.. >=5.5
"""

_TABLES = {
    TaoNetwork.RTDETR: _ALL + _RTDETR,
    TaoNetwork.DINO: _ALL + _DETRS + _DINO,
    TaoNetwork.DEFORMABLE_DETR: _ALL + _DETRS + _DEFORMABLE_DETR,
}


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a spec.

    Attributes:
        path: like train.optim.lr.
        kind: int, float, bool, str, dict, any (not looked into), or list[kind].
        optional: whether null is taken.
        low, high: documented bounds; None: none.
        options: values that NVIDIA names; empty: any.
        strict: whether another value is refused.
        since: the first release that has the field; None: all do.
        until: the first release that no longer has it; None: none.
    """

    path: str
    kind: str
    optional: bool
    low: float | None = None
    high: float | None = None
    options: tuple[str, ...] = ()
    strict: bool = False
    since: str | None = None
    until: str | None = None

    def absence(self, release: Version) -> str:
        """Why a release, as of `release_of`, has no such field; empty where it has."""
        if self.since and release < _parts(self.since):
            return f"it came with {self.since}"
        return f"it went with {self.until}" if self.until and release >= _parts(self.until) else ""


def release_of(version: str) -> Version:
    """A version that can be compared with releases; 6.25 is the last release of that name, as NVIDIA's tags have it."""
    parts = _parts(version)
    return (*parts, *(10**6 for _ in range(3 - len(parts))))


@cache
def fields_of(network: TaoNetwork) -> dict[str, Field]:
    """Path -> field, of every release."""
    fields = (_field(line) for line in _TABLES[network].split("\n") if line)
    return {field.path: field for field in fields}


@cache
def sections_of(network: TaoNetwork) -> frozenset[str]:
    """Paths of what holds fields, and is none itself."""
    return frozenset(path[:end] for path in fields_of(network) for end, character in enumerate(path) if character == ".")


def _parts(version: str) -> Version:
    return tuple(int(part) for part in version.split("."))


def _field(line: str) -> Field:
    path, kind, *rest = line.split()
    found = Field(path, kind.removesuffix("?"), kind.endswith("?"))
    low: float | None = None
    high: float | None = None
    options: tuple[str, ...] = ()
    strict = False
    since = until = None
    for item in rest:
        if item.startswith(">="):
            since = item[2:]
        elif item.startswith("<"):
            until = item[1:]
        elif item[0] in "=~":
            options, strict = tuple(item[1:].split("|")), item[0] == "="
        else:
            low, high = (float(bound) if bound else None for bound in item.split(".."))
    return Field(found.path, found.kind, found.optional, low, high, options, strict, since, until)
