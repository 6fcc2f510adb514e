"""What the Worker left, brought to the workspace: report, log, memory log, corruptness check."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from alrun.api import paths
from alrun.steps.context import Context

from .client import Platform
from .reasons import LightlyError

_BINARY = (".pdf",)


def bring_artifacts(context: Context, platform: Platform, scheduled: str) -> None:
    """Copy all of a run's artefacts but its checkpoint, without secrets.

    They explain a selection, and are not needed for it: where the platform does not hand them out that is told, and is no
    reason to do without the picks, nor to tell of it instead of what has really happened.
    """
    folder = paths.worker_artifacts(context.input.cycle)
    with TemporaryDirectory(dir=context.scratch) as place:
        try:
            files = platform.download_artifacts(scheduled, Path(place))
        except LightlyError as error:
            context.say(f"artefacts of the run are missing: {error.message}")
            return
        for file in files:
            if file.suffix not in _BINARY:
                file.write_bytes(context.secrets.redacted_bytes(file.read_bytes()))
            context.workspace.upload(file, f"{folder}/{file.name}")
        context.say(f"{len(files)} files of the Worker are in {context.workspace.uri_of(folder)}")
