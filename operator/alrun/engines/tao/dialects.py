"""What differs between the releases of TAO, as one table: everything that depends on a version is looked up here.

A **dialect** is a span of releases that take the same command lines, write the same files and say the same things.
Sources: NVIDIA's published code (tao_tensorflow1_backend for 5.0, tao_pytorch_backend for 5.0 to 6.25.10,
NVIDIA-TAO/tao-pytorch for 7.0.1) and the image map in the `nvidia-tao` launcher's wheels. The code of 3.x and 4.x was
never published: what those print and return is not relied upon (`trusted`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from alrun.api.training import TaoNetwork, TaoTraining

from ..engine import EngineError
from .actions import Action

Version = tuple[int, ...]

_FIELD = "spec.training.tao"
_DETECTORS = frozenset({TaoNetwork.DINO, TaoNetwork.DEFORMABLE_DETR})


class Framework(StrEnum):
    """What a dialect's images are made with."""

    TF1 = "TensorFlow 1"
    PYTORCH = "PyTorch"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of status.json that says that all is done."""

    status: str
    message: str


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint's file name, read.

    `epoch` counts from 1: the number of epochs done when it was written.
    """

    name: str
    epoch: int
    step: int = 0


@dataclass(frozen=True, slots=True)
class Dialect:
    """What holds for a span of releases."""

    name: str
    framework: Framework
    first: Version
    """The first release of the span."""
    after: Version
    """The first release after the span."""
    networks: frozenset[TaoNetwork]
    key_required: bool
    """Whether every command needs the key that models are encrypted with."""
    overrides: bool
    """True: commands take the spec file, and all else as `name=value`. False: as flags."""
    checkpoint_suffix: str
    checkpoint_pattern: re.Pattern[str]
    """Name of a checkpoint file; group `epoch`, and group `step` where there is one."""
    checkpoint_base: int
    """Number that checkpoint names and status lines give the first epoch."""
    results_below: bool
    """Whether an action leaves its results in a folder of its own name below the results folder."""
    finished: Mapping[Action, Line]
    """The last line of status.json, for each action that the dialect has."""
    trusted: bool
    """Whether exit code and status.json are known to say what they say in later releases."""
    exit_failed: int
    """Exit code of a command that failed; 2 is that of wrong arguments everywhere."""
    latest: Mapping[TaoNetwork, str]
    """Network -> name of the link to the newest checkpoint, which makes a training go on by itself."""

    @property
    def spec_extension(self) -> str:
        """Extension of an experiment spec, without the dot."""
        return "txt" if self.framework is Framework.TF1 else "yaml"

    @property
    def actions(self) -> frozenset[Action]:
        """What its commands can do."""
        return frozenset(self.finished)

    def results(self, folder: str, action: Action) -> str:
        """Where an action that is given `folder` for its results leaves status.json and all else."""
        task = Action.TRAIN if action is Action.RETRAIN else action
        return f"{folder}/{task.value}" if self.results_below else folder

    def weights(self, folder: str, action: Action) -> str:
        """Where a training leaves its checkpoints."""
        results = self.results(folder, action)
        return f"{results}/weights" if self.framework is Framework.TF1 else results

    def labels(self, folder: str) -> str:
        """Where an inference leaves its KITTI files, one `<stem>.txt` an image."""
        return f"{self.results(folder, Action.INFERENCE)}/labels"

    def checkpoint(self, name: str) -> Checkpoint | None:
        """What the name of a checkpoint file says; None where the file is none."""
        found = self.checkpoint_pattern.fullmatch(name)
        if found is None:
            return None
        step = found.groupdict().get("step")
        return Checkpoint(name, int(found["epoch"]) + 1 - self.checkpoint_base, int(step or 0))

    def newest(self, names: Iterable[str]) -> Checkpoint | None:
        """The checkpoint that was trained for longest, of all files in a folder; None where there is none."""
        found = (self.checkpoint(name) for name in names)
        return max((item for item in found if item), key=lambda item: (item.epoch, item.step, item.name), default=None)


