"""`alrun watch`: a run, live, until it has ended.

Three screens show the same run: a moving one on a terminal, one line a change in a log, one JSON object a change
for programs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import typer

from alrun.api.base import format_time
from alrun.api.status import Phase

from .access import Deleted, Followed, Lost
from .connection import connect
from .errors import Exit
from .options import ContextOption, KubeconfigOption, NamespaceOption, Output, OutputOption, RunArgument, on_terminal
from .render import best_text, change_line, cycle_text, labels_text, notes, state, step_text, tables, verdict
from .view import RunView

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

Write = Callable[[str], None]
Clock = Callable[[], datetime]


class Screen(Protocol):
    """Where a run is shown."""

    def show(self, run: RunView) -> None:
        """The run has changed."""

    def trouble(self, message: str) -> None:
        """The cluster does not answer at the moment."""

    def finish(self, run: RunView | None) -> None:
        """Nothing follows. None: the run was deleted."""


def watch_to_end(states: Iterable[Followed], screen: Screen) -> Exit:
    """Show every state until the run has ended or is deleted; the exit code says how."""
    for seen in states:
        if isinstance(seen, Lost):
            screen.trouble(seen.message)
        elif isinstance(seen, Deleted):
            break
        else:
            screen.show(seen)
            if seen.settled:
                screen.finish(seen)
                return Exit.OK if seen.status.phase is Phase.SUCCEEDED else Exit.NEGATIVE
    screen.finish(None)
    return Exit.NEGATIVE


def end_text(run: RunView | None) -> str:
    """The tables and the verdict."""
    if run is None:
        return "The run was deleted."
    return "\n\n".join([*tables(run), "\n".join(verdict(run))])


def now() -> datetime:
    """The time in UTC."""
    return datetime.now(UTC)


class LogScreen:
    """One line a change: for pipes and logs of CI."""

    def __init__(self, write: Write, clock: Clock = now):
        self._write, self._clock = write, clock
        self._last = ""

    def show(self, run: RunView) -> None:
        """Write a line, unless it would say what the last one said."""
        at = self._clock()
        said = change_line(run, at).removeprefix(format_time(at))
        if said != self._last:
            self._last = said
            self._write(format_time(at) + said)

    def trouble(self, message: str) -> None:
        """Write it once for each spell of silence."""
        if message != self._last:
            self._last = message
            self._write(f"{format_time(self._clock())}  {message}")

    def finish(self, run: RunView | None) -> None:
        """Write the tables and the verdict."""
        self._write("\n" + end_text(run))


class JsonScreen:
    """One JSON object a line: for programs. `type` is Run, Lost or Deleted."""

    def __init__(self, write: Write, clock: Clock = now):
        self._write, self._clock = write, clock

    def _line(self, kind: str, **values: Any) -> None:
        self._write(json.dumps({"type": kind, "time": format_time(self._clock()), **values}, ensure_ascii=False))

    def show(self, run: RunView) -> None:
        """Write the whole state."""
        self._line("Run", run=state(run))

    def trouble(self, message: str) -> None:
        """Write the message."""
        self._line("Lost", message=message)

    def finish(self, run: RunView | None) -> None:
        """Write the deletion; of a run that ended, the last state has said all."""
        if run is None:
            self._line("Deleted")


class LiveScreen:
    """A moving view with a bar for the step; the cycles and the verdict stay on the terminal at the end."""

    def __init__(self, console: Console):
        from rich.live import Live  # noqa: PLC0415 - only a terminal pays for it

        self._console = console
        self._live: Live = Live(console=console, transient=True, refresh_per_second=4)
        self._run: RunView | None = None

    def __enter__(self) -> LiveScreen:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, run: RunView) -> None:
        """Redraw."""
        self._run = run
        self._live.update(view(run))

    def trouble(self, message: str) -> None:
        """Redraw with the message below what was last seen."""
        self._live.update(view(self._run, message))

    def finish(self, run: RunView | None) -> None:
        """Leave the table and the verdict standing."""
        self._live.stop()
        self._console.print(end_text(run), markup=False, highlight=False, soft_wrap=True)


def view(run: RunView | None, trouble: str = "") -> RenderableType:
    """What a terminal shows of a run."""
    from rich.console import Group  # noqa: PLC0415 - only a terminal pays for it
    from rich.progress_bar import ProgressBar  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    parts: list[RenderableType] = []
    if run is not None:
        status = run.status
        style = {Phase.FAILED: "bold red", Phase.SUCCEEDED: "bold green", Phase.SUSPENDED: "bold yellow"}.get(
            status.phase, "bold cyan"
        )
        parts.append(Text.assemble((run.ref, "bold"), "  ", (str(status.phase), style), "  ", cycle_text(run)))
        parts.append(Text(f"labels {labels_text(run)}" + (f"   best {best_text(run)}" if status.best else "")))
        parts += [Text(table, style="dim") for table in tables(run)]
        parts += [Text(note, style="dim") for note in notes(run)]
        step = status.step
        if run.stalled:
            parts.append(Text(f"{status.why}: {status.message}", style="red"))
        elif step:
            parts.append(Text(step_text(step, status.cycle), style="yellow" if step.waiting else ""))
            if step.waiting and step.waiting.remedy:
                parts.append(Text(f"To do: {step.waiting.remedy}"))
            if step.progress and step.progress.total > 0:
                bar = Table.grid(padding=(0, 1))
                share = f"{100 * step.progress.done // step.progress.total}%"
                bar.add_row(ProgressBar(total=step.progress.total, completed=step.progress.done, width=60), share)
                parts.append(bar)
        elif status.message:
            parts.append(Text(status.message))
    if trouble:
        parts.append(Text(trouble, style="yellow"))
    return Group(*parts)


def watch(
    run: RunArgument,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show a run live until it ends. Exit code 0 if it succeeded, 1 if it failed or was deleted."""
    states = connect(namespace, context, kubeconfig).follow(run)
    try:
        if output is Output.JSON:
            code = watch_to_end(states, JsonScreen(typer.echo))
        elif on_terminal():
            from rich.console import Console  # noqa: PLC0415 - only a terminal pays for it

            with LiveScreen(Console()) as screen:
                code = watch_to_end(states, screen)
        else:
            code = watch_to_end(states, LogScreen(typer.echo))
    except KeyboardInterrupt:
        typer.echo("Stopped watching; the run goes on.", err=True)
        code = Exit.INTERRUPTED
    raise typer.Exit(code)
