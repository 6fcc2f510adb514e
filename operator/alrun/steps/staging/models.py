"""Models on their way between the workspace and a foreign program.

A foreign program's model keeps the name that the program gave it, which tells more than its ending: TAO reads from it
how many epochs were done, and whether the file is encrypted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from alrun.api import paths
from alrun.api.step import StepName
from alrun.data.labels import base
from alrun.data.stores import FileNotFoundInStore, StoreError

from ..context import Context, StepError
from .work import Work

NOTE = "checkpoint.json"
"""Beside a checkpoint in the workspace: what it is of."""


def model_of(context: Context, cycle: int, step: StepName) -> str:
    """Path in the workspace of the model that a foreign program made in `step` of a cycle.

    Raises:
        StepError: there is none.
    """
    return only_file(
        context, paths.model_folder(cycle, step.value), "ModelMissing", f"retry from cycle {cycle}, step {step}"
    )


def only_file(context: Context, folder: str, reason: str, remedy: str) -> str:
    """Path of the one file in a folder of the workspace.

    Raises:
        StepError: there is none, or more than one.
    """
    found = [entry.path for entry in context.workspace.list(folder)]
    if len(found) != 1:
        listing = ", ".join(base(path) for path in found[:5]) or "nothing"
        raise StepError(reason, f"{context.workspace.uri_of(folder)} must hold one file, and holds {listing}", remedy)
    return found[0]


def fetch(context: Context, work: Work, path: str, to: str) -> None:
    """A file of the workspace, brought to a place in the shared folder."""
    context.workspace.download(path, work.made(to))


def replace_folder(context: Context, folder: str, files: Iterable[str]) -> None:
    """Remove what is in a folder of the workspace and is not one of the files (by name) that have just come into it."""
    kept = {f"{folder}/{name}" for name in files}
    context.workspace.delete(entry.path for entry in context.workspace.list(folder) if entry.path not in kept)


@dataclass(frozen=True, slots=True)
class Note:
    """What a checkpoint in the workspace is of.

    Attributes:
        input: digest of the StepInput that the training was given.
        name: file name of the checkpoint.
        history: a line for each epoch up to it, as in `paths.history`.
    """

    input: str
    name: str
    history: list[dict[str, float]]

    def to_bytes(self) -> bytes:
        """As JSON."""
        return json.dumps({"input": self.input, "name": self.name, "history": self.history}).encode()


def checkpoint_of(context: Context) -> Note | None:
    """The checkpoint that an earlier attempt at the very same step left; None where there is none to go on from."""
    folder = paths.checkpoints(context.input.cycle, context.params.step)
    try:
        value = json.loads(context.workspace.read(f"{folder}/{NOTE}"))
        note = Note(str(value["input"]), str(value["name"]), list(value["history"]))
    except FileNotFoundInStore:
        return None
    except (ValueError, KeyError, TypeError) as error:
        context.say(f"{folder}/{NOTE} is passed over: {error!r}")
        return None
    if note.input != context.input.digest() or not context.workspace.exists(f"{folder}/{note.name}"):
        return None
    return note


def forget_checkpoints(context: Context) -> None:
    """Remove the checkpoints of a training that is over; they are large, and nobody goes on from them."""
    folder = paths.checkpoints(context.input.cycle, context.params.step)
    try:
        context.workspace.delete([entry.path for entry in context.workspace.list(folder)])
    except StoreError as error:
        context.say(f"checkpoints are left in {folder}: {error}")