def _lines(status: str, messages: Mapping[Action, str]) -> Mapping[Action, Line]:
    return MappingProxyType({action: Line(status, message) for action, message in messages.items()})


_TF1_FINISHED = _lines(
    "SUCCESS",
    {
        Action.TRAIN: "YOLO_V4 training finished successfully.",
        Action.RETRAIN: "YOLO_V4 training finished successfully.",
        Action.EVALUATE: "Evaluation finished successfully.",
        Action.INFERENCE: "Inference finished successfully.",
        Action.PRUNE: "Pruning finished successfully.",
        Action.EXPORT: "Export finished successfully.",
        Action.KMEANS: "K-means finished successfully.",
    },
)
_PYTORCH_5_0_FINISHED = _lines(
    "SUCCESS",
    {
        Action.TRAIN: "Training finished successfully",
        Action.EVALUATE: "Evaluation finished successfully",
        Action.INFERENCE: "Inference finished successfully.",  # with a full stop, alone of the four
        Action.EXPORT: "Export finished successfully",
    },
)
_PYTORCH_FINISHED = _lines(
    "RUNNING",
    {
        Action.TRAIN: "Train finished successfully.",
        Action.EVALUATE: "Evaluate finished successfully.",
        Action.INFERENCE: "Inference finished successfully.",
        Action.EXPORT: "Export finished successfully.",
    },
)
_LATEST: Mapping[TaoNetwork, str] = MappingProxyType(
    {
        TaoNetwork.RTDETR: "rtdetr_model_latest.pth",
        TaoNetwork.DINO: "dino_model_latest.pth",
        TaoNetwork.DEFORMABLE_DETR: "dd_model_latest.pth",
    }
)


def _tf1(name: str, first: Version, after: Version, suffix: str, *, key: bool) -> Dialect:
    return Dialect(
        name=name,
        framework=Framework.TF1,
        first=first,
        after=after,
        networks=frozenset({TaoNetwork.YOLO_V4}),
        key_required=key,
        overrides=False,
        checkpoint_suffix=suffix,
        checkpoint_pattern=re.compile(rf"yolov4_\w+_epoch_(?P<epoch>\d+){re.escape(suffix)}"),
        checkpoint_base=1,
        results_below=False,
        finished=_TF1_FINISHED,
        trusted=not key,
        exit_failed=255,
        latest=MappingProxyType({}),
    )


def _pytorch(
    name: str,
    first: Version,
    after: Version,
    networks: frozenset[TaoNetwork],
    finished: Mapping[Action, Line],
    *,
    overrides: bool,
) -> Dialect:
    return Dialect(
        name=name,
        framework=Framework.PYTORCH,
        first=first,
        after=after,
        networks=networks,
        key_required=False,
        overrides=overrides,
        checkpoint_suffix=".pth",
        # dino_model_epoch=000.pth (5.0), model_epoch_000.pth (5.5, rtdetr), model_epoch_000_step_00500.pth (6.0)
        checkpoint_pattern=re.compile(r"(?:[a-z]+_)?model_epoch[_=](?P<epoch>\d+)(?:_step_(?P<step>\d+))?\.pth"),
        checkpoint_base=0,
        results_below=True,
        finished=finished,
        trusted=True,
        exit_failed=1,
        latest=_LATEST,
    )


# TensorFlow 1 ended with 5.0: the launchers of 5.x and 6.x all run yolo_v4 in the images of 5.0.
TAO3 = _tf1("tao3", (3,), (4,), ".tlt", key=True)
TAO4 = _tf1("tao4", (4,), (5,), ".tlt", key=True)
TAO5 = _tf1("tao5", (5,), (7,), ".hdf5", key=False)
PYT5_0 = _pytorch("pyt5.0", (5,), (5, 5), _DETECTORS, _PYTORCH_5_0_FINISHED, overrides=False)
PYT5_5 = _pytorch("pyt5.5", (5, 5), (6,), _DETECTORS, _PYTORCH_FINISHED, overrides=True)
PYT6 = _pytorch("pyt6", (6,), (7,), _DETECTORS | {TaoNetwork.RTDETR}, _PYTORCH_FINISHED, overrides=True)
PYT7 = _pytorch("pyt7", (7,), (8,), _DETECTORS | {TaoNetwork.RTDETR}, _PYTORCH_FINISHED, overrides=True)

