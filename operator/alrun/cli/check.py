"""`alrun check`: what `prepare` would find in a data set, before any cluster is involved.

It is `prepare`'s own survey, on a folder of this machine.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alrun.api.spec import LabelFormat

from .errors import CliError, Exit
from .formats import FORMAT_HELP, parse_format, split_names
from .options import Output, OutputOption

if TYPE_CHECKING:
    from alrun.data.problems import Problem
    from alrun.data.survey import Layout, Survey

EXAMPLES = 3
"""Problems of one kind that are printed; JSON has them all."""


def labels_below(data: Path, label_format: LabelFormat) -> str:
    """Where the labels are when nobody says: anywhere below the data set; of COCO, the one JSON file there is.

    Raises:
        CliError: there is no JSON file, or there are several.
    """
    if label_format is not LabelFormat.COCO:
        return "."
    files = sorted(path.relative_to(data).as_posix() for path in data.rglob("*.json") if path.is_file())
    if len(files) != 1:
        found = f"found {', '.join(files[:5])}" if files else "there is none"
        raise CliError(f"{data}: COCO labels are one .json file, {found}; name it with --labels")
    return files[0]


def examine(data: Path, layout: Layout) -> Survey:
    """Survey a folder.

    Raises:
        DatasetError: `prepare` would refuse it.
    """
    from alrun.data.folder import FolderStore  # noqa: PLC0415 - these load numpy, Pillow and pyarrow
    from alrun.data.scan import scan  # noqa: PLC0415
    from alrun.data.survey import find_images, survey  # noqa: PLC0415

    dataset = FolderStore(data, str(data))
    images = dataset.at(layout.images)
    with tempfile.TemporaryDirectory() as folder:
        return survey(dataset, layout, scan(images, find_images(images), None), Path(folder))


def problem_lines(problems: Sequence[Problem], examples: int = EXAMPLES) -> list[str]:
    """Problems by kind and by what is done about them, most frequent first, each with a few examples."""
    by_kind: dict[tuple[str, str], list[Problem]] = defaultdict(list)
    for problem in problems:
        by_kind[str(problem.kind), problem.action].append(problem)
    lines = []
    for (kind, action), found in sorted(by_kind.items(), key=lambda item: (-len(item[1]), item[0])):
        lines.append(f"{kind}: {len(found)} ({action})")
        lines += [f"  {one.image}: {one.detail}" if one.image else f"  {one.detail}" for one in found[:examples]]
        if len(found) > examples:
            lines.append(f"  … and {len(found) - examples} more")
    return lines


def summary_lines(survey: Survey) -> list[str]:
    """What a run would learn from and be tested on."""
    width = max(len(name) for name in survey.classes.names)
    boxes = [
        f"  {name:<{width}}  {survey.pool_boxes[name]} boxes, {survey.test_boxes[name]} in the test set"
        for name in survey.classes.names
    ]
    return [f"{len(survey.pool)} images to select from, {len(survey.test)} in the sealed test set", *boxes]


def summary_json(survey: Survey) -> dict[str, Any]:
    """The same, with every problem, for programs."""
    return {
        "usable": True,
        "images": len(survey.pool),
        "testImages": len(survey.test),
        "classes": survey.classes.names,
        "boxes": survey.pool_boxes,
        "testBoxes": survey.test_boxes,
        "problems": [asdict(problem) for problem in survey.problems],
    }


def lossy(problems: Sequence[Problem]) -> bool:
    """True where an image or a box would be left out."""
    from alrun.data.problems import DROPPED, LEFT_OUT  # noqa: PLC0415

    return any(problem.action in (DROPPED, LEFT_OUT) for problem in problems)


def check(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of the data set, as dataset.uri would name it.")],
    format_: Annotated[str, typer.Option("--format", "-f", metavar="FORMAT", help=f"Format of the labels: {FORMAT_HELP}.")],
    images: Annotated[str, typer.Option("--images", metavar="PATH", help="As dataset.images.")] = ".",
    labels: Annotated[
        str | None, typer.Option("--labels", metavar="PATH", help="As dataset.labels.path; default: anywhere in DATA.")
    ] = None,
    classes: Annotated[
        str | None, typer.Option("--classes", metavar="A,B", help="As dataset.classes; default: those in the labels.")
    ] = None,
    mapping: Annotated[
        list[str] | None, typer.Option("--map", metavar="FROM=TO", help="As dataset.classMapping; may be repeated.")
    ] = None,
    group_by: Annotated[str | None, typer.Option("--group-by", metavar="REGEX", help="As dataset.groupBy.")] = None,
    test_fraction: Annotated[
        float | None, typer.Option("--test-fraction", min=0.001, max=0.9, help="As dataset.test.fraction; default 0.2.")
    ] = None,
    test_path: Annotated[str | None, typer.Option("--test-path", metavar="PATH", help="As dataset.test.path.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="As seed: decides which images are for testing.")] = 0,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if any image or box would be left out.")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Check a data set as the first step of a run would. Exit code 1 if that would fail."""
    from alrun.data.problems import DatasetError  # noqa: PLC0415
    from alrun.data.stores import StoreError  # noqa: PLC0415
    from alrun.data.survey import Layout  # noqa: PLC0415

    if not data.is_dir():
        raise CliError(f"{data} is not a folder; name the root of the data set, on this machine")
    if test_path is not None and test_fraction is not None:
        raise CliError("--test-fraction and --test-path exclude each other; give one")
    label_format = parse_format(format_)
    layout = Layout(
        labels_path=labels or labels_below(data, label_format),
        labels_format=label_format,
        images=images,
        classes=split_names(classes),
        class_mapping=parse_mapping(mapping or []),
        group_by=group_by,
        test_fraction=test_fraction,
        test_path=test_path,
        seed=seed,
    )
    try:
        survey = examine(data, layout)
    except StoreError as error:
        raise CliError(f"{error.message}; {error.remedy}".rstrip("; ")) from error
    except DatasetError as error:
        if output is Output.JSON:
            refusal = {"usable": False, "reason": error.reason, "message": error.message, "remedy": error.remedy}
            typer.echo(json.dumps(refusal, indent=2, ensure_ascii=False))
        else:
            sys.stderr.write(f"{error.reason}: {error.message}\nTo do: {error.remedy}\n")
        raise typer.Exit(Exit.NEGATIVE) from None
    if output is Output.JSON:
        typer.echo(json.dumps(summary_json(survey), indent=2, ensure_ascii=False))
    else:
        typer.echo("\n".join([*summary_lines(survey), *problem_lines(survey.problems)]))
    raise typer.Exit(Exit.NEGATIVE if strict and lossy(survey.problems) else Exit.OK)


def parse_mapping(pairs: Sequence[str]) -> dict[str, str]:
    """Read `FROM=TO` pairs.

    Raises:
        CliError: one of them is no such pair.
    """
    mapping = {}
    for pair in pairs:
        source, equals, target = pair.partition("=")
        if not (source and equals and target):
            raise CliError(f"--map {pair!r}: write FROM=TO, the class in the labels and the class of the run")
        mapping[source] = target
    return mapping
