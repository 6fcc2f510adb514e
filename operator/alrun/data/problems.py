"""What can be wrong with a data set, and the words for it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Kinds of problems, as they stand in `index/problems.parquet`; docs/troubleshooting lists them by this name."""

    # images
    EMPTY_FILE = "EmptyFile"
    UNREADABLE_IMAGE = "UnreadableImage"
    ANIMATED = "AnimatedImage"
    TOO_LARGE = "ImageTooLarge"
    CONVERTED_COLOURS = "ConvertedColours"
    ROTATED_BY_EXIF = "RotatedByExif"
    SAME_STEM = "SameNameBesidesExtension"
    RESERVED_NAME = "ReservedName"
    DUPLICATE = "Duplicate"
    DUPLICATE_OF_TEST = "DuplicateOfTestImage"
    GROUP_IN_TEST = "GroupInTestSet"
    NO_GROUP = "NoGroup"
    # labels
    NO_LABEL = "NoLabel"
    LABEL_WITHOUT_IMAGE = "LabelWithoutImage"
    UNREADABLE_LABEL = "UnreadableLabel"
    AMBIGUOUS_LABEL = "AmbiguousLabel"
    SIZE_MISMATCH = "LabelForAnotherSize"
    NAME_MISMATCH = "LabelNamesAnotherImage"
    # boxes
    CLIPPED = "BoxClipped"
    OUTSIDE = "BoxOutsideImage"
    DEGENERATE = "BoxWithoutArea"
    NOT_FINITE = "BoxNotFinite"
    ATTRIBUTE_LOST = "AttributeLost"
    SCORE_ASSUMED = "ScoreAssumed"
    SCORE_TOO_LOW = "ScoreTooLow"
    IGNORED_REGION = "IgnoredRegion"
    UNKNOWN_CLASS = "UnknownClass"
    UNUSED_MAPPING = "UnusedClassMapping"
    CLASS_NOT_IN_POOL = "ClassNotInPool"
    CLASS_NOT_IN_TEST = "ClassNotInTestSet"


LEFT_OUT = "image left out"
KEPT = "kept"
DROPPED = "box dropped"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing found.

    Attributes:
        image: path of the image, or of the label file where there is no image; "" for the data set as a whole.
        detail: what was found, naming the file and the line.
        action: what was done about it.
    """

    image: str
    kind: Kind
    detail: str
    action: str


@dataclass(frozen=True, slots=True)
class LabelProblem:
    """One thing found in a label file, before it is known whose image it is."""

    kind: Kind
    detail: str
    action: str = DROPPED


class DatasetError(Exception):
    """The data set cannot be used as it is.

    Attributes:
        reason: one CamelCase word, for programs.
        message: what was found, naming the field and the file.
        remedy: what to do.
    """

    def __init__(self, reason: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.remedy = remedy
