"""The experiment specs' fields, their types and what they are unless given."""

from __future__ import annotations

from dataclasses import dataclass, field, make_dataclass
from typing import Any

from omegaconf import MISSING

from ..dialect import Dialect

Fields = dict[str, tuple[Any, Any]]


def _class(name: str, fields: Fields) -> type:
    """A dataclass of fields: (type, default)."""

    def default(value: Any) -> Any:
        if isinstance(value, type):
            return field(default_factory=value)
        if isinstance(value, list):
            return field(default_factory=lambda: list(value))
        return field(default=value)

    return make_dataclass(name, [(key, kind, default(value)) for key, (kind, value) in fields.items()])


def _ints(*values: int) -> tuple[Any, Any]:
    return list[int], list(values)


def _words(*values: str) -> tuple[Any, Any]:
    return list[str], list(values)


_TEXT: tuple[Any, Any] = (str | None, None)
_SOURCE: tuple[Any, Any] = (dict[str, str] | None, None)
_SOURCES: tuple[Any, Any] = (list[dict[str, str]] | None, None)
_MUST: tuple[Any, Any] = (str, MISSING)


@dataclass
class CuDNNConfig:
    benchmark: bool = False
    deterministic: bool = True


@dataclass
class WandBConfig:
    enable: bool = True
    project: str = "TAO Toolkit"
    entity: str | None = None
    name: str = "TAO Toolkit training experiment"
    reinit: bool = False
    sync_tensorboard: bool = False
    save_code: bool = False
    tags: list[str] = field(default_factory=lambda: ["training", "tao-toolkit"])
    group: str | None = None
    run_id: str = ""


@dataclass
class EMAConfig:
    decay: float = 0.999
    every_n_steps: int = 1
    validate_original_weights: bool = False
    cpu_offload: bool = False


def _devices(dialect: Dialect) -> Fields:
    """5.0 to 5.3 know no indices."""
    indices: Fields = {"gpu_ids": _ints(0)} if dialect.hydra else {}
    return {"num_gpus": (int, 1), **indices}


def _train(prefix: str, dialect: Dialect, optimiser: Fields, more: Fields) -> type:
    unit: Fields = {"checkpoint_interval_unit": (str, "epoch")} if dialect.name == "pyt7" else {}
    common: Fields = {
        **_devices(dialect),
        "num_nodes": (int, 1),
        "seed": (int, 1234),
        "cudnn": (CuDNNConfig, CuDNNConfig),
        "num_epochs": (int, 10),
        "checkpoint_interval": (int, 1),
        **unit,
        "validation_interval": (int, 1),
        "resume_training_checkpoint_path": _TEXT,
        "results_dir": _TEXT,
        "freeze": (list[str] | None, []),
        "pretrained_model_path": _TEXT,
        "clip_grad_norm": (float, 0.1),
        "is_dry_run": (bool, False),
        "precision": (str, "fp32"),
        "distributed_strategy": (str, "ddp"),
        "activation_checkpoint": (bool, True),
    }
    optim = _class(
        "OptimConfig",
        {
            "optimizer": (str, "AdamW"),
            "monitor_name": (str, "val_loss"),
            "lr": (float, 2e-4),
            "lr_backbone": (float, 2e-5),
            "momentum": (float, 0.9),
            "weight_decay": (float, 1e-4),
            "lr_scheduler": (str, "MultiStep"),
            "lr_steps": _ints(11),
            "lr_step_size": (int, 11),
            "lr_decay": (float, 0.1),
            **optimiser,
        },
    )
    return _class(f"{prefix}TrainExpConfig", {**common, "optim": (optim, optim), **more})


def _evaluation(name: str, threshold: float, dialect: Dialect, more: Fields) -> type:
    return _class(
        name,
        {
            **_devices(dialect),
            **({"num_nodes": (int, 1)} if dialect.hydra else {}),
            "checkpoint": _MUST,
            "trt_engine": _TEXT,
            "results_dir": _TEXT,
            "input_width": (int | None, None),
            "input_height": (int | None, None),
            "conf_threshold": (float, threshold),
            **more,
        },
    )


_EXPORT: Fields = {
    "results_dir": _TEXT,
    "gpu_id": (int, 0),
    "checkpoint": _MUST,
    "onnx_file": _MUST,
    "on_cpu": (bool, False),
    "input_channel": (int, 3),
    "input_width": (int, 960),
    "input_height": (int, 544),
    "opset_version": (int, 17),
    "batch_size": (int, -1),
    "verbose": (bool, False),
}

