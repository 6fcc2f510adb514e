"""What a version of TAO would refuse in an experiment spec, and what it would pass over in silence."""

from __future__ import annotations

from alrun.api.training import TaoNetwork

from ..actions import Action
from .finding import Counts, Finding, Severity
from .pytorch import text as yaml_text
from .yolo import text as yolo_text

LARGEST = 1_000_000
"""Characters of a spec; real ones have some thousand."""

__all__ = ["Counts", "Finding", "Severity", "lint"]


def lint(
    text: str,
    network: TaoNetwork,
    version: str,
    action: Action | None = None,
    train_images: int | None = None,
    val_images: int | None = None,
    gpus: int = 1,
    images: int | None = None,
    classes: int | None = None,
) -> list[Finding]:
    """What is wrong with a spec; any text is taken.

    Args:
        text: of the spec.
        network: whose program is to read it.
        version: of TAO, like 5.0; it must have the network: see `dialects.dialect_for`.
        action: what the program is to do; None: whatever the spec is for.
        train_images: images that are trained on; None: not known.
        val_images: images that are validated on while training, likewise.
        gpus: GPUs that share a step.
        images: images that are evaluated or inferred, likewise.
        classes: how many classes there are, likewise.

    Returns:
        Findings by line.
    """
    if len(text) > LARGEST:
        found = [
            Finding(0, Severity.ERROR, "", f"the text has {len(text):,} characters, which is no spec", "name another file")
        ]
    else:
        text = text.encode("utf-8", "replace").decode("utf-8")  # halves of characters, which no file can have
        counts = Counts(train_images, val_images, images, classes, gpus)
        if network is TaoNetwork.YOLO_V4:
            found = yolo_text.lint(text, action, counts)
        else:
            found = yaml_text.lint(text, network, version, action, counts)
    wrong = {finding.field for finding in found if finding.field and finding.severity is Severity.ERROR}
    # What is wrong is not doubtful as well.
    found = [one for one in found if one.severity is Severity.ERROR or one.field not in wrong]
    return sorted(set(found), key=lambda finding: (finding.line, finding.severity, finding.field, finding.message))
