"""Which release of TAO the image stands in for."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Dialect:
    """What differs between the releases, as far as the programs show it."""

    name: str
    networks: frozenset[str]
    """Commands that the image has."""
    key_required: bool = False
    suffix: str = ".pth"
    """Of checkpoints."""
    status: frozenset[str] = frozenset({"train", "evaluate", "inference", "prune", "export", "kmeans"})
    """Actions that write status.json. None in 3.x, where it is not known: whoever reads it must do without."""
    hydra: bool = False
    """All but -e is an override like `train.num_gpus=2`."""
    generic_failure: bool = False
    """status.json tells of any exception, not only of those that the programs expect."""
    tty_log: bool = False
    """With JOB_ID in the environment, output goes to a file below /results as well (6.x, 7.x)."""

    @property
    def is_tf1(self) -> bool:
        return self.name.startswith("tao")


_YOLO = frozenset({"yolo_v4", "yolo_v4_tiny"})
_DETR = frozenset({"dino", "deformable_detr"})

DIALECTS = {
    dialect.name: dialect
    for dialect in (
        Dialect("tao3", _YOLO, key_required=True, suffix=".tlt", status=frozenset()),
        Dialect("tao4", _YOLO, key_required=True, suffix=".tlt", status=frozenset({"train"})),
        Dialect("tao5", _YOLO, suffix=".hdf5"),
        Dialect("pyt5.0", _DETR, generic_failure=True),
        Dialect("pyt5.5", _DETR, hydra=True, generic_failure=True),
        Dialect("pyt6", _DETR | {"rtdetr"}, hydra=True, generic_failure=True, tty_log=True),
        Dialect("pyt7", _DETR | {"rtdetr"}, hydra=True, tty_log=True),
    )
}


def current() -> Dialect:
    """The dialect of this image."""
    name = os.environ.get("TAO_STANDIN_DIALECT", "")
    if name not in DIALECTS:
        raise SystemExit(f"stand-in: TAO_STANDIN_DIALECT is {name!r}; it must be one of {', '.join(DIALECTS)}")
    return DIALECTS[name]