_ALL_MODELS: Fields = {
    "pretrained_backbone_path": _TEXT,
    "backbone": (str, "resnet_50"),
    "train_backbone": (bool, True),
    "num_queries": (int, 300),
    "num_select": (int, 300),
    "bbox_loss_coef": (float, 5.0),
    "giou_loss_coef": (float, 2.0),
    "clip_max_norm": (float, 0.1),
    "nheads": (int, 8),
    "hidden_dim": (int, 256),
    "dec_layers": (int, 6),
    "aux_loss": (bool, True),
    "backbone_names": _words("backbone.0"),
    "linear_proj_names": _words("reference_points", "sampling_offsets"),
    "dropout_ratio": (float, 0.0),
}
_RT_MODEL: Fields = {
    **_ALL_MODELS,
    "num_feature_levels": (int, 3),
    "return_interm_indices": _ints(1, 2, 3),
    "feat_strides": _ints(8, 16, 32),
    "feat_channels": _ints(256, 256, 256),
    "use_encoder_idx": _ints(2),
    "enc_layers": (int, 1),
    "dim_feedforward": (int, 1024),
    "pe_temperature": (int, 10000),
    "expansion": (float, 1.0),
    "depth_mult": (int, 1),
    "enc_act": (str, "gelu"),
    "act": (str, "silu"),
    "dn_number": (int, 100),
    "eval_idx": (int, -1),
    "vfl_loss_coef": (float, 1.0),
    "alpha": (float, 0.75),
    "gamma": (float, 2.0),
    "loss_types": _words("vfl", "boxes"),
}
_DETR_MODEL: Fields = {
    **_ALL_MODELS,
    "num_feature_levels": (int, 4),
    "return_interm_indices": _ints(1, 2, 3, 4),
    "cls_loss_coef": (float, 2.0),
    "focal_alpha": (float, 0.25),
    "enc_layers": (int, 6),
    "dim_feedforward": (int, 2048),
    "dec_n_points": (int, 4),
    "enc_n_points": (int, 4),
    "dilation": (bool, False),
    "loss_types": _words("labels", "boxes"),
}
_DD_MODEL: Fields = {
    **_DETR_MODEL,
    "with_box_refine": (bool, True),
    "dim_feedforward": (int, 1024),
    "dropout_ratio": (float, 0.3),
}
_DINO_MODEL: Fields = {
    **_DETR_MODEL,
    "interm_loss_coef": (float, 1.0),
    "no_interm_box_loss": (bool, False),
    "pre_norm": (bool, False),
    "two_stage_type": (str, "standard"),
    "decoder_sa_type": (str, "sa"),
    "embed_init_tgt": (bool, True),
    "fix_refpoints_hw": (int, -1),
    "pe_temperatureH": (int, 20),
    "pe_temperatureW": (int, 20),
    "use_dn": (bool, True),
    "dn_number": (int, 100),
    "dn_box_noise_scale": (float, 1.0),
    "dn_label_noise_ratio": (float, 0.5),
}


def _dataset(prefix: str, classes: int, augmentation: Fields, more: Fields) -> type:
    kind = _class(f"{prefix}AugmentationConfig", augmentation)
    return _class(
        f"{prefix}DatasetConfig",
        {
            "train_data_sources": _SOURCES,
            "val_data_sources": _SOURCES,
            "test_data_sources": _SOURCE,
            "infer_data_sources": _SOURCE,
            "batch_size": (int, 4),
            "workers": (int, 8),
            "pin_memory": (bool, True),
            "dataset_type": (str, "serialized"),
            "num_classes": (int, classes),
            "eval_class_ids": (list[int] | None, None),
            "augmentation": (kind, kind),
            **more,
        },
    )


_RT_AUGMENTATION: Fields = {
    "multi_scales": _ints(480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800),
    "train_spatial_size": _ints(640, 640),
    "eval_spatial_size": _ints(640, 640),
    "distortion_prob": (float, 0.8),
    "iou_crop_prob": (float, 0.8),
    "preserve_aspect_ratio": (bool, False),
}
_DETR_AUGMENTATION: Fields = {
    "scales": _ints(480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800),
    "input_mean": (list[float], [0.485, 0.456, 0.406]),
    "input_std": (list[float], [0.229, 0.224, 0.225]),
    "train_random_resize": _ints(400, 500, 600),
    "horizontal_flip_prob": (float, 0.5),
    "train_random_crop_min": (int, 384),
    "train_random_crop_max": (int, 600),
    "random_resize_max_size": (int, 1333),
    "test_random_resize": (int, 800),
    "fixed_padding": (bool, True),
    "fixed_random_crop": (int | None, None),
}
_PREFIXES = {"rtdetr": "RT", "dino": "DINO", "deformable_detr": "DD"}


