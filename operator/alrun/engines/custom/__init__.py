"""A trainer of the user's own: any image that keeps a small contract, described in docs/custom-trainer.md.

The program is called as `<command> train` or `<command> infer`, finds what it is to do in its environment and in
files, and leaves what it made in a folder. It needs nothing of ours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial

from alrun.api.spec import RunSpec
from alrun.api.step import StepName, TrainParams
from alrun.api.training import CustomTraining, StartFrom
from alrun.core.course import model_of
from alrun.core.observed import Run
from alrun.core.plan import JobRequest

from .. import foreign
from ..engine import EngineError, Workload
from ..foreign import ImageSet, Stage

TRAIN = "train"
INFER = "infer"

SETTINGS = "settings.json"
"""Name of the file with `custom.settings`."""
_REQUESTS = {"cpu": "1", "memory": "2Gi"}


class Custom:
    """Trains, evaluates and infers."""

    name = "Custom"

    def workload(self, run: Run, request: JobRequest) -> Workload:
        """What the step's pod needs.

        Raises:
            EngineError: the step is none that a trainer of the user's does, or there is no such trainer in the spec.
        """
        step = StepName(request.input.params.step)
        custom = run.spec.training.custom
        if custom is None:
            raise EngineError("spec.training.custom", "engine Custom has no trainer", "Name its image and command.")
        params = request.input.params
        model = partial(model_of, run.status, control=request.input.control)
        env = {"ALRUN_SEED": str(request.input.seed)}
        if isinstance(params, TrainParams):
            env["ALRUN_DATA"] = foreign.DATA
            before = model(request.input.cycle - 1) if params.start_from is StartFrom.PREVIOUS_MODEL else None
            if before is not None:
                env["ALRUN_START"] = foreign.start(foreign.suffix(before))
            stage = _stage(custom, TRAIN, env)
        elif step in (StepName.EVALUATE, StepName.INFER):
            images = ImageSet.TEST if step is StepName.EVALUATE else ImageSet.POOL
            # For the metrics of the run all boxes count, as with the other engines.
            threshold = foreign.LEAST_SCORE if step is StepName.EVALUATE else run.spec.inference.score_threshold
            env |= {
                "ALRUN_IMAGES": foreign.images(images),
                "ALRUN_MODEL": foreign.model(foreign.suffix(model(request.input.cycle) or "")),
                "ALRUN_SCORE_THRESHOLD": repr(threshold),
            }
            stage = _stage(custom, INFER, env)
        else:
            raise EngineError(
                "spec.compression", f"engine {self.name} has no step {step.value}", "Remove it, or choose engine Embedded."
            )
        text = json.dumps(custom.settings, sort_keys=True, indent=2, ensure_ascii=False) + "\n"
        return Workload(requests=_REQUESTS, stages=(stage,), files={SETTINGS: text})

    def check(self, spec: RunSpec) -> list[EngineError]:
        """Nothing: what the API server accepts of a spec, this engine can do."""
        return []


def _stage(custom: CustomTraining, action: str, env: Mapping[str, str]) -> Stage:
    return Stage(
        name=action,
        command=(*custom.command, action),
        image=custom.image,
        env={
            "ALRUN_ACTION": action,
            "ALRUN_OUT": foreign.out(action),
            "ALRUN_CLASSES": foreign.CLASS_MAP,
            "ALRUN_SETTINGS": f"{foreign.SPECS}/{SETTINGS}",
            **env,
        },
    )
