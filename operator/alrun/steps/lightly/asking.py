"""Asking the Worker for images, and finding again what an earlier attempt has asked for.

The dataset on the platform holds all that was ever selected for it. An image in it that may still be labelled was picked
before, by a run of this one's that came to nothing afterwards, or that went beyond the budget: the Worker would never pick
it again, so that such images come first. The Worker is asked for the rest.

An attempt that ends before the picks are written is followed by one that finds its run again, see `records`. The Worker
lives in the pod of an attempt: a run that it had begun when the pod was taken comes to nothing, and is scheduled anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alrun.api import paths
from alrun.api.selection import InputType, StrategyType
from alrun.api.step import LightlyWork, SelectParams
from alrun.learn.selection.pool import Pick
from alrun.steps.context import Context
from alrun.steps.selecting.candidates import PoolIndex
from alrun.steps.selecting.inputs import Inputs

from . import config
from .artifacts import bring_artifacts
from .client import Platform
from .datasources import datasources_of, set_datasources
from .following import ENDS, WAITING, Follower, RunLost
from .given import metadata_keys, relevant_files, table_columns, write_embeddings, write_metadata
from .reasons import LightlyError
from .records import RunRecord, read_run, write_run


@dataclass
class Asking:
    """Asks the Worker for images.

    Attributes:
        run: the Worker's run, once there is one.
    """

    context: Context
    work: LightlyWork
    params: SelectParams
    platform: Platform
    dataset: str
    index: PoolIndex
    inputs: Inputs
    environ: Mapping[str, str]
    sleep: Callable[[float], None]
    run: str | None = None

    def picker(self, chosen: NDArray[np.int64], open_: NDArray[np.bool_], wanted: int) -> Iterator[Pick]:
        """Images in the order in which the dataset has them; see `alrun.learn.selection.batch`."""
        adopted = self._of_earlier_attempt(open_)
        if adopted is not None:
            waiting, picks = adopted
        else:
            before = self.platform.selected()
            waiting, offered = self._waiting(before, open_)
            images = min(wanted - len(waiting), int(offered.sum()))
            picks = self._select(before, offered, images) if images > 0 else []
        for image in waiting:
            yield Pick(self.index.place[image], 0.0, "picked by the Lightly Worker before, and not labelled then")
        why = f"picked by the Lightly Worker: {config.rule_name(self.params)}"
        for image in picks:
            yield Pick(self.index.place[image], 0.0, why)

    def _waiting(self, before: list[str], open_: NDArray[np.bool_]) -> tuple[list[str], NDArray[np.bool_]]:
        """Images that the dataset holds and that may be labelled, in its order; and [N] those that it does not hold."""
        place = self.index.place
        waiting = [image for image in before if image in place and open_[place[image]]]
        offered = open_.copy()
        offered[[place[image] for image in waiting]] = False
        return waiting, offered

    def _of_earlier_attempt(self, open_: NDArray[np.bool_]) -> tuple[list[str], list[str]] | None:
        """What an earlier attempt at the same input has asked for: (images that were waiting then, the Worker's picks).

        None: it has asked for nothing, or what it asked for came to nothing.
        """
        record = read_run(self.context)
        scheduled = None if record is None else self.platform.scheduled_with(record.config)
        if record is None or scheduled is None:
            return None
        self.context.say(f"an earlier attempt has scheduled the run {scheduled}")
        waiting, offered = self._waiting(record.before, open_)
        try:
            with self._taken_back_on_sigterm(record):
                return waiting, self._follow(scheduled, record, offered, adopted=True)
        except RunLost:
            self.context.say("it came to nothing: another one is scheduled")
            self._give_up(scheduled)
            return None

    def _select(self, before: list[str], offered: NDArray[np.bool_], images: int) -> list[str]:
        """Have the Worker select `images` of what is offered."""
        record = self._prepare(before, offered, images)
        with self._taken_back_on_sigterm(record):
            scheduled = self.platform.schedule(record.config, self.work.label)
            self.context.say(f"scheduled as {scheduled}: {images} of {int(offered.sum())} images")
            return self._follow(scheduled, record, offered, adopted=False)

    def _prepare(self, before: list[str], offered: NDArray[np.bool_], images: int) -> RunRecord:
        """Leave all that the Worker reads in the workspace, and the configuration with the platform."""
        context, settings = self.context, self.work.settings
        bypass = bool(settings.worker_config.get("datasource", {}).get("bypass_verify"))
        listed = [self.index.images[place] for place in np.flatnonzero(offered).tolist()]
        context.workspace.write(paths.RELEVANT_FILES, relevant_files(listed))
        self._write_metadata()
        length = None
        if self.params.embeddings is not None:
            points = self.inputs.points
            length = points.shape[1]
            write_embeddings(context, self.index.images, points)
        set_datasources(self.platform, datasources_of(context, self.environ), bypass_verify=bypass)
        record = RunRecord(
            input=context.input.digest(),
            dataset=self.dataset,
            config=self.platform.create_config(
                config.worker_config(settings, datapool=bool(before), embeddings=length is not None),
                config.lightly_config(settings, length),
                config.selection_config(self.params, images, seed=context.input.seed, cycle=context.input.cycle),
            ),
            images=images,
            before=before,
        )
        write_run(context, record)
        return record

    def _write_metadata(self) -> None:
        boxes = np.bincount(self.inputs.predictions.image, minlength=len(self.index.images))
        table = [] if self.params.table is None else table_columns(self.context, self.index, self.params.table)
        balanced = {
            one.input.key or ""
            for one in self.params.strategies
            if one.input.type is InputType.METADATA and one.strategy.type is StrategyType.BALANCE
        }
        write_metadata(self.context, self.index, metadata_keys(self.index, self.work.cost, boxes, table, balanced))

    def _follow(self, scheduled: str, record: RunRecord, offered: NDArray[np.bool_], *, adopted: bool) -> list[str]:
        settings = self.work.settings
        follower = Follower(
            self.context,
            self.platform,
            scheduled,
            self.work.worker_id or "",
            settings.pickup_timeout.total_seconds(),
            settings.stall_timeout.total_seconds(),
            self.sleep,
            adopted,
        )
        try:
            sight = follower.follow()
        except LightlyError as error:
            if not (error.retryable and error.reason.startswith("Worker")):  # a run that waits is waited for again
                self._give_up(scheduled)
            bring_artifacts(self.context, self.platform, scheduled)
            raise
        assert sight.run is not None
        self.run = sight.run
        picks = self._picks(sight.run, record, offered)
        bring_artifacts(self.context, self.platform, scheduled)
        return picks

    def _picks(self, run: str, record: RunRecord, offered: NDArray[np.bool_]) -> list[str]:
        """What the run has added; its own tag may hold what was there before, and older Workers make none."""
        tagged = self.platform.selected_by(run)
        names = self.platform.selected() if tagged is None else tagged
        before = set(record.before)
        picks = [name for name in names if name not in before]
        strange = [name for name in picks if name not in self.index.place or not offered[self.index.place[name]]]
        if strange:
            raise LightlyError(
                "PicksUnknown",
                f"the run {run} selected {len(strange)} images that are not in {paths.RELEVANT_FILES}, {strange[0]} first",
            )
        return picks

    @contextmanager
    def _taken_back_on_sigterm(self, record: RunRecord) -> Iterator[None]:
        def take_back() -> None:
            self._take_back(record)

        self.context.on_sigterm.append(take_back)
        try:
            yield
        finally:
            self.context.on_sigterm.remove(take_back)

    def _take_back(self, record: RunRecord) -> None:
        """Nobody will wait for the run any more. It is found by its configuration, for its id may not be known yet."""
        scheduled = self.platform.scheduled_with(record.config)
        if scheduled is not None and self.platform.look(scheduled).state in WAITING:
            self.platform.cancel(scheduled)
            self.context.say(f"the scheduled run {scheduled} is cancelled")

    def _give_up(self, scheduled: str) -> None:
        """Have the platform know that nobody works on a run: as long as it counts as begun, no other one begins."""
        try:
            sight = self.platform.look(scheduled)
            if sight.state in WAITING:
                self.platform.cancel(scheduled)
            elif sight.run is not None and sight.state not in ENDS:
                self.platform.declare_crashed(sight.run, "its Worker has ended, says alrun")
        except LightlyError as error:
            self.context.say(error.message)
