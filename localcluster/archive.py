"""Container images written as files: a static program needs neither a base image nor a builder."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from .tools import architecture


def write_image(
    to: Path, name: str, programs: Mapping[str, Path], entrypoint: Sequence[str], folders: Sequence[str] = ()
) -> None:
    """Write an image in Docker's archive format: one layer with programs (mode 0755) and empty folders."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for folder in folders:
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
            tar.addfile(entry)
        for path, program in programs.items():
            _add(tar, path, program.read_bytes(), mode=0o755)
    content = layer.getvalue()
    config = {
        "architecture": architecture(),
        "os": platform.system().lower(),
        "config": {"Entrypoint": list(entrypoint), "User": "65532:65532"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(content).hexdigest()}"]},
    }
    with tarfile.open(to, mode="w") as tar:
        _add(tar, "layer.tar", content)
        _add(tar, "config.json", json.dumps(config).encode())
        _add(
            tar,
            "manifest.json",
            json.dumps([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]).encode(),
        )


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))
