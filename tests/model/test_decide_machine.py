"""`decide` against a simulated cluster, with everything happening in any order.

What must hold whatever happens: one live Job at most; a Job's name is made once; terminal stays terminal unless
asked; the cycle goes back only when asked; labels never pass the budget; every attempt is paid for once; and
when the disturbances stop, the run comes to an end.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import Phase as Phases
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from alrun.api import meta
from alrun.api.compression import CompressWhen
from alrun.api.spec import RunSpec
from alrun.api.status import Phase, RunStatus
from alrun.api.step import StepName
from alrun.core.course import control_since, next_compression
from alrun.core.decide import decide
from tests.model.world import TERMINAL, World, spec, with_control, with_lightly, with_tao

CRASHES = st.sampled_from([None, None, "decide", "status", "end", "create"])


def _selecting(wanted: RunSpec, how: str, loop: dict[str, Any]) -> RunSpec:
    """The run with another way to select, or with a comparison arm."""
    other = {
        "by worker": lambda: with_lightly(**loop),
        "compared": lambda: with_control(**loop),
        "compared from the start": lambda: with_control(preset="Coreset", **loop),
        "share": lambda: with_control(0.1, **loop),
    }[how]().to_json()
    return RunSpec.model_validate({**wanted.to_json(), "loop": other["loop"], "selection": other["selection"]})


class Loop(RuleBasedStateMachine):
    """One run and all that can befall it."""

    @initialize(
        images=st.integers(1, 70),
        boxes=st.none() | st.integers(1, 200),
        cycles=st.integers(1, 4),
        pool=st.integers(1, 90),
        plateau=st.booleans(),
        compression=st.sampled_from([None, None, "Never", "EveryCycle", "End"]),
        selection=st.sampled_from([None, None, "by worker", "compared", "compared from the start", "share"]),
        every_cycle=st.booleans(),
        prunable=st.booleans(),
    )
    def begin(
        self,
        images: int,
        boxes: int | None,
        cycles: int,
        pool: int,
        plateau: bool,
        compression: str | None,
        selection: str | None,
        every_cycle: bool,
        prunable: bool,
    ) -> None:
        budget: dict[str, Any] = {"images": images} | ({"boxes": boxes} if boxes else {})
        stop = {"plateau": {"cycles": 1, "minGain": 0.2}} if plateau else {}
        loop: dict[str, Any] = {"labelBudget": budget, "maxCycles": cycles, "stop": stop}
        wanted = spec(**loop) if compression is None else with_tao(compression, every_cycle=every_cycle, **loop)
        if selection is not None:
            wanted = _selecting(wanted, selection, loop)
        self.world = World(spec=wanted, pool=pool, prunable=prunable)
        self.asked = False  # something was asked for that may reopen a run or take it back
        self.cycle = 0
        self.terminal: Phase | None = None
        self.tokens = 0

    # What goes well

    @rule(steps=st.integers(1, 40))
    def carry_on(self, steps: int) -> None:
        """Undisturbed for a while, so that disturbances find the run at every step and cycle."""
        for _ in range(steps):
            self.reconcile(None)
            if self.world.spec.suspend:
                return
            self.world.vanish()
            for job in self.world.live():
                self.world.pass_time(5)
                self.world.finish(job)

    # What the operator does

    @rule(crash=CRASHES)
    def reconcile(self, crash: str | None) -> None:
        world = self.world
        plan = world.reconcile(crash)
        assert decide(world.run, world.observe(), world.now) == decide(world.run, world.observe(), world.now)
        if crash is not None:
            return
        assert plan.create is None or plan.status.phase not in TERMINAL
        if not self.asked:
            assert world.status.cycle >= self.cycle
            assert self.terminal is None or world.status.phase is self.terminal
        self.cycle = world.status.cycle
        self.terminal = world.status.phase if world.status.phase in TERMINAL else None
        self.asked = False

    # What the cluster does

    @precondition(lambda self: self.world.live())
    @rule(data=st.data(), event=st.sampled_from(["run", "succeed", "fail", "run out of memory", "lose pods", "vanish"]))
    def befall(self, data: Any, event: str) -> None:
        job = data.draw(st.sampled_from(self.world.live()))
        match event:
            case "run":
                job.state = "running"
            case "succeed":
                self.world.finish(job)
            case "fail":
                self.world.fail(job)
            case "run out of memory":
                self.world.fail(job, "GpuOutOfMemory")
            case "lose pods":
                self.world.finish(job)
                job.pods_gone = True
            case "vanish":
                del self.world.jobs[job.request.name]

    @rule()
    def collect_garbage(self) -> None:
        self.world.vanish()

    @rule(seconds=st.sampled_from([1, 31, 120, 700]))
    def pass_time(self, seconds: int) -> None:
        self.world.pass_time(seconds)

    # What people do

    @rule(looked_at=st.booleans())
    def pause(self, looked_at: bool) -> None:
        """Suspend and resume, quicker than Jobs end."""
        self.world.change(suspend=True)
        if looked_at:
            self.reconcile(None)
        self.world.change(suspend=False)
        self.reconcile(None)

    @rule(on=st.sampled_from([True, False, False]))
    def suspend(self, on: bool) -> None:
        self.world.change(suspend=on)

    @rule(images=st.integers(1, 90), cycles=st.integers(1, 6))
    def extend(self, images: int, cycles: int) -> None:
        loop = self.world.spec.loop
        # A budget below what a step was already told cannot be kept; one is only ever raised here.
        budget = loop.label_budget.to_json() | {"images": max(images, loop.label_budget.images or 0)}
        self.world.change(loop={"labelBudget": budget, "maxCycles": cycles})
        self.asked = True

    @rule(data=st.data())
    def retry(self, data: Any) -> None:
        known = [entry.cycle for entry in self.world.status.cycles] or [0]
        cycle, step = data.draw(st.sampled_from(known)), data.draw(st.sampled_from(list(StepName)))
        self.tokens += 1
        self.world.annotations[meta.ANNOTATION_RETRY] = f"{cycle}/{step.value}@{self.tokens}"
        self.asked = True
        self.reconcile(None)

    @precondition(lambda self: not self.world.live())
    @rule(data=st.data())
    def old_job_revives(self, data: Any) -> None:
        """A Job that the operator once asked for turns up late."""
        step = self.world.status.step
        done = [job for job in self.world.jobs.values() if step is None or job.request.name != step.job]
        if done:
            job = data.draw(st.sampled_from(done))
            job.state, job.finished, job.deleting = "pending", None, False

    # What must hold

    @invariant()
    def one_live_job(self) -> None:
        if hasattr(self, "world"):
            assert len(self.world.live()) <= 1

    @invariant()
    def labels_stay_within_the_budget(self) -> None:
        if not hasattr(self, "world"):
            return
        labels, budget = self.world.status.labels, self.world.spec.loop.label_budget
        assert budget.images is None or labels.images <= budget.images
        assert budget.boxes is None or labels.boxes <= budget.boxes
        kept = self.world.status.cycles
        if kept and kept[0].cycle == 0:
            assert labels.images == sum(entry.new_images for entry in kept)
            assert labels.boxes == sum(entry.new_boxes for entry in kept)

    @invariant()
    def anchors_are_there_when_they_are_needed(self) -> None:
        if hasattr(self, "world") and self.world.spec.training.tao:
            for job in self.world.live():
                tao = job.request.input.tao
                assert tao is None or tao.anchors or job.request.input.params.step == "fetch"

    @invariant()
    def status_survives_the_api_server(self) -> None:
        if hasattr(self, "world"):
            assert RunStatus.model_validate(self.world.status.to_json()) == self.world.status

    @invariant()
    def no_attempt_is_paid_for_twice(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        under_way = [job for job in world.live() if world.status.step and job.request.name == world.status.step.job]
        unpaid = 0 if world.status.phase in TERMINAL else len(under_way)
        assert world.status.cost.jobs <= len(world.made) - unpaid

    def teardown(self) -> None:
        """Once nothing disturbs it any more, the run ends."""
        if not hasattr(self, "world"):
            return
        world = self.world
        world.annotations.clear()
        if world.spec.suspend:
            world.change(suspend=False)
        for job in world.jobs.values():
            job.pods_gone = False
        for _ in range(600):
            world.reconcile()
            if world.status.phase in TERMINAL and not world.live():
                break
            world.vanish()
            for job in world.live():
                world.finish(job)
            world.pass_time(700)
        assert world.status.phase in TERMINAL, world.status.message
        assert world.live() == []
        if world.status.phase is Phase.SUCCEEDED and world.status.best:
            self._compressed(world)
            self._compared(world)

    @staticmethod
    def _compared(world: World) -> None:
        """Every cycle that was finished was compared, from the first one on of which the arms differ."""
        since = control_since(world.spec)
        for entry in world.status.cycles:
            own = "control-select" in entry.results
            assert own == (since is not None and entry.cycle >= since and "convert" in entry.results)
            assert entry.control is None or entry.control.metrics

    @staticmethod
    def _compressed(world: World) -> None:
        """A run that has ended well has compressed what was to be compressed, all of it."""
        due = next_compression(world.spec, world.status)
        assert due is None, f"{due} was left undone"
        done = world.status.compression
        wanted = world.spec.compression.when
        if wanted is CompressWhen.NEVER:
            assert done is None
        elif wanted is CompressWhen.END:
            assert done is not None
            assert world.status.best is not None
            assert done.cycle == world.status.best.cycle
            assert done.artifacts


TestLoop = Loop.TestCase
TestLoop.settings = settings(
    max_examples=150,
    stateful_step_count=30,
    deadline=None,
    phases=(Phases.explicit, Phases.reuse, Phases.generate),  # shrinking a machine of this size takes minutes
    suppress_health_check=[HealthCheck.too_slow],
)
