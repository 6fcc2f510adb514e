"""The command line of each action, in each dialect.

Nothing of a user's own is ever part of one, but numbers: files are called as `engines.foreign` says. It is checked
all the same, for TAO's first act is to put its arguments into a shell's command line, in TensorFlow 1 and in PyTorch
before 5.5 without any quotes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from alrun.api.compression import Prune
from alrun.api.training import TaoNetwork

from ..engine import EngineError
from ..foreign import LEAST_SCORE
from .actions import Action
from .dialects import Dialect, Framework

KEY_VARIABLE = "TAO_KEY"
KEY = f"$({KEY_VARIABLE})"
"""Replaced by Kubernetes, so that the key is in no manifest."""

MOST_SCORE = 0.999
"""Inference wants a threshold below 1."""

_ARGUMENT = re.compile(r"[A-Za-z0-9._/:@%+=,-]+")
_OVERRIDE_LIST = re.compile(r"[a-z_.]+=\[[0-9]+(,[0-9]+)*\]")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a network's command, in the words of the domain.

    Attributes:
        spec: the experiment spec; kmeans takes none.
        program: what is called in the place of the network's own command.
        results: folder for status.json and all else that the action leaves.
        model: the model to work on; not for training and kmeans.
        images: folder of images, for inference and kmeans.
        labels: folder of KITTI labels, for kmeans.
        output: file to write, for prune and export.
        keyed: whether models are encrypted with a key.
        mixed_precision: for training.
        score_threshold: for inference.
        pruning: settings of prune, and `pruning_threshold` the one to prune at.
        quantization_aware: for export: the model was prepared for 8-bit inference.
        size: width and height of the network's input, for kmeans, and `clusters` how many anchors to find.
    """

    dialect: Dialect
    network: TaoNetwork
    action: Action
    results: str
    program: tuple[str, ...] = ()
    spec: str = ""
    model: str = ""
    images: str = ""
    labels: str = ""
    output: str = ""
    gpus: int = 1
    keyed: bool = False
    mixed_precision: bool = False
    score_threshold: float = LEAST_SCORE
    pruning: Prune | None = None
    pruning_threshold: float = 0.0
    quantization_aware: bool = False
    size: tuple[int, int] | None = None
    clusters: int = 9


def command(call: Call) -> tuple[str, ...]:
    """The call as a list of arguments, the program first.

    Raises:
        EngineError: the dialect has no such action, needs a key, or would misread an argument.
    """
    dialect = call.dialect
    if call.action not in dialect.actions:
        raise EngineError(
            "spec.compression",
            f"{call.network.value} of dialect {dialect.name} has no action {call.action.value}",
            "Remove it, or train yolo_v4, which can be pruned and trained again.",
        )
    if dialect.key_required and not call.keyed and call.action is not Action.KMEANS:
        raise EngineError(
            "spec.training.tao.keySecretRef",
            f"{call.network.value} of dialect {dialect.name} encrypts its models, and no key is named",
            "Name a Secret and its key with any text that is to be the models' key; a pretrained model has its own.",
        )
    task = Action.TRAIN if call.action is Action.RETRAIN else call.action
    arguments = _tf1(call, task) if dialect.framework is Framework.TF1 else _pytorch(call, task)
    line = (*(call.program or (call.network.value,)), task.value, *arguments)
    for number, argument in enumerate(line):
        if argument != KEY and not _is_plain(argument):
            raise EngineError(
                "spec.training.tao",
                f"argument {number} of {call.network.value} {task.value} is {argument!r}, which TAO's shell would misread",
                "Use letters, digits and . _ / : @ % + = , - alone.",
            )
    return line


def score_threshold(wanted: float) -> float:
    """The score threshold that inference can be asked for, nearest to the wanted one: more than 0, less than 1."""
    return min(max(wanted, LEAST_SCORE), MOST_SCORE)


def _is_plain(argument: str) -> bool:
    argument = argument.removesuffix(KEY)  # encryption_key=$(TAO_KEY)
    return bool(_ARGUMENT.fullmatch(argument) or _OVERRIDE_LIST.fullmatch(argument))


def _tf1(call: Call, task: Action) -> list[str]:  # noqa: PLR0911 - one case an action
    """Flags of yolo_v4. The action has to come before all of them."""
    old = call.dialect.key_required
    key = ["-k", KEY] if call.keyed else []
    # Where these four are not told where to put status.json, they write none; the old ones were never documented to.
    results = [] if old else ["--results_dir", call.results]
    match task:
        case Action.TRAIN:
            flags = ["-e", call.spec, "-r", call.results, "--gpus", str(call.gpus)]
            return [*flags, *key, *(["--use_amp"] if call.mixed_precision else [])]
        case Action.EVALUATE:
            return ["-e", call.spec, "-m", call.model, *key, *([] if old else ["-r", call.results])]
        case Action.INFERENCE:
            where = (
                ["-o", f"{call.results}/images_annotated", "-l", call.dialect.labels(call.results)]
                if old
                else ["-r", call.results]
            )
            threshold = _number(score_threshold(call.score_threshold))
            return ["-i", call.images, "-e", call.spec, "-m", call.model, *key, *where, "-t", threshold]
        case Action.PRUNE:
            settings = call.pruning or Prune()
            return [
                *("-m", call.model, "-e", call.spec, "-o", call.output),
                *("-eq", settings.equalization, "-pth", _number(call.pruning_threshold)),
                *("-pg", str(settings.granularity), "-nf", str(settings.min_filters)),
                *key,
                *results,
            ]
        case Action.EXPORT:
            flags = ["-m", call.model, "-e", call.spec, "-o", call.output, *key, *results]
            folder = call.output.rpartition("/")[0]
            if old:
                scales = ["--cal_cache_file", f"{folder}/cal.bin"] if call.quantization_aware else []
                return [*flags, "--data_type", "int8" if call.quantization_aware else "fp32", *scales]
            scales = ["--cal_json_file", f"{folder}/cal.json"] if call.quantization_aware else []
            return [*flags, "--target_opset", "12", "--gen_ds_config", *scales]
        case Action.KMEANS:
            width, height = call.size or (0, 0)
            where = ["-l", call.labels, "-i", call.images, "-n", str(call.clusters), "-x", str(width), "-y", str(height)]
            return [*where, *results]
        case _:  # RETRAIN is told to TAO as TRAIN
            raise AssertionError(task)


def _pytorch(call: Call, task: Action) -> list[str]:
    """Flags before 5.5; since then, overrides of the spec. What to work on is in the spec in both.

    GPUs are named for training alone: one is enough for the rest, and what several leave is told apart by none.
    """
    spec = ["-e", call.spec]
    if not call.dialect.overrides:
        gpus = ["--gpus", str(call.gpus)] if task is Action.TRAIN else []
        return [*spec, "-r", call.results, *(["-k", KEY] if call.keyed else []), *gpus]
    overrides = [f"results_dir={call.results}"]
    if task is Action.TRAIN:
        overrides.append(f"train.num_gpus={call.gpus}")
        overrides.append(f"train.gpu_ids=[{','.join(map(str, range(call.gpus)))}]")
    return [*spec, *overrides, *([f"encryption_key={KEY}"] if call.keyed else [])]


def _number(value: float) -> str:
    """Without an exponent, which argparse takes and people do not."""
    return f"{value:.6f}".rstrip("0").rstrip(".")
