"""What reading a label file gives, whatever its format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .boxes import Box
from .problems import LEFT_OUT, Kind, LabelProblem


@dataclass(slots=True)
class Parsed:
    """Boxes of one image, and what was wrong with the file.

    Attributes:
        boxes: finite boxes with an area, not yet clipped to the image.
        image: name of the image as the file states it, where it does.
        size: width and height of the image as the file states them, where it does.
        problems: what was dropped, and why.
        is_readable: False when a part could not be understood: boxes may then be missing, and the file cannot be
            trusted as the truth about its image.
    """

    boxes: list[Box] = field(default_factory=list)
    image: str = ""
    size: tuple[int, int] | None = None
    problems: list[LabelProblem] = field(default_factory=list)
    is_readable: bool = True

    def add(self, box: Box, where: str) -> None:
        """Take a box, unless it is not finite or has no area."""
        corners = f"({box.x_min:g}, {box.y_min:g}, {box.x_max:g}, {box.y_max:g})"
        if not box.is_finite():
            self.problems.append(LabelProblem(Kind.NOT_FINITE, f"{where}: {box.class_name} {corners}"))
        elif box.is_degenerate():
            self.problems.append(LabelProblem(Kind.DEGENERATE, f"{where}: {box.class_name} {corners}"))
        else:
            self.boxes.append(box)

    def malformed(self, detail: str) -> None:
        """Note a part that could not be understood."""
        self.is_readable = False
        self.problems.append(LabelProblem(Kind.UNREADABLE_LABEL, detail, LEFT_OUT))


def decoded_text(data: bytes, name: str, parsed: Parsed) -> str:
    """The text of a file; nothing, and a note in `parsed`, where it is not UTF-8."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        parsed.malformed(f"{name}: not UTF-8 text (byte {error.start})")
        return ""


def number(text: str, where: str) -> float:
    """A number as any program may have written it, `nan` and `inf` included.

    Raises:
        ValueError: it is none; the message names the place.
    """
    return numbers((text,), where)[0]


def numbers(texts: Sequence[str], where: str) -> list[float]:
    """Several numbers; see `number`."""
    try:
        return list(map(float, texts))
    except ValueError as error:
        bad = str(error).partition(": ")[2]
        raise ValueError(f"{where}: {bad} is not a number") from None
