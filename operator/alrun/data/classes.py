"""From the classes in the labels to the classes of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .problems import DROPPED, KEPT, DatasetError, Kind, Problem


@dataclass(frozen=True, slots=True)
class Classes:
    """The classes of a run.

    Attributes:
        names: in order; the place is the number that models and predictions use.
        by_label: class in the labels -> class of the run, for those that are used.
        problems: what is passed over.
    """

    names: list[str]
    by_label: dict[str, str]
    problems: list[Problem]


def resolve(found: Mapping[str, int], wanted: Sequence[str] | None, mapping: Mapping[str, str]) -> Classes:
    """Decide on the classes from what the labels hold.

    A wanted class without a single box is an error, since it can be neither learned nor measured, and is most often
    a slip of the pen. A class in the labels that nobody asked for is passed over, with its number of boxes.

    Args:
        found: class in the labels -> boxes.
        wanted: `dataset.classes`; None takes every class found, mapped, in order of name.
        mapping: `dataset.classMapping`.

    Raises:
        DatasetError: no boxes at all, a wanted class that is not there, or names that no format can carry.
    """
    if not sum(found.values()):
        raise DatasetError("NoBoxes", "the labels hold no box at all", "check dataset.labels.path and dataset.labels.format")
    counts: Counter[str] = Counter()
    for label, number in found.items():
        counts[mapping.get(label, label)] += number
    names = sorted(counts) if wanted is None else list(wanted)
    _check_names(names)
    listing = ", ".join(f"{label} ({number} boxes)" for label, number in sorted(found.items()))
    absent = [name for name in names if not counts[name]]
    if absent:
        raise DatasetError(
            "ClassNotFound",
            f"dataset.classes: no box of {', '.join(absent)}; the labels hold {listing}",
            "correct dataset.classes, or map a class of the labels to it in dataset.classMapping",
        )
    strays = sorted(label for label, target in mapping.items() if target not in names)
    if strays:
        raise DatasetError(
            "ClassMappingInvalid",
            f"dataset.classMapping.{strays[0]}: {mapping[strays[0]]!r} is not in dataset.classes ({', '.join(names)})",
            "map to a class of the run",
        )
    by_label = {label: mapping.get(label, label) for label in sorted(found) if mapping.get(label, label) in names}
    problems = [
        Problem(
            "", Kind.UNKNOWN_CLASS, f"{found[label]} boxes of the class {label!r}, which is not in dataset.classes", DROPPED
        )
        for label in sorted(found)
        if label not in by_label
    ]
    unused = sorted(set(mapping) - set(found))
    problems += [
        Problem("", Kind.UNUSED_MAPPING, f"dataset.classMapping.{label}: no label of this class", KEPT) for label in unused
    ]
    return Classes(names, by_label, problems)


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if name.split() != [name]:
            raise DatasetError(
                "ClassNameInvalid",
                f"the class {name!r} holds white space, which KITTI labels cannot carry",
                f"map it in dataset.classMapping, like {name!r}: {'-'.join(name.split()) or 'object'!r}",
            )
    folded: dict[str, str] = {}
    for name in names:
        other = folded.setdefault(name.lower(), name)
        if other != name:
            raise DatasetError(
                "ClassNameInvalid",
                f"the classes {other!r} and {name!r} differ only in case, which some training engines do not keep apart",
                f"map one to the other in dataset.classMapping, like {name!r}: {other!r}",
            )
