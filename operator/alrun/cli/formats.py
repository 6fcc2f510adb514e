"""Names of label formats, as people type them."""

from __future__ import annotations

from alrun.api.spec import LabelFormat

from .errors import CliError

FORMAT_HELP = ", ".join(name.lower() for name in LabelFormat)


def parse_format(text: str) -> LabelFormat:
    """A label format, in any case; `darknet` is YOLO.

    Raises:
        CliError: there is no such format.
    """
    name = "YOLO" if text.upper() == "DARKNET" else text.upper()
    if name not in list(LabelFormat):
        raise CliError(f"there is no format {text!r}; the formats are {FORMAT_HELP}")
    return LabelFormat(name)


def split_names(text: str | None) -> list[str] | None:
    """Names parted by commas; None stays None.

    Raises:
        CliError: a name is empty.
    """
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise CliError(f"--classes {text!r} has an empty name; part the names by single commas")
    return names