def schema(network: str, dialect: Dialect) -> type:
    """The root dataclass of a network's spec in a dialect."""
    prefix = _PREFIXES[network]
    if network == "rtdetr":
        model = _class("RTModelConfig", _RT_MODEL)
        dataset = _dataset(
            prefix, 80, _RT_AUGMENTATION, {"val_data_sources": _SOURCE, "remap_mscoco_category": (bool, False)}
        )
        train = _train(
            prefix,
            dialect,
            {
                "lr": (float, 1e-4),
                "lr_backbone": (float, 1e-5),
                "lr_steps": _ints(1000),
                "lr_step_size": (int, 1000),
                "warmup_steps": (int, 0),
            },
            {"enable_ema": (bool, False), "ema": (EMAConfig, EMAConfig)},
        )
    else:
        model = _class(f"{prefix}ModelConfig", _DINO_MODEL if network == "dino" else _DD_MODEL)
        dataset = _dataset(prefix, 91, _DETR_AUGMENTATION, {"train_sampler": (str, "default_sampler")})
        layers: Fields = {"layer_decay_rate": (float, 0.65)} if network == "dino" and dialect.hydra else {}
        train = _train(prefix, dialect, {"lr_linear_proj_mult": (float, 0.1), **layers}, {"conf_threshold": (float, 0.0)})
    pictures: Fields = {
        "color_map": _SOURCE,
        "is_internal": (bool, False),
        **({"outline_width": (int, 3)} if dialect.hydra else {}),
    }
    evaluate = _evaluation(f"{prefix}EvalExpConfig", 0.0, dialect, {})
    inference = _evaluation(f"{prefix}InferenceExpConfig", 0.5, dialect, pictures)
    export = _class(
        f"{prefix}ExportExpConfig", {**_EXPORT, **({"serialize_nvdsinfer": (bool, False)} if dialect.hydra else {})}
    )
    parts = {
        "model": model,
        "dataset": dataset,
        "train": train,
        "evaluate": evaluate,
        "inference": inference,
        "export": export,
    }
    top: Fields = {
        **({"model_name": _TEXT} if dialect.hydra else {}),
        "encryption_key": _TEXT,
        "results_dir": (str | None, "/results"),
        "wandb": (WandBConfig, WandBConfig),
    }
    return _class("ExperimentConfig", {**top, **{name: (kind, kind) for name, kind in parts.items()}})


OPTIONS: dict[str, frozenset[str]] = {
    "train.precision": frozenset({"fp16", "fp32", "bf16"}),
    "train.distributed_strategy": frozenset({"ddp", "fsdp"}),
    "train.optim.optimizer": frozenset({"AdamW", "SGD"}),
    "train.optim.lr_scheduler": frozenset({"MultiStep", "StepLR"}),
    "train.optim.monitor_name": frozenset({"val_loss", "train_loss"}),
    "train.checkpoint_interval_unit": frozenset({"epoch", "step"}),
    "dataset.dataset_type": frozenset({"serialized", "default"}),
}
"""Text that is one of a few words, though its type does not say so: other words fail where they are used."""
BACKBONES: dict[str, frozenset[str]] = {
    "rtdetr": frozenset(
        [
            "resnet_18",
            "resnet_34",
            "resnet_50",
            "resnet_101",
            "convnext_tiny",
            "convnext_small",
            "convnext_base",
            "convnext_large",
            "convnext_xlarge",
            "fan_tiny",
            "fan_small",
            "fan_base",
            "fan_large",
            "efficientvit_b0",
            "efficientvit_b1",
            "efficientvit_b2",
            "efficientvit_b3",
            "efficientvit_l0",
            "efficientvit_l1",
            "efficientvit_l2",
            "efficientvit_l3",
        ]
    ),
    "dino": frozenset(
        [
            "fan_tiny",
            "fan_small",
            "fan_base",
            "fan_large",
            "gc_vit_xxtiny",
            "gc_vit_xtiny",
            "gc_vit_tiny",
            "gc_vit_small",
            "gc_vit_base",
            "gc_vit_large",
            "gc_vit_large_384",
            "vit_large_nvdinov2",
            "vit_large_dinov2",
            "swin_tiny_224_1k",
            "swin_base_224_22k",
            "swin_base_384_22k",
            "swin_large_224_22k",
            "swin_large_384_22k",
            "resnet_34",
            "resnet_50",
            "efficientvit_b0",
            "efficientvit_b1",
            "efficientvit_b2",
            "efficientvit_b3",
        ]
    ),
    "deformable_detr": frozenset(
        [
            "gc_vit_xxtiny",
            "gc_vit_xtiny",
            "gc_vit_tiny",
            "gc_vit_small",
            "gc_vit_base",
            "gc_vit_large",
            "gc_vit_large_384",
            "resnet_50",
        ]
    ),
}
