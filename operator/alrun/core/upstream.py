"""What a step builds on: the digests of earlier results, which are part of its own digest."""

from __future__ import annotations

from alrun.api.step import COMPRESSION_STEPS, CYCLE_STEPS, StepName
from alrun.api.training import StartFrom

from .course import compressed
from .observed import Run
from .params import start_of


def upstream_of(run: Run, step: StepName, cycle: int) -> dict[str, str]:
    """`<cycle>/<step>` -> digest, for the results in the status that `step` builds on."""
    if step is StepName.PREPARE:
        return {}
    cycles = {entry.cycle: dict(entry.results) for entry in run.status.cycles}
    if cycle in cycles:
        cycles[cycle] |= _compression_before(run, step, cycle)
    found = {
        f"{number}/{name.value}": cycles.get(number, {}).get(name.value)
        for number, name in _wanted(run, step, cycle, sorted(number for number in cycles if number < cycle))
    }
    for name in (StepName.PREPARE, StepName.FETCH):
        if step is not name:
            found[f"0/{name.value}"] = run.status.results.get(name.value)
    return {key: digest for key, digest in sorted(found.items()) if digest is not None}


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
