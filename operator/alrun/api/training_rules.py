"""What must hold in training and compression: which settings belong together, and which trainer can do what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .rule import Rule, exactly_one, matches, quoted

SPEC_FIELD = r"^[a-z][a-zA-Z0-9_]{0,63}([.][a-zA-Z0-9_]{1,64}){0,7}$"


def _own_block(engine: str, block: str) -> Rule:
    return Rule(
        ("spec.training",),
        f"self.engine == '{engine}' || !has(self.{block})",
        lambda value: value["engine"] == engine or block not in value,
        f"{block} is only for engine {engine}",
        f"delete {block}, or write engine: {engine}",
        field=block,
    )


def _only_yolo(field: str) -> Rule:
    return Rule(
        ("spec.training.tao",),
        f"self.network == 'yolo_v4' || !has(self.{field})",
        lambda value: value["network"] == "yolo_v4" or field not in value,
        f"{field} is only for network yolo_v4",
        f"delete {field}, or use overrides for what the network has in its place",
        field=field,
    )


TRAINING_RULES: tuple[Rule, ...] = (
    *(_own_block(engine, block) for engine, block in (("Embedded", "embedded"), ("TAO", "tao"), ("Custom", "custom"))),
    Rule(
        ("spec.training",),
        "!has(self.engine) || self.engine != 'Custom' || has(self.custom)",
        lambda value: value["engine"] != "Custom" or "custom" in value,
        "engine Custom needs the block custom",
        "write custom with the image and command of your trainer; docs/custom-trainer.md has an example",
        field="custom",
    ),
    Rule(
        ("spec.training",),
        "!has(self.startFrom) || self.startFrom != 'Pretrained' || (has(self.tao) && has(self.tao.pretrained))",
        lambda value: value["startFrom"] != "Pretrained" or "pretrained" in value.get("tao", {}),
        "startFrom Pretrained needs tao.pretrained",
        "set tao.pretrained.ngc or tao.pretrained.path, or another startFrom",
        field="startFrom",
    ),
    Rule(
        ("spec.training",),
        "!has(self.startFrom) || self.startFrom != 'Resume' || self.engine == 'TAO'",
        lambda value: value["startFrom"] != "Resume" or value["engine"] == "TAO",
        "startFrom Resume is for engine TAO",
        "write startFrom: PreviousModel",
        field="startFrom",
    ),
    Rule(
        ("spec.training.tao",),
        "self.network != 'yolo_v4' || has(self.anchors)",
        lambda value: value["network"] != "yolo_v4" or "anchors" in value,
        "network yolo_v4 needs anchors",
        "write anchors: {kmeans: 9} to have them found",
        field="anchors",
    ),
    *(_only_yolo(field) for field in ("anchors", "augmentation", "nms", "averagePrecision")),
    Rule(
        ("spec.training.tao",),
        "!has(self.version) || !self.version.matches('^[34][.]') || has(self.keySecretRef)",
        lambda value: not matches("^[34][.]")(value.get("version", "")) or "keySecretRef" in value,
        "versions before 5.0 encrypt their models and need keySecretRef",
        "name the Secret and key that hold the encryption key",
        field="keySecretRef",
    ),
    Rule(
        ("spec.training.tao.overrides",),
        f"self.all(k, k.matches({quoted(SPEC_FIELD)}))",
        lambda value: all(matches(SPEC_FIELD)(key) for key in value),
        "must map paths of fields of the experiment spec to values",
        "write paths like train.optim.lr",
    ),
    Rule(
        ("spec.training.tao",),
        "self.network != 'yolo_v4' || !has(self.pretrained) || self.pretrained.part != 'Backbone'",
        lambda value: value["network"] != "yolo_v4" or value.get("pretrained", {}).get("part") != "Backbone",
        "yolo_v4 takes whole models and backbones alike, and finds out which it is given",
        "delete pretrained.part",
        field="pretrained.part",
    ),
    exactly_one(("spec.training.tao.specRef",), ("configMap", "path"), "keep one of them"),
    exactly_one(("spec.training.tao.pretrained",), ("ngc", "path"), "keep one of them"),
    Rule(
        ("spec.training.tao.pretrained",),
        "has(self.ngc) == has(self.image)",
        lambda value: ("ngc" in value) == ("image" in value),
        "ngc and image belong together: image is what downloads the model",
        "set image to one that has the ngc command, or delete it where path is given",
        field="image",
    ),
    Rule(
        ("spec.training.tao.pretrained",),
        "has(self.ngc) || !has(self.keySecretRef)",
        lambda value: "ngc" in value or "keySecretRef" not in value,
        "keySecretRef is the key for NGC, and path is not in NGC",
        "delete keySecretRef",
        field="keySecretRef",
    ),
    exactly_one(("spec.training.tao.anchors",), ("kmeans", "shapes"), "keep one of them"),
    Rule(
        ("spec.training.tao.anchors",),
        "!self.everyCycle || has(self.kmeans)",
        lambda value: not value["everyCycle"] or "kmeans" in value,
        "everyCycle is only for kmeans",
        "delete everyCycle, or write kmeans in the place of shapes",
        field="everyCycle",
    ),
    Rule(
        ("spec.training.tao.anchors.shapes",),
        "self.size() % 3 == 0",
        lambda value: len(value) % 3 == 0,
        "must be a multiple of 3: as many for each of the three scales",
        "add or remove shapes",
    ),
    Rule(
        ("spec.compression",),
        "!has(self.when) || self.when == 'Never' || has(self.prune) || has(self.export)",
        lambda value: value["when"] == "Never" or "prune" in value or "export" in value,
        "there is nothing to do",
        "add prune or export, or write when: Never",
        field="when",
    ),
    Rule(
        ("spec.compression",),
        "!has(self.when) || self.when != 'Never' || (!has(self.prune) && !has(self.retrain) && !has(self.export))",
        lambda value: value["when"] != "Never" or not ({"prune", "retrain", "export"} & set(value)),
        "prune, retrain and export are not done when: Never",
        "write when: End, or when: EveryCycle",
        field="when",
    ),
    Rule(
        ("spec.compression.prune.thresholds",),
        "self.all(t, self.exists_one(u, u == t))",
        lambda value: len(set(value)) == len(value),
        "each threshold must be listed once",
        "delete the second one",
    ),
    Rule(
        ("spec.compression",),
        "!has(self.retrain) || has(self.prune)",
        lambda value: "retrain" not in value or "prune" in value,
        "retrain is for a model that was pruned",
        "add prune, or delete retrain",
        field="retrain",
    ),
)


def _prunable(spec: Mapping[str, Any]) -> bool:
    training = spec["training"]
    return (
        "prune" not in spec["compression"]
        or training["engine"] == "Embedded"
        or (training["engine"] == "TAO" and training.get("tao", {}).get("network") == "yolo_v4")
    )


_HAS_ENGINE = "has(self.training)"

TRAINING_SPEC_RULES: tuple[Rule, ...] = (
    Rule(
        ("spec",),
        f"!{_HAS_ENGINE} || self.training.engine != 'TAO' || has(self.dataset.classes)",
        lambda spec: spec["training"]["engine"] != "TAO" or "classes" in spec["dataset"],
        "engine TAO needs dataset.classes: they are part of the network",
        "list the classes to detect; `alrun check` shows those that the labels have",
        field="dataset.classes",
    ),
    Rule(
        ("spec",),
        f"!has(self.compression) || !has(self.compression.prune) || !{_HAS_ENGINE} || self.training.engine == 'Embedded'"
        " || (self.training.engine == 'TAO' && has(self.training.tao) && self.training.tao.network == 'yolo_v4')",
        _prunable,
        "prune is for engine Embedded and for TAO's yolo_v4: no other trainer has a command for it",
        "delete compression.prune and compression.retrain",
        field="compression.prune",
    ),
    Rule(
        ("spec",),
        f"!has(self.compression) || self.compression.when == 'Never' || !{_HAS_ENGINE} || self.training.engine != 'Custom'",
        lambda spec: spec["compression"]["when"] == "Never" or spec["training"]["engine"] != "Custom",
        "a trainer of your own has no command for compression",
        "write compression.when: Never, or delete compression",
        field="compression.when",
    ),
    Rule(
        ("spec",),
        "!has(self.compression) || !has(self.compression.retrain) || !self.compression.retrain.quantizationAware"
        f" || ({_HAS_ENGINE} && self.training.engine == 'TAO')",
        lambda spec: (
            not spec["compression"].get("retrain", {}).get("quantizationAware") or spec["training"]["engine"] == "TAO"
        ),
        "quantizationAware is only for engine TAO",
        "delete it",
        field="compression.retrain.quantizationAware",
    ),
)
