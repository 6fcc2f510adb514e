"""`alrun convert`: folders of labels from one format into another."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .check import problem_lines
from .errors import CliError, Exit
from .formats import parse_name, split_names
from .options import Output, OutputOption

if TYPE_CHECKING:
    from alrun.data.convert import Conversion

FORMATS = ("kitti", "voc", "coco", "yolo", "lightly")
HELP = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}."


def conversion_lines(conversion: Conversion, target: Path) -> list[str]:
    """What was written, and what was dropped on the way."""
    total = sum(conversion.boxes.values())
    width = max((len(name) for name in conversion.classes), default=0)
    counts = [f"  {name:<{width}}  {conversion.boxes.get(name, 0)} boxes" for name in conversion.classes]
    return [f"{target}: {conversion.images} images, {total} boxes", *counts, *problem_lines(conversion.problems)]


def conversion_json(conversion: Conversion, target: Path) -> dict[str, Any]:
    """The same, with every problem, for programs."""
    return {
        "target": str(target),
        "images": conversion.images,
        "classes": conversion.classes,
        "boxes": conversion.boxes,
        "problems": [asdict(problem) for problem in conversion.problems],
    }


def convert(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Folder of the labels; of COCO also the file.")],
    target: Annotated[Path, typer.Argument(metavar="DST", help="Folder to write to.")],
    from_: Annotated[str, typer.Option("--from", metavar="FORMAT", help=f"Format of SRC: {HELP}")],
    to: Annotated[str, typer.Option("--to", metavar="FORMAT", help=f"Format to write: {HELP}")],
    classes: Annotated[
        str | None, typer.Option("--classes", metavar="A,B", help="Classes to keep, in this order; default: all.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option("--images", metavar="PATH", help="Folder of the images, where it is not beside SRC.")
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option(
            "--min-score",
            metavar="SCORE",
            min=0,
            max=1,
            help="Make labels of predictions: drop boxes with a lower score, and the scores of the others.",
        ),
    ] = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Convert folders of labels between formats. Says what it dropped, and why."""
    from alrun.data.convert import Format, convert_folder  # noqa: PLC0415 - loads numpy and Pillow
    from alrun.data.problems import DatasetError  # noqa: PLC0415
    from alrun.data.stores import StoreError  # noqa: PLC0415

    source_format, target_format = (Format[parse_name(name, FORMATS).upper()] for name in (from_, to))
    if not source.exists():
        raise CliError(f"{source} does not exist; name the folder of the labels")
    if images is not None and not images.is_dir():
        raise CliError(f"--images {images} is not a folder; name the folder of the images")
    if source.resolve() == target.resolve():
        raise CliError(f"{target} is the source as well; name another folder to write to")
    try:
        done = convert_folder(source, target, source_format, target_format, split_names(classes), images, min_score)
    except DatasetError as error:
        raise CliError(f"{error.message}; {error.remedy}", Exit.NEGATIVE) from error
    except StoreError as error:
        raise CliError(f"{error.message}; {error.remedy}".rstrip("; ")) from error
    if output is Output.JSON:
        typer.echo(json.dumps(conversion_json(done, target), indent=2, ensure_ascii=False))
    else:
        typer.echo("\n".join(conversion_lines(done, target)))
