"""What has happened to a data set since it was indexed."""

from __future__ import annotations

from alrun.data.images import ImageRefused

from .context import Context, StepError


def damaged(context: Context, image: str, error: ImageRefused) -> StepError:
    """An image that was decoded when the data set was indexed cannot be decoded any more."""
    return StepError(
        "ImageDamaged",
        f"{context.images.uri}/{image} was readable when the dataset was indexed, and is not now: {error.detail}",
        "put the file back as it was, or retry the run from prepare, which leaves damaged images out",
    )
