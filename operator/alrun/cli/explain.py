"""`alrun explain`: why a run waits, or failed, since when, and what to do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import typer

from alrun.api.base import format_time, parse_time
from alrun.api.status import Failure, Phase, StepStatus

from .access import EventLine
from .connection import connect
from .durations import short_duration, since
from .errors import CliError
from .options import ContextOption, KubeconfigOption, NamespaceOption, Output, OutputOption, RunArgument
from .render import legacy, notes, step_text
from .view import RunView
from .watch import now

EVENTS_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Explanation:
    """What there is to say about a run at one moment."""

    run: str
    state: str  # NotSeen, Deleting, Stalled, Suspended, Ending, Waiting, BackingOff, Running, Pending, Succeeded, Failed
    summary: str
    since: datetime | None = None
    reason: str = ""
    found: str = ""
    remedy: str = ""
    before: Failure | None = None
    log_tail: str = ""

    def to_json(self) -> dict[str, Any]:
        """Stable keys for programs; those without a value are left out."""
        value = asdict(self) | {
            "since": format_time(self.since) if self.since else None,
            "before": self.before.to_json() if self.before else None,
        }
        value["logTail"] = value.pop("log_tail")
        return {key: entry for key, entry in value.items() if entry not in (None, "")}


def explain_run(run: RunView, at: datetime) -> Explanation:
    """Find the one thing that a person should know, most urgent first."""
    status = run.status
    settled = _of_whole_run(run)
    if settled is not None:
        return settled
    suspended = run.condition("Suspended")
    if status.phase is Phase.SUSPENDED or (suspended and suspended.status == "True"):
        return Explanation(
            run.ref,
            "Suspended",
            "is suspended",
            since=suspended.last_transition_time if suspended else None,
            found=suspended.message if suspended else status.message,
            remedy=f"`alrun resume {run.name} -n {run.namespace}` goes on with the step that was ended",
            before=status.step.last_failure if status.step else None,
        )
    if status.step:
        return _of_step(run, status.step, at)
    return Explanation(run.ref, "Pending", "is between two steps", found=status.message)


def _of_whole_run(run: RunView) -> Explanation | None:
    """What is true whatever the step does; None where the step decides."""
    status = run.status
    if run.deleting:
        return Explanation(
            run.ref, "Deleting", "is being deleted", found="its Jobs go with it, its data stays in the workspace"
        )
    stalled = run.condition("Stalled")
    if stalled and run.stalled:
        return Explanation(
            run.ref,
            "Stalled",
            "does not go on until its spec is mended",
            since=stalled.last_transition_time,
            reason=stalled.reason,
            found=stalled.message,
            remedy="change what the message names and apply the run again; `alrun validate FILE` checks it before",
        )
    if status.observed_generation is None or not run.seen:
        return Explanation(
            run.ref,
            "NotSeen",
            f"has generation {run.generation}, which the operator has not seen yet",
            since=run.created_at if status.observed_generation is None else None,
            found=f"the status speaks of generation {status.observed_generation}"
            if status.observed_generation is not None
            else "the run has no status",
            remedy="if this lasts more than a minute, see that the operator runs and watches this namespace: "
            "`kubectl get deployments -A -l app.kubernetes.io/name=alrun`, and its log",
        )
    if status.phase is Phase.SUCCEEDED:
        return Explanation(
            run.ref,
            "Succeeded",
            "ended well",
            since=status.finished_at,
            reason=str(status.stop.reason) if status.stop else "",
            found=status.stop.message if status.stop else status.message,
            remedy="nothing; to go on, raise spec.loop.maxCycles or spec.loop.labelBudget, or loosen spec.loop.stop",
        )
    if status.phase is Phase.FAILED:
        failure = status.failure or Failure(reason=status.why or "Failed", message=status.message)
        again = f"then `alrun retry {run.name} -n {run.namespace} --from {failure.step}`" if failure.step else ""
        return Explanation(
            run.ref,
            "Failed",
            f"failed{f' in {failure.step} (attempt {failure.attempt})' if failure.step else ''}",
            since=status.finished_at,
            reason=failure.reason,
            found=failure.message,
            remedy="; ".join(part for part in (failure.remedy.rstrip("."), again) if part),
            log_tail=failure.log_tail,
        )
    return None


def _of_step(run: RunView, step: StepStatus, at: datetime) -> Explanation:
    place = f"{step.cycle}/{step.name}"
    which = f"{place} (attempt {step.attempt})"
    before = step.last_failure
    tail = before.log_tail if before else ""
    if run.status.ending:
        ending = run.status.ending[0]
        return Explanation(
            run.ref,
            "Ending",
            f"waits with {which} for an earlier Job to end",
            since=ending.since,
            found=f"Job {ending.name} still has pods",
            remedy="wait; a pod that does not go within minutes shows why with "
            f"`kubectl get pods -n {run.namespace} -l job-name={ending.name}`",
            before=before,
        )
    if step.waiting:
        waiting = step.waiting
        return Explanation(
            run.ref,
            "Waiting",
            f"waits in {which}",
            since=waiting.since,
            reason=waiting.reason,
            found=waiting.message,
            remedy=waiting.remedy,
            before=before,
            log_tail=tail,
        )
    if step.not_before and step.not_before > at:
        return Explanation(
            run.ref,
            "BackingOff",
            f"tries {place} again in {short_duration(step.not_before - at)}",
            since=step.attempt_started_at,
            reason=before.reason if before else "",
            found=before.message if before else f"{step.failures} failures, {step.disruptions} disruptions so far",
            remedy=before.remedy if before else "",
            log_tail=tail,
        )
    return Explanation(
        run.ref,
        "Running",
        f"is at work on {which}",
        since=step.running_at or step.attempt_started_at or step.started_at,
        found=step_text(step),
        remedy="nothing",
        before=before,
        log_tail=tail,
    )


def explanation_text(explanation: Explanation, events: Sequence[EventLine], at: datetime) -> str:
    """The explanation for people, with the latest events below it."""
    word = " at" if explanation.state in ("Succeeded", "Failed") else ", since"
    when = f"{word} {since(explanation.since, at)}" if explanation.since else ""
    lines = [f"{explanation.run} {explanation.summary}{when}"]
    lines += [
        f"{label:<8}{value}"
        for label, value in (
            ("Reason:", explanation.reason),
            ("Found:", explanation.found),
            ("To do:", explanation.remedy),
        )
        if value
    ]
    before = explanation.before
    if before:
        lines.append(f"Before: attempt {before.attempt} ended: {before.reason}: {before.message}".rstrip(": "))
        if before.remedy:
            lines.append(f"        to do: {before.remedy}")
    if explanation.log_tail:
        lines.append("End of the failed container's log:")
        lines += [f"  | {line}" for line in explanation.log_tail.rstrip("\n").split("\n")]
    if events:
        lines.append("Events:")
        lines += [f"  {event_text(event, at)}" for event in events[-EVENTS_SHOWN:]]
    return "\n".join(lines)


def event_text(event: EventLine, at: datetime) -> str:
    """`12m  Warning  StepWaiting  message (x3)`."""
    age = short_duration(at - parse_time(event.at)) if event.at else "?"
    times = f" (x{event.count})" if event.count > 1 else ""
    return f"{age:<6}{event.type:<9}{event.reason}: {event.message}{times}"


def explain(
    run: RunArgument,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Say why a run waits or failed, since when, and what to do."""
    kube = connect(namespace, context, kubeconfig)
    found = kube.run(run)
    try:
        events, refused = kube.events(found), ""
    except CliError as error:  # events are a help: without the right to read them the rest still stands
        events, refused = [], str(error)
    at = now()
    explanation = explain_run(found, at)
    if output is Output.JSON:
        value = explanation.to_json() | {"events": [asdict(event) for event in events[-EVENTS_SHOWN:]]}
        typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
        return
    more = legacy(found) if found.settled else notes(found)
    typer.echo("\n".join([explanation_text(explanation, events, at), *more]))
    if refused:
        typer.echo(f"note: {refused}", err=True)
