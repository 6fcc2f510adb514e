"""What the programs of the PyTorch networks demand of an experiment spec whose fields are all as they should be.

Sources: `initialize_experiments.py`, `train.py` and the data modules of TAO 6.25.10. Each rule says what TAO ends
with, or what it lets pass and nobody wants.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from alrun.api.training import TaoNetwork

from ...actions import Action
from ..finding import Counts, Finding, Severity

DEFAULTS: dict[str, Any] = {
    "train.num_epochs": 10,
    "train.checkpoint_interval": 1,
    "train.validation_interval": 1,
    "dataset.batch_size": 4,
    "model.num_queries": 300,
    "model.num_select": 300,
}
"""What TAO takes where a spec says nothing, of the fields that the rules compare."""
_CLASSES = {TaoNetwork.RTDETR: 80, TaoNetwork.DINO: 91, TaoNetwork.DEFORMABLE_DETR: 91}
FIRST_ID = {TaoNetwork.RTDETR: 0, TaoNetwork.DINO: 1, TaoNetwork.DEFORMABLE_DETR: 1}
"""The id of the first class in the COCO files, and in the class map, of each network."""
_LEVELS = {TaoNetwork.RTDETR: [1, 2, 3], TaoNetwork.DINO: [1, 2, 3, 4], TaoNetwork.DEFORMABLE_DETR: [1, 2, 3, 4]}

_CHECKPOINT = re.compile(r"(?:[a-z]+_)?model_epoch[_=](\d{1,9})(?:_step_\d+)?\.pth")
_SOURCES = {
    "train": (("train_data_sources", ("image_dir", "json_file")), ("val_data_sources", ("image_dir", "json_file"))),
    "evaluate": (("test_data_sources", ("image_dir", "json_file")),),
    "inference": (("infer_data_sources", ("image_dir", "classmap")),),
}


def check(
    values: Mapping[str, Any], lines: Mapping[str, int], network: TaoNetwork, action: Action | None, counts: Counts
) -> list[Finding]:
    """What is wrong with a spec.

    Args:
        values: path -> value of each field that is there.
        lines: path -> line of each field and section that is there.
        network: whose program is to read it.
        action: what it is for; None: for whatever it has a section.
        counts: of the data that it is for.
    """
    rules = _Rules(values, lines, network, action, counts)
    return [
        *rules.amounts(),
        *rules.sources(),
        *rules.sizes(),
        *rules.levels(),
        *rules.training(),
        *rules.resumed(),
        *rules.secrets(),
    ]


@dataclass(frozen=True, slots=True)
class _Rules:
    values: Mapping[str, Any]
    lines: Mapping[str, int]
    network: TaoNetwork
    action: Action | None
    counts: Counts

    def amounts(self) -> Iterator[Finding]:
        names = ["dataset.num_classes"]
        if any(self._is(kind) for kind in _SOURCES):  # export and others do not read it
            names.append("dataset.batch_size")
        if self._is("train"):
            names += ["train.num_epochs", "train.checkpoint_interval", "train.validation_interval", "train.num_gpus"]
        for field in names:
            value = self.values.get(field, 1)
            if value < 1:
                yield self._error(field, f"{value} is less than 1", "set it to 1 or more")
        yield from self._classes()
        batch = self._get("dataset.batch_size")
        for kind, images in (
            ("train", self.counts.train_images),
            ("train", self.counts.val_images),
            ("evaluate", self.counts.images),
            ("inference", self.counts.images),
        ):
            if images is None or not self._is(kind):
                continue
            own = self.values.get(f"{kind}.batch_size", -1)
            field = f"{kind}.batch_size" if own > 0 else "dataset.batch_size"
            wanted = (own if own > 0 else batch) * self.counts.gpus
            if wanted > images:
                yield self._error(
                    field,
                    f"{wanted // self.counts.gpus} on {self.counts.gpus} GPU(s) are more than the {images} images there are",
                    "lower it: TAO ends with `Dataset size is smaller than the total batch size`",
                )

    def _classes(self) -> Iterator[Finding]:
        field = "dataset.num_classes"
        classes = self.values.get(field, _CLASSES[self.network])
        if self.counts.classes is not None:
            wanted = self.counts.classes + FIRST_ID[self.network]
            if classes < wanted:
                yield self._error(
                    field,
                    f"{classes} are too few: ids go from {FIRST_ID[self.network]} to {wanted - 1}",
                    f"set it to {wanted}",
                )
        chosen, queries = self._get("model.num_select"), self._get("model.num_queries")
        if chosen > queries * max(classes, 1):
            yield self._error(
                "model.num_select",
                f"{chosen} boxes are to be chosen of {queries} queries x {classes} classes",
                f"set it to {queries * max(classes, 1)} or less",
            )

    def sources(self) -> Iterator[Finding]:
        for kind, sources in _SOURCES.items():
            if not self._is(kind):
                continue
            for name, keys in sources:
                yield from self._source(f"dataset.{name}", keys, kind)
            if kind == "train":
                yield from self._validation()
            elif self.action is not None:
                yield from self._needed(f"{kind}.checkpoint", kind)
        if self.action is Action.EXPORT:
            yield from self._needed("export.checkpoint", "export")
            yield from self._needed("export.onnx_file", "export")

    def _source(self, field: str, keys: tuple[str, ...], kind: str) -> Iterator[Finding]:
        remedy = f"give {' and '.join(keys)}"
        if field not in self.values:
            if field not in self.lines and self.action is not None:
                yield self._error(field, f"is not there, and {kind} needs it", remedy)
            return
        value = self.values[field]
        entries = value if isinstance(value, list) else [value]
        if not value:
            yield self._error(field, "is empty", remedy)
            return
        for entry in entries:
            lacking = [key for key in keys if not entry.get(key)]
            if lacking:
                yield self._error(field, f"has no {' and no '.join(lacking)}", remedy)

    def _needed(self, field: str, kind: str) -> Iterator[Finding]:
        if not self.values.get(field) and field not in self.lines and not self.values.get(f"{kind}.trt_engine"):
            yield self._error(field, f"is not there, and {kind} needs it", "give the path of the file")

    def _validation(self) -> Iterator[Finding]:
        def files(field: str) -> set[str]:
            value = self.values.get(field) or []
            return {
                str(entry.get("json_file"))
                for entry in (value if isinstance(value, list) else [value])
                if "json_file" in entry
            }

        shared = sorted(files("dataset.train_data_sources") & files("dataset.val_data_sources"))
        if shared:
            yield self._warning(
                "dataset.val_data_sources",
                f"{shared[0]} is both trained on and validated on: the mAP says how well it was learnt by heart",
                "hold some images back for validation",
            )

    def sizes(self) -> Iterator[Finding]:
        if self.network is not TaoNetwork.RTDETR:
            return
        for name in ("train_spatial_size", "eval_spatial_size"):
            field = f"dataset.augmentation.{name}"
            size = self.values.get(field)
            if size is None:
                continue
            if len(size) != 2:
                yield self._error(field, f"{size} has not two numbers", "write [height, width]")
            elif any(not _is_multiple(number) for number in size):
                yield self._error(field, f"{size} are not both multiples of 32", "write [height, width] in multiples of 32")
        field = "dataset.augmentation.multi_scales"
        scales = self.values.get(field) or []
        sides = [side for scale in scales for side in (scale if isinstance(scale, list) else [scale])]
        wrong = [side for side in sides if not _is_multiple(side)]
        if wrong:
            yield self._error(field, f"{str(wrong[0])[:60]} is no multiple of 32", "write multiples of 32, or pairs of them")

    def levels(self) -> Iterator[Finding]:
        field = "model.return_interm_indices"
        default = _LEVELS[self.network]
        indices = self.values.get(field) or default
        wrong = [index for index in indices if not _is_number(index) or not 0 <= int(index) <= 4]
        if wrong:
            yield self._error(field, f"{str(wrong[0])[:60]} is not in 0 to 4", f"write the default, {default}")
        elif len({int(index) for index in indices}) != len(indices):
            yield self._error(field, f"{indices} has a level twice", f"write the default, {default}")
        levels = self.values.get("model.num_feature_levels", len(default))
        if levels != len(indices) and self.network is not TaoNetwork.RTDETR:
            yield self._error(
                "model.num_feature_levels",
                f"{levels} is not the number of levels in return_interm_indices, {len(indices)}",
                f"set it to {len(indices)}",
            )

    def training(self) -> Iterator[Finding]:
        if not self._is("train"):
            return
        epochs = self._get("train.num_epochs")
        intervals = ["train.validation_interval"]
        if self.values.get("train.checkpoint_interval_unit", "epoch") == "epoch":
            intervals.append("train.checkpoint_interval")
        for field in intervals:
            if self._get(field) > epochs:
                yield self._error(
                    field,
                    f"{self._get(field)} is more than num_epochs {epochs}, which TAO refuses",
                    f"set it to {epochs} or less",
                )
        gpus, ids = self.values.get("train.num_gpus", 1), self.values.get("train.gpu_ids")
        if ids is not None and len(ids) != gpus:
            yield self._warning(
                "train.gpu_ids", f"{len(ids)} are named and num_gpus is {gpus}: TAO takes the larger number", "name as many"
            )
        if self.values.get("train.is_dry_run"):
            yield self._warning("train.is_dry_run", "one step is made, and no model is kept", "set it to false")
        if self.values.get("dataset.remap_mscoco_category"):
            yield self._warning(
                "dataset.remap_mscoco_category",
                "ids are read as those of MS COCO, which has 80 classes of its own",
                "set it to false for other data",
            )
        sampler = self.values.get("dataset.train_sampler", "default_sampler")
        if sampler != "default_sampler" and self.values.get("dataset.dataset_type", "serialized") == "serialized":
            yield self._warning("dataset.train_sampler", "is passed over: dataset_type is serialized", "delete it")
        elif sampler != "default_sampler" and self.counts.gpus == 1 and gpus == 1:
            yield self._error("dataset.train_sampler", f"{sampler} is for several GPUs", "set it to default_sampler")

    def resumed(self) -> Iterator[Finding]:
        field = "train.resume_training_checkpoint_path"
        path = self.values.get(field)
        if not path or not self._is("train"):
            return
        if not path.endswith((".pth", ".tlt")):
            yield self._error(field, f"{path} ends neither in .pth nor in .tlt", "name a checkpoint")
        found = _CHECKPOINT.fullmatch(path.rpartition("/")[2])
        epochs = self._get("train.num_epochs")
        if found and int(found[1]) + 1 >= epochs:
            yield self._error(
                "train.num_epochs",
                f"{epochs} are in all, and the checkpoint has {int(found[1]) + 1}: nothing would be trained, and TAO calls "
                "that a success",
                f"set it to {int(found[1]) + 1} and as many as are to be added",
            )
        if self.values.get("train.pretrained_model_path"):
            yield self._warning("train.pretrained_model_path", "is passed over: the checkpoint has all weights", "delete it")

    def secrets(self) -> Iterator[Finding]:
        if self.values.get("wandb.enable"):
            yield self._warning(
                "wandb.enable",
                "figures of the training are sent to Weights & Biases where it is logged in",
                "set it to false",
            )
        if self.values.get("encryption_key"):
            yield self._warning(
                "encryption_key", "a secret is written in the spec, where many can read it", "give it on the command line"
            )

    def _is(self, kind: str) -> bool:
        """Whether the spec is for that: by the action, or else by its sections."""
        if self.action is None:
            return kind in self.lines
        return kind == {Action.RETRAIN: "train"}.get(self.action, self.action.value)

    def _get(self, field: str) -> Any:
        return self.values.get(field, DEFAULTS[field])

    def _line(self, field: str) -> int:
        while field and field not in self.lines:
            field = field.rpartition(".")[0]
        return self.lines.get(field, 0)

    def _error(self, field: str, message: str, remedy: str) -> Finding:
        return Finding(self._line(field), Severity.ERROR, field, message, remedy)

    def _warning(self, field: str, message: str, remedy: str) -> Finding:
        return Finding(self._line(field), Severity.WARNING, field, message, remedy)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, str) and value.lstrip("+-").isdecimal())


def _is_multiple(value: Any) -> bool:
    return _is_number(value) and int(value) >= 32 and int(value) % 32 == 0
