"""`ngc registry model download-version ORG/TEAM/NAME:VERSION --dest DIR`, the one command that is needed of it."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path

from . import failures

_TARGET = re.compile(r"(?P<path>[\w.-]+(?:/[\w.-]+){1,2}):(?P<version>[\w.-]+)")


def main(given: list[str]) -> int:
    """Run it: 0, 1 when NGC refuses or the folder is missing, 2 for wrong arguments."""
    parser = argparse.ArgumentParser("ngc")
    for number, word in enumerate(("registry", "model", "download-version")):
        parser.add_argument(f"word{number}", choices=[word], metavar=word)
    parser.add_argument("target")
    parser.add_argument("-d", "--dest", default=".")
    parser.add_argument("--org")
    parser.add_argument("--team")
    parser.add_argument("--file", action="append")
    parser.add_argument("--format_type", choices=["ascii", "csv", "json"], default="ascii")
    args = parser.parse_args(given)
    failures.slow_start("download")
    if not os.environ.get("NGC_CLI_API_KEY"):
        print("Error: Missing apikey. Please set one with `ngc config set` or NGC_CLI_API_KEY.", file=sys.stderr)
        return 1
    if failures.wanted("denied", "download"):
        print(
            "Client Error: 401 Response: Unauthorized - Request Id: 0 Url: https://authn.nvidia.com/token", file=sys.stderr
        )
        return 1
    found = _TARGET.fullmatch(args.target)
    if found is None:
        print(f"Error: Invalid target '{args.target}'. Format: org/[team/]model_name:version", file=sys.stderr)
        return 1
    if not Path(args.dest).is_dir():
        print(f"Error: The path: '{args.dest}' does not exist.", file=sys.stderr)
        return 1
    name, version = found["path"].rpartition("/")[2], found["version"]
    folder = Path(args.dest) / f"{name}_v{version}"
    folder.mkdir(exist_ok=True)
    path = folder / _file(name, version)
    try:
        failures.write(path, _weights(path.suffix, version), "download")
    except OSError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print(json.dumps({"download_end": "now", "files_downloaded": 1, "local_path": str(folder), "status": "COMPLETED"}))
    return 0


def _file(name: str, version: str) -> str:
    """resnet18 -> resnet_18.hdf5, as the backbones for TensorFlow are called; everything else is for PyTorch."""
    if name.startswith("pretrained_object_detection"):
        return re.sub(r"^([a-z]+)(?=\d+$)", r"\1_", version) + ".hdf5"
    return f"{version}.pth"


def _weights(suffix: str, version: str) -> bytes:
    """A backbone that has seen nothing yet; one for PyTorch fits every network."""
    from alrun.learn.detector.model import Model  # noqa: PLC0415 - it takes seconds, and a refusal needs none of it

    from .checkpoint import Checkpoint, Header  # noqa: PLC0415

    network, backbone = ("yolo_v4", version) if suffix == ".hdf5" else ("any", "any")
    return Checkpoint(Header(network, backbone, only_backbone=True), Model.fresh(("object",), 64, 64, 20)).to_bytes(None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
