"""watch: while the stages work, tell how far they are, and keep the newest checkpoint of a training.

It only looks. Where the store does not answer the checkpoint is brought later; where something cannot be read it is
read again; and nothing that goes wrong here ends the work that is watched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from alrun.api import paths
from alrun.api.meta import PROGRESS_PREFIX
from alrun.api.status import Progress
from alrun.api.step import TrainParams
from alrun.api.training import TrainingEngine
from alrun.core.pods import STAGE_IN
from alrun.data.stores import StoreError
from alrun.engines import custom, foreign
from alrun.engines.tao.actions import Action
from alrun.engines.tao.stages import TaoStage, stages_of
from alrun.engines.tao.verdict import progress

from ..context import Context
from ..index import classes_of
from . import judging
from .history import history
from .models import NOTE, Note, replace_folder
from .seen import Tail, TaoSeen, exit_code
from .work import Work

INTERVAL = 5.0
"""Seconds between two looks; the operator reads the last progress line every ten."""
MAX_LINE = 64 * 1024
"""Characters of a line of a trainer of the user's that may be a progress line."""

Ended = Callable[[float], bool]
"""Waits for so many seconds; True as soon as the pod is to end."""


def watch(context: Context, work: Work, ended: Ended) -> None:
    """Look until the pod ends, and once more then."""
    looks: list[Callable[[], object]]
    if context.input.engine == TrainingEngine.TAO:
        names = {token: name for name, token in foreign.class_tokens(classes_of(context)).items()}
        stages = stages_of(context.input)
        looks = [TaoProgress(context, work, stages, names).look]
        trains = [stage for stage in stages if stage.call.action in (Action.TRAIN, Action.RETRAIN)]
        looks += [CheckpointKeeper(context, work, stage).look for stage in trains]
    else:
        looks = [CustomProgress(context, work).look]
    if exit_code(work, STAGE_IN) is not None:
        looks = []  # the stages are skipped
    over = False
    while not over:
        over = ended(INTERVAL)
        for look in looks:
            try:
                look()
            except (OSError, StoreError) as error:
                context.say(f"looked in vain, and looks again: {error}")


class TaoProgress:
    """Progress lines from what TAO prints and writes, a line whenever something has changed."""

    def __init__(self, context: Context, work: Work, stages: Sequence[TaoStage], names: dict[str, str]) -> None:
        self._context = context
        self._work = work
        self._names = names
        self._left = [TaoSeen(work, stage) for stage in stages]
        self._told: Progress | None = None

    def look(self) -> None:
        """Read on in the stage that is at work."""
        while self._left:
            seen = self._left[0]
            over = exit_code(self._work, seen.stage.name) is not None  # before the look, which then sees all
            if seen.look():
                self._tell(seen)
            if not over:
                return
            self._left.pop(0)

    def _tell(self, seen: TaoSeen) -> None:
        call = seen.stage.call
        trains = call.action in (Action.TRAIN, Action.RETRAIN)
        now = progress(seen.reading, seen.stage.experiment.epochs if trains else None, self._names)
        if now is not None and now != self._told:
            self._told = now
            self._context.say(PROGRESS_PREFIX + now.model_dump_json(by_alias=True, exclude_none=True))


class CustomProgress:
    """The progress lines of a trainer of the user's, passed on: its own log is not where the operator looks."""

    def __init__(self, context: Context, work: Work) -> None:
        stage = custom.TRAIN if isinstance(context.params, TrainParams) else custom.INFER
        self._context = context
        self._log = Tail(work.at(foreign.log_file(stage)))
        self._rest = ""

    def look(self) -> None:
        """Pass on the last of the lines that have come since."""
        latest: Progress | None = None
        for text in self._log.more():
            *lines, self._rest = (self._rest + text).replace("\r", "\n").split("\n")
            self._rest = self._rest[-MAX_LINE:]
            for line in lines:
                if line.startswith(PROGRESS_PREFIX):
                    latest = _read(line.removeprefix(PROGRESS_PREFIX)) or latest
        if latest is not None:
            self._context.say(PROGRESS_PREFIX + latest.model_dump_json(by_alias=True, exclude_none=True))


def _read(text: str) -> Progress | None:
    try:
        return Progress.model_validate_json(text)
    except ValidationError:  # of the user's own making
        return None


@dataclass(frozen=True, slots=True)
class _State:
    """A file as it is now: while it is written to, it changes from look to look."""

    name: str
    size: int
    changed: int

    @classmethod
    def of(cls, path: Path) -> _State:
        state = path.stat()
        return cls(path.name, state.st_size, state.st_mtime_ns)


class CheckpointKeeper:
    """Brings the newest checkpoint of a training to the workspace, so that another attempt goes on from it.

    The checkpoint of the last epoch is left to stage-out: nobody can go on from it.
    """

    def __init__(self, context: Context, work: Work, stage: TaoStage) -> None:
        self._context = context
        self._name = stage.name
        self._dialect = stage.call.dialect
        self._folder = work.at(self._dialect.weights(stage.call.results, stage.call.action))
        self._epochs = stage.experiment.epochs
        self._work = work
        self._seen = TaoSeen(work, stage)
        self._before: dict[str, _State] = {}
        self._kept: _State | None = None

    def look(self) -> None:
        """Bring the newest checkpoint that is as it was at the look before, and so written to by nobody.

        Raises:
            StoreError: it cannot be brought now; it is tried again at the next look.
        """
        if exit_code(self._work, self._name) == 0:
            return  # the training is over, and stage-out has what it made
        self._seen.look()
        found = {name: _State.of(self._folder / name) for name in judging.checkpoints(self._folder)}
        settled = [name for name, state in found.items() if state == self._before.get(name)]
        self._before = found
        newest = self._dialect.newest(
            name for name in settled if (one := self._dialect.checkpoint(name)) is not None and one.epoch < self._epochs
        )
        if newest is None:
            return
        state = found[newest.name]
        if state != self._kept and self._bring(state, newest.epoch):
            self._kept = state

    def _bring(self, state: _State, epoch: int) -> bool:
        """Whether the checkpoint is in the workspace, whole."""
        folder = paths.checkpoints(self._context.input.cycle, self._context.params.step)
        lines = [line for line in history(self._work, self._seen.reading) if line["epoch"] <= epoch]
        workspace = self._context.workspace
        workspace.upload(self._folder / state.name, f"{folder}/{state.name}")
        if _State.of(self._folder / state.name) != state:
            return False
        workspace.write(f"{folder}/{NOTE}", Note(self._context.input.digest(), state.name, lines).to_bytes())
        replace_folder(self._context, folder, [state.name, NOTE])
        self._context.say(f"kept {state.name}, of epoch {epoch}, to go on from")
        return True
