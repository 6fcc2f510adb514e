"""A trained model as one file: weights, classes, input size, and an id that tells it from every other model."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np

from .network import Tree, initial

FORMAT = "alrun-detector"
VERSION = 1


class ModelError(ValueError):
    """The bytes are not a model that this release can use."""


@dataclass(frozen=True)
class Model:
    """Weights with all that is needed to use them.

    Attributes:
        weights, statistics: see `network`.
        classes: names, in the order of the heat map's layers.
        width, height: input size in pixels, multiples of 32.
    """

    weights: Tree
    statistics: Tree
    classes: tuple[str, ...]
    width: int
    height: int

    @classmethod
    def fresh(cls, classes: tuple[str, ...], width: int, height: int, seed: int) -> Model:
        """A model that has learned nothing."""
        return cls(*initial(len(classes), seed), classes, width, height)

    @property
    def id(self) -> str:
        """32 hex digits of a SHA-256 over everything that the model's answers depend on."""
        total = hashlib.sha256(json.dumps(self._metadata(), sort_keys=True).encode())
        for name, array in self._arrays().items():
            total.update(f"{name} {array.dtype.str} {array.shape}".encode())
            total.update(array.tobytes())
        return total.hexdigest()[:32]

    def to_bytes(self) -> bytes:
        """The model as an `.npz` file; equal models give equal bytes.

        Arrays are float32, named `weights/<layer>/<part>` and `statistics/<layer>/<part>`; `metadata` is JSON.
        """
        metadata = {**self._metadata(), "id": self.id}
        sink = io.BytesIO()
        arrays: dict[str, Any] = {"metadata": np.array(json.dumps(metadata, sort_keys=True)), **self._arrays()}
        np.savez(sink, **arrays)
        return sink.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Model:
        """Read what `to_bytes` wrote.

        Raises:
            ModelError: no such file, of another version, or damaged.
        """
        trees: dict[str, Tree] = {"weights": {}, "statistics": {}}
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                metadata: dict[str, Any] = json.loads(str(file["metadata"]))
                for name in file.files:
                    if name != "metadata":
                        kind, layer, part = name.split("/")
                        trees[kind].setdefault(layer, {})[part] = file[name]
            if (metadata["format"], metadata["version"]) != (FORMAT, VERSION):
                raise ModelError(
                    f"the model is {metadata['format']} version {metadata['version']}, and this release reads {FORMAT} "
                    f"version {VERSION}"
                )
            size = metadata["input"]
            model = cls(**trees, classes=tuple(metadata["classes"]), width=size["width"], height=size["height"])
        except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            if isinstance(error, ModelError):
                raise
            raise ModelError(f"the file is no model of {FORMAT}: {error}") from error
        if model.id != metadata.get("id"):
            raise ModelError(f"the model's content does not match its id {metadata.get('id')}: the file is damaged")
        return model

    def _metadata(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": VERSION,
            "classes": list(self.classes),
            "input": {"width": self.width, "height": self.height},
        }

    def _arrays(self) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
        return {
            f"{kind}/{layer}/{part}": np.asarray(array, np.float32)
            for kind, tree in (("statistics", self.statistics), ("weights", self.weights))
            for layer, parts in sorted(tree.items())
            for part, array in sorted(parts.items())
        }