DIALECTS = (TAO3, TAO4, TAO5, PYT5_0, PYT5_5, PYT6, PYT7)
"""All that this release knows, oldest first in each framework."""

_NGC = "nvcr.io/nvidia/tao/"
_IMAGES: Mapping[Framework, tuple[tuple[str, str], ...]] = MappingProxyType(
    {
        Framework.TF1: (
            ("3.21.11", "tao-toolkit-tf:v3.21.11-tf1.15.5-py3"),
            ("3.22.02", "tao-toolkit-tf:v3.21.11-tf1.15.5-py3"),
            ("3.22.05", "tao-toolkit-tf:v3.22.05-tf1.15.5-py3"),
            ("4.0.0", "tao-toolkit:4.0.0-tf1.15.5"),
            ("4.0.1", "tao-toolkit:4.0.0-tf1.15.5"),  # 4.0.1-tf1.15.5 exists, and carries other networks
            *(
                (version, "tao-toolkit:5.0.0-tf1.15.5")
                for version in (
                    "5.0.0",
                    "5.1.0",
                    "5.2.0",
                    "5.3.0",
                    "5.5.0",
                    "6.0.0",
                    "6.25.7",
                    "6.25.9",
                    "6.25.10",
                    "6.25.11",
                    "6.26.3",
                )
            ),
        ),
        Framework.PYTORCH: (
            ("5.0.0", "tao-toolkit:5.0.0-pyt"),
            ("5.1.0", "tao-toolkit:5.0.0-pyt"),
            ("5.2.0", "tao-toolkit:5.2.0-pyt2.1.0"),
            ("5.3.0", "tao-toolkit:5.3.0-pyt"),
            ("5.5.0", "tao-toolkit:5.5.0-pyt"),
            ("6.0.0", "tao-toolkit:6.0.0-pyt"),
            ("6.25.7", "tao-toolkit:6.0.0-pyt"),
            ("6.25.9", "tao-toolkit:6.25.9-pyt"),
            ("6.25.10", "tao-toolkit:6.25.10-pyt"),
            ("6.25.11", "tao-toolkit:6.25.11-pyt"),
            ("6.26.3", "tao-toolkit:6.26.3-pyt"),
            ("7.0.1", "tao-toolkit:7.0.1-pyt"),
            ("7.1.0", "tao-toolkit:7.1.0-pyt"),
        ),
    }
)
"""Release of TAO -> image that NVIDIA's launcher runs detection networks in."""


def dialect_for(network: TaoNetwork, version: str | None, image: str | None) -> Dialect:
    """The dialect that the network's commands speak.

    Args:
        network: which network.
        version: as stated by the user.
        image: as stated by the user; its tag is read.

    Raises:
        EngineError: no release of that version has the network, neither version nor tag tells, or they contradict.
    """
    tagged = tag_version(image) if image is not None else None
    if image is not None:
        _check_flavour(network, image)
    if version is None and image is not None and tagged is None:
        raise EngineError(
            f"{_FIELD}.version",
            f"the version of TAO cannot be read from the tag of image {image}",
            "State the version of TAO that the image is made from, like 5.0.",
        )
    if version is None:
        return _speaks(network, tagged, f"{_FIELD}.image") if tagged else _newest(network)
    stated = _speaks(network, parse_version(version), f"{_FIELD}.version")
    if tagged is not None and (read := _speaks(network, tagged, f"{_FIELD}.image")) is not stated:
        raise EngineError(
            f"{_FIELD}.version",
            f"version {version} is stated, and the tag of image {image} says {'.'.join(map(str, tagged))}, "
            f"which takes other commands (dialect {read.name}, not {stated.name})",
            "Correct the one that is wrong; version may be left out where the tag tells it.",
        )
    return stated


