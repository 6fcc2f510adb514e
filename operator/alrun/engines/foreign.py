"""How a program that is not ours runs in a step's pod: the folder that its containers share, and what they run.

The pod of such a step has, in this order, `stage-in` (ours: brings images, labels, specs and models into the
folder), `watch` (ours: tells the progress and keeps the newest checkpoint), one container a **stage** with the
foreign image, and `step` (ours: judges what the stages left and brings the results to the workspace). The foreign
image is used as it is: it needs a POSIX shell with mkdir, mkfifo, rm, sleep and tee, and nothing of ours.

Below `WORK`:

    data/<set>/images/<8 digits>.<ext>   data/<set>/labels/<8 digits>.txt (KITTI)   data/<set>.json (COCO)
    data/classmap.txt                    a class a line
    names.json                           {set: {staged stem: image path below dataset.images}}
    specs/<stage>.txt|.yaml              experiment specs; stages like prune-1 and prune-2 share one
    models/model.<ext>                   the model that a stage works on
    models/start.<ext>                   weights that a training starts from
    models/<its own name>                a checkpoint that a training is resumed from: the name tells the epoch
    out/<stage>/                         where a stage leaves its results
    stages/<stage>/{log,exit}            what it printed, and how it ended
    home/                                HOME and caches

Staged images are called by numbers, so that no name collides with another and none has a character that a foreign
shell would take amiss.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from alrun.api import meta
from alrun.api.types import SecretKey

WORK = meta.WORK_PATH
DATA = f"{WORK}/data"
CLASS_MAP = f"{DATA}/classmap.txt"
NAMES = f"{WORK}/names.json"
SPECS = f"{WORK}/specs"
MODELS = f"{WORK}/models"
OUT = f"{WORK}/out"
STAGES = f"{WORK}/stages"
HOME = f"{WORK}/home"
USER_SPEC = "/etc/alrun/spec/experiment"
"""Where `fetch` finds an experiment spec of the user's that is in a ConfigMap."""


LEAST_SCORE = 0.001
"""Score from which boxes are asked for where all count, as for a run's metrics: TAO wants a threshold above 0."""


class ImageSet(StrEnum):
    """The sets of images that are staged, each in a folder of its own."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"
    POOL = "pool"


def images(images_of: ImageSet) -> str:
    """Folder of a set's images."""
    return f"{DATA}/{images_of.value}/images"


def labels(images_of: ImageSet) -> str:
    """Folder of a set's KITTI labels."""
    return f"{DATA}/{images_of.value}/labels"


def coco(images_of: ImageSet) -> str:
    """A set's labels as one COCO file."""
    return f"{DATA}/{images_of.value}.json"


def staged_name(number: int, extension: str) -> str:
    """Name of the image of that number, from 0; `extension` has no dot."""
    return f"{number:08d}.{extension.lower()}"


def spec_file(stage: str, extension: str) -> str:
    """The experiment spec of a stage; `extension` has no dot."""
    return f"{SPECS}/{stage}.{extension}"


def model(suffix: str) -> str:
    """The model that a stage works on; `suffix` begins with the dot."""
    return f"{MODELS}/model{suffix}"


def start(suffix: str) -> str:
    """The weights that a training starts from; `suffix` begins with the dot."""
    return f"{MODELS}/start{suffix}"


def suffix(uri: str) -> str:
    """What the name of a file ends with, the dot included; empty where it has no ending."""
    stem, dot, ending = uri.rpartition("/")[2].rpartition(".")
    return dot + ending if stem else ""


def out(stage: str) -> str:
    """Folder that a stage leaves its results in; it is there before the stage starts."""
    return f"{OUT}/{stage}"


def log_file(stage: str) -> str:
    """All that a stage printed, standard error included."""
    return f"{STAGES}/{stage}/log"


def exit_file(stage: str) -> str:
    """A stage's exit code, as text; not there while it runs, or where it never ran."""
    return f"{STAGES}/{stage}/exit"


