"""Our templates of experiment specs, wherever they are installed.

They stand in `specs/` at the top of the repository, for people to read; in a wheel, and so in the images, they are
beside this module.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from alrun.api.training import TaoNetwork

from ..actions import Action


@cache
def template(network: TaoNetwork, action: Action) -> str:
    """The text of the template for a network's command; every command of yolo_v4 reads the spec of its training."""
    return _folder().joinpath(network.value, _name(network, action)).read_text(encoding="utf-8")


def _name(network: TaoNetwork, action: Action) -> str:
    if network is TaoNetwork.YOLO_V4:
        return "retrain.txt" if action is Action.RETRAIN else "train.txt"
    return f"{action.value}.yaml"


def _folder() -> Traversable:
    installed = files(__package__).joinpath("specs")
    return installed if installed.is_dir() else files("alrun").joinpath("..", "..", "specs")