def dialect_of(tao: TaoTraining) -> Dialect:
    """As `dialect_for`, of a run's settings."""
    return dialect_for(tao.network, tao.version, tao.image)


def image_for(tao: TaoTraining) -> str:
    """The image that a run's commands are in: the user's, else NVIDIA's own for network and version.

    Raises:
        EngineError: as `dialect_for`, or NVIDIA's image of that version is not known.
    """
    dialect = dialect_of(tao)
    if tao.image is not None:
        return tao.image
    images = [(parse_version(version), tag) for version, tag in _IMAGES[dialect.framework]]
    wanted = parse_version(tao.version) if tao.version is not None else dialect.first
    fitting = [item for item in images if item[0][: len(wanted)] == wanted and _holds(dialect, item[0])]
    if not fitting:
        known = ", ".join(version for version, _ in _IMAGES[dialect.framework] if _holds(dialect, parse_version(version)))
        raise EngineError(
            f"{_FIELD}.image",
            f"NVIDIA's image for {tao.network.value} of version {tao.version} is not known to this release, only those "
            f"of {known}",
            "State the image, or choose one of these versions.",
        )
    return _NGC + max(fitting)[1]


def version_for(tao: TaoTraining) -> str:
    """The version of TAO that a run speaks to: as stated, else as the tag of its image says."""
    if tao.version is not None:
        return tao.version
    tagged = tag_version(image_for(tao))
    return ".".join(map(str, tagged or dialect_of(tao).first))


def parse_version(text: str) -> Version:
    """`5.0.1` -> (5, 0, 1)."""
    return tuple(int(part) for part in text.split("."))


_TAG = re.compile(r"v?(?P<version>\d+\.\d+(?:\.\d+)?)(?![\d.])")


def image_tag(image: str) -> str:
    """The tag of an image's name; empty where it has none. A registry's port and a digest are none."""
    name = image.partition("@")[0].rpartition("/")[2]
    return name.partition(":")[2]


def tag_version(image: str) -> Version | None:
    """The version of TAO that an image's tag begins with, like v3.22.05-tf1.15.5-py3; None where it does not."""
    found = _TAG.match(image_tag(image))
    return parse_version(found["version"]) if found else None


def _check_flavour(network: TaoNetwork, image: str) -> None:
    """NVIDIA's tags name what an image holds; `7.1.0-deploy` holds no network."""
    tag = image_tag(image)
    wanted = "tf1" if network is TaoNetwork.YOLO_V4 else "pyt"
    if tag_version(image) is None:
        return
    for flavour in ("tf1", "tf2", "pyt", "deploy", "data-services"):
        if f"-{flavour}" in tag and flavour != wanted:
            raise EngineError(
                f"{_FIELD}.image",
                f"image {image} is of the kind {flavour}, and {network.value} is in those of the kind {wanted}",
                "Choose the image of the kind that has the network, or leave image out.",
            )


def _holds(dialect: Dialect, version: Version) -> bool:
    return dialect.first <= version < dialect.after


def _newest(network: TaoNetwork) -> Dialect:
    return [dialect for dialect in DIALECTS if network in dialect.networks][-1]


def _speaks(network: TaoNetwork, version: Version, field: str) -> Dialect:
    for dialect in DIALECTS:
        if network in dialect.networks and _holds(dialect, version):
            return dialect
    spans = [(dialect.first, dialect.after) for dialect in DIALECTS if network in dialect.networks]
    first, after = min(spans)[0], max(spans)[1]
    raise EngineError(
        field,
        f"TAO {'.'.join(map(str, version))} has no {network.value} that this release knows; it is in versions from "
        f"{'.'.join(map(str, first))} and before {'.'.join(map(str, after))}",
        "Choose one of those versions, or another network in tao.network.",
    )
