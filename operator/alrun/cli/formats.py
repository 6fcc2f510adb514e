"""Names of label formats, as people type them."""

from __future__ import annotations

from collections.abc import Sequence

from alrun.api.spec import LabelFormat

from .errors import CliError

FORMAT_HELP = ", ".join(name.lower() for name in LabelFormat)


def parse_name(text: str, names: Sequence[str]) -> str:
    """The name of a format, typed in any case; `darknet` is `yolo`.

    Raises:
        CliError: there is no such format.
    """
    name = "yolo" if text.lower() == "darknet" else text.lower()
    if name not in names:
        raise CliError(f"there is no format {text!r}; the formats are {', '.join(names)}")
    return name


def parse_format(text: str) -> LabelFormat:
    """The format of a data set's labels.

    Raises:
        CliError: there is no such format.
    """
    return LabelFormat(parse_name(text, [name.lower() for name in LabelFormat]).upper())


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
