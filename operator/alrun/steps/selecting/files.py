"""Files of the user's, as `select` reads them: copied to local disk, their errors said as those of a step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from alrun.data.problems import DatasetError
from alrun.data.user_files import UserFile
from alrun.steps.context import Context, StepError

FIELD_TABLE = "selection.table"
FIELD_LIST = "selection.labelledElsewhere"
FIELD_EMBEDDINGS = "selection.embeddings.path"


@contextmanager
def user_file(context: Context, path: str, field: str) -> Iterator[UserFile]:
    """A file below dataset.uri, on local disk for the time of the block.

    Args:
        context: of the step.
        path: of the file.
        field: of the spec that names it, for messages.

    Raises:
        StepError: there is no such file, or what is read of it in the block is wrong.
    """
    with TemporaryDirectory(dir=context.scratch) as folder, told():
        yield UserFile.fetch(context.dataset, path, field=field, to=Path(folder) / "file")


@contextmanager
def told() -> Iterator[None]:
    """Say what is wrong with a file of the user's as a step does."""
    try:
        yield
    except DatasetError as error:
        raise StepError(error.reason, error.message, error.remedy) from error