@dataclass(frozen=True, slots=True)
class Stage:
    """A container that runs a foreign program once.

    `command` reaches the program word for word, but for `$(NAME)`, which Kubernetes replaces by a variable of
    `env` or `secret_env`. `gpu`: whether it is given the step's GPUs.
    """

    name: str
    command: tuple[str, ...]
    image: str
    gpu: bool = True
    env: Mapping[str, str] = field(default_factory=dict)
    secret_env: Mapping[str, SecretKey] = field(default_factory=dict)


ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        "HOME": HOME,
        # The user has no entry in the image's /etc/passwd, and torch asks for its name.
        "USER": "alrun",
        "LOGNAME": "alrun",
        **{
            name: f"{HOME}/.cache/{folder}"
            for name, folder in (
                ("XDG_CACHE_HOME", "xdg"),
                ("HF_HOME", "huggingface"),
                ("TORCH_HOME", "torch"),
                ("TRITON_CACHE_DIR", "triton"),
                ("TORCHINDUCTOR_CACHE_DIR", "inductor"),
                ("MPLCONFIGDIR", "matplotlib"),
            )
        },
        "TELEMETRY_OPT_OUT": "yes",
    }
)
"""What every stage finds in its environment. Never JOB_ID nor WORLD_SIZE: TAO takes them for its own service's."""

SCRIPT = f"""\
stage=$1
shift
asked= child=
trap 'asked=y$asked; [ -z "$child" ] || kill -TERM "$child" 2>/dev/null' TERM
for file in {STAGES}/*/exit; do
  [ -e "$file" ] || continue
  read -r code <"$file"
  if [ "$code" != 0 ]; then
    echo "alrun: $stage is skipped, for an earlier stage ended with exit code $code"
    exit 0
  fi
done
dir={STAGES}/$stage
mkdir -p "$dir" "{OUT}/$stage" "{HOME}" && rm -f "$dir/pipe" && mkfifo "$dir/pipe" || exit 1
tee "$dir/log" <"$dir/pipe" &
copy=$!
"$@" >"$dir/pipe" 2>&1 &
child=$!
[ -z "$asked" ] || kill -TERM "$child" 2>/dev/null
while :; do
  before=$asked
  wait "$child" 2>/dev/null
  code=$?
  [ "$asked" != "$before" ] || break
done
(sleep 10; kill "$copy") </dev/null >/dev/null 2>&1 &
late=$!
wait "$copy" 2>/dev/null
kill "$late" 2>/dev/null
rm -f "$dir/pipe"
echo "$code" >"$dir/exit" || exit 1
[ -z "$asked" ] || exit 143
exit 0
"""
"""What a stage's container runs: `/bin/sh -c SCRIPT alrun <stage> <command …>`. Always the same text: the command is
passed as arguments, so nothing in it is ever read by this shell.

- A stage after one that failed is skipped, so that the last container can tell of the failure.
- The program's output goes to the container's log and to a file: the log can be read while it runs, the file after.
- SIGTERM is passed on: as the first process of a container a program without a handler would ignore it.
- It ends with 0 whatever the program's exit code, which is written down for the judge: TAO's own says little. Only a
  stage that was told to end, or that could not do its bookkeeping, ends its pod.
- A process that the program left behind may hold the pipe open for ever; it is given 10 seconds.
"""


def shell_command(stage: Stage) -> list[str]:
    """The `command` of a stage's container."""
    return ["/bin/sh", "-c", SCRIPT, "alrun", stage.name, *stage.command]


_TOKEN = re.compile(r"[-a-zA-Z0-9_]{1,40}")
"""Class names that TAO's own service takes; a space would be another column of a KITTI line."""


def class_tokens(classes: Sequence[str]) -> dict[str, str]:
    """Class -> what it is called in staged files, in the order of `classes`; no two are called the same.

    A class is called by its own name in lower case, as TAO does, where that is unique and has no odd character; else
    by its place, like `class_007`.
    """
    lowered = Counter(name.lower() for name in classes)
    taken = {name for name in lowered if _TOKEN.fullmatch(name)}
    tokens: dict[str, str] = {}
    for number, name in enumerate(classes):
        token = name.lower()
        if not _TOKEN.fullmatch(token) or lowered[token] > 1:
            token = f"class_{number:03d}"
            while token in taken:  # another class is really called so
                token += "_"
            taken.add(token)
        tokens[name] = token
    return tokens
