"""What a step builds on: the digests of earlier results, which are part of its own digest."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from alrun.api.selection import Control
from alrun.api.step import COMPRESSION_STEPS, CONTROL_STEPS, CYCLE_STEPS, StepName, program_of
from alrun.api.training import StartFrom

from .course import compressed, control_since
from .observed import Run
from .params import start_of


def upstream_of(run: Run, step: StepName, cycle: int) -> dict[str, str]:
    """`<cycle>/<step>` -> digest, for the results in the status that `step` builds on."""
    if step is StepName.PREPARE:
        return {}
    cycles = {entry.cycle: dict(entry.results) for entry in run.status.cycles}
    if cycle in cycles:
        cycles[cycle] |= _compression_before(run, step, cycle)
    look = _wanted_by_control if step in CONTROL_STEPS else _wanted
    found = {
        f"{number}/{name.value}": cycles.get(number, {}).get(name.value)
        for number, name in look(run, step, cycle, sorted(number for number in cycles if number < cycle))
    }
    for name in _START.get(step, (StepName.PREPARE, StepName.FETCH)):
        found[f"0/{name.value}"] = run.status.results.get(name.value)
    return {key: digest for key, digest in sorted(found.items()) if digest is not None}


_START: Mapping[StepName, tuple[StepName, ...]] = MappingProxyType(
    {
        StepName.FETCH: (StepName.PREPARE,),
        StepName.EMBED: (StepName.PREPARE,),
        StepName.REGISTER: (),
        StepName.SELECT: (StepName.PREPARE, StepName.FETCH, StepName.EMBED, StepName.REGISTER),
    }
)
"""Steps before the first cycle that a step builds on; all others build on what prepare and fetch have found."""


def _compression_before(run: Run, step: StepName, cycle: int) -> dict[str, str]:
    """Results of the steps of the compression that come before this one: what an earlier try left does not count."""
    done = compressed(run.status, cycle).results
    last = COMPRESSION_STEPS.index(step) if step in COMPRESSION_STEPS else len(COMPRESSION_STEPS)
    return {name.value: done[name.value] for name in COMPRESSION_STEPS[:last] if name.value in done}


def _wanted(run: Run, step: StepName, cycle: int, earlier: list[int]) -> list[tuple[int, StepName]]:
    """The results that a step builds on, there or not."""
    labels = [(number, StepName.ANNOTATE) for number in [*earlier, cycle]]
    match step:
        case StepName.SELECT:
            wanted = [*labels[:-1], (cycle - 1, StepName.INFER), (cycle - 1, StepName.CONVERT)]
        case StepName.ANNOTATE:
            wanted = [(cycle, StepName.SELECT)]
        case StepName.KMEANS:
            wanted = labels
        case StepName.TRAIN:
            follows = start_of(run.spec, cycle) in (StartFrom.PREVIOUS_MODEL, StartFrom.RESUME)
            wanted = [*labels, (cycle - 1, StepName.TRAIN)] if follows else labels
        case StepName.EVALUATE | StepName.INFER:
            wanted = [(cycle, StepName.TRAIN)]
        case StepName.CONVERT:
            wanted = [(cycle, StepName.INFER)]
        case StepName.PRUNE | StepName.RETRAIN | StepName.ASSESS | StepName.EXPORT:
            wanted = [*labels, *((cycle, name) for name in (StepName.TRAIN, StepName.PRUNE, StepName.RETRAIN))]
        case _:
            wanted = [(cycle, name) for name in CYCLE_STEPS if name is not StepName.REPORT]
    return wanted


def _wanted_by_control(run: Run, step: StepName, cycle: int, earlier: list[int]) -> list[tuple[int, StepName]]:
    """The same for the comparison arm. Before its first own cycle it shares what the run has, and its images are drawn at
    random, so that predictions do not matter; a share of the batch is drawn from what the run has picked and labelled.
    """
    since = control_since(run.spec) or 0
    own = {program: name for name, program in CONTROL_STEPS.items()}
    wanted = [
        (number, name if number < since else own[name])
        for number, name in _wanted(run, program_of(step), cycle, earlier)
        if name in own
    ]
    if step is StepName.CONTROL_SELECT and run.spec.loop.control is Control.RANDOM_SHARE:
        wanted += [(cycle, StepName.SELECT), (cycle, StepName.ANNOTATE)]
    return wanted
