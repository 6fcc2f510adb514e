"""An exported model."""

from __future__ import annotations

import importlib.util

from alrun.learn.detector.model import Model

MARK = b"TAO stand-in export: not a graph\n"


def onnx(model: Model) -> bytes:
    """ONNX where the embedded detector can write it, else bytes that say that they are none."""
    if importlib.util.find_spec("alrun.learn.detector.onnx") is None:
        return MARK + model.to_bytes()
    from alrun.learn.detector import onnx as writer  # noqa: PLC0415

    return bytes(writer.export(model))
