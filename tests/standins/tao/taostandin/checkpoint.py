"""A model in a file: a header, and the detector's own file after it, turned unreadable where a key says so."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

from alrun.learn.detector.model import Model

from . import failures

MAGIC = b"TAO stand-in model\n"


@dataclass(frozen=True)
class Header:
    """What is known of a model besides its weights.

    Attributes:
        network: yolo_v4, rtdetr, dino, deformable_detr.
        backbone: like resnet18 or resnet_50.
        epoch: epochs done.
        optimizer: whether a training can go on from here.
        only_backbone: pretrained, and no detector yet.
        quantised: trained with quantisation in mind.
        digest: of key and content, where the file is encrypted.
    """

    network: str
    backbone: str
    epoch: int = 0
    optimizer: bool = False
    only_backbone: bool = False
    pruned: bool = False
    quantised: bool = False
    digest: str | None = None


@dataclass(frozen=True)
class Checkpoint:
    """A header and the model."""

    header: Header
    model: Model = field(repr=False)

    def to_bytes(self, key: str | None) -> bytes:
        """The file; encrypted if there is a key."""
        content = self.model.to_bytes()
        header = self.header
        if key is not None:
            header = replace(header, digest=_digest(key, content))
            content = _turned(key, content)
        return MAGIC + json.dumps(vars(header)).encode() + b"\n" + content


class WrongKey(ValueError):
    """Not the key that the file was written with."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(f"Invalid model: {path}, please check the key used to load the model")


def read(path: str | Path, key: str, *actions: str) -> Checkpoint:
    """A model from a file.

    Raises:
        OSError: no such file, or no model.
        WrongKey: the key is another.
    """
    if failures.wanted("wrong-key", *actions):
        raise WrongKey(path)
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise OSError(
            f"Unable to open file (unable to open file: name = '{path}', errno = 2, error message = "
            "'No such file or directory', flags = 0, o_flags = 0)"
        ) from error
    if not data.startswith(MAGIC):
        raise OSError("Unable to open file (file signature not found)")
    line, _, content = data[len(MAGIC) :].partition(b"\n")
    header = Header(**json.loads(line))
    if header.digest is not None:
        content = _turned(key, content)
        if not hmac.compare_digest(_digest(key, content), header.digest):
            raise WrongKey(path)
    return Checkpoint(replace(header, digest=None), Model.from_bytes(content))


def _digest(key: str, content: bytes) -> str:
    return hmac.new(key.encode(), content, hashlib.sha256).hexdigest()


def _turned(key: str, content: bytes) -> bytes:
    stream = hashlib.shake_256(key.encode()).digest(len(content))
    return (int.from_bytes(content, "big") ^ int.from_bytes(stream, "big")).to_bytes(len(content), "big")
