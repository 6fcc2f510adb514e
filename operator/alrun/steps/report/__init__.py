"""report: the learning curve, what it cost, what was picked and why, on one page that needs nothing else.

`figures` gathers, with the help of `cycles` (each in numbers), `arm` (the comparison arm), `space` (embeddings),
`training` and `compression`; `verdict` and `judgement` judge; `chart`, `plan`, `balance` and `thumbnails` draw; `page`
lays out.
"""

from __future__ import annotations

import json

from alrun.api import paths
from alrun.api.step import StepName, StepResult

from ..context import Context
from .figures import gather
from .page import render

DATA = f"{paths.REPORT.rpartition('/')[0]}/data.json"
"""The figures of the page, for programs."""


def run(context: Context) -> StepResult:
    """Write `paths.REPORT` and `data.json` beside it."""
    figures = gather(context)
    page = render(figures).encode()
    data = json.dumps(figures.to_json(), ensure_ascii=False, indent=1).encode()
    context.workspace.write(DATA, data)
    context.workspace.write(paths.REPORT, page)
    return StepResult(
        step=StepName.REPORT,
        cycle=context.input.cycle,
        input=context.input.digest(),
        digest=context.digest_of(data, page),
        message=f"Worth labelling more? {figures.verdict.answer.capitalize()}. {figures.verdict.reason}",
        report=context.workspace.uri_of(paths.REPORT),
        control=figures.arm.result if figures.arm else None,
    )
