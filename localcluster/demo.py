"""`python -m localcluster.demo`: a whole active-learning run on this machine, from nothing to its report.

Runs in the project's own environment (not with the bare interpreter, as the rest of the folder does): it generates
and uploads a data set, and follows the run with the project's own command line.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError

from alrun.api.step import Store
from alrun.data import synthetic
from alrun.data.opening import open_store
from alrun.data.stores import FileStore

from . import layouts, s3, usage
from .cluster import choose, provide_images
from .install import install
from .kubectl import Kubectl
from .layouts import Layout
from .settings import ROOT, instance
from .shell import SetUpError, run, say

NAMESPACE = "alrun-demo"
BUCKET = "demo"
SECRET = "s3-access"  # the name of it, not one  # noqa: S105
GENERATED_IMAGES, GENERATED_SEED = 400, 7
_RUNS = "activelearningruns.activelearning.dev"


@dataclass(frozen=True)
class Data:
    """A data set on this machine, and the name it gets in the bucket."""

    folder: Path
    layout: Layout
    generated: bool

    @property
    def name(self) -> str:
        """Folder in the bucket: another folder here is another one there."""
        stem = re.sub(r"[^a-z0-9]+", "-", self.folder.name.lower()).strip("-") or "data"
        return f"{stem}-{hashlib.sha256(str(self.folder.resolve()).encode()).hexdigest()[:6]}"


def main() -> int:
    """Run the demo; 0 where the run succeeded."""
    parser = argparse.ArgumentParser(prog="make demo")
    parser.add_argument("--data", type=Path, help="folder with images and labels; left out: a generated set")
    parser.add_argument("--format", default="", help="format of the labels: voc, kitti, coco or yolo")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        data = _data(arguments.data, arguments.format)
        with usage.in_use(instance("demo")):
            return _demo(data)
    except (SetUpError, ValueError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted; the cluster stays, `make cluster-down` removes it", file=sys.stderr)
        return 130


def _data(folder: Path | None, label_format: str) -> Data:
    if folder is not None:
        if not label_format:
            raise SetUpError(
                "DATA is given, FORMAT is not: say what the labels are, like FORMAT=voc (voc, kitti, coco or yolo)"
            )
        return Data(folder, layouts.find(folder, label_format), generated=False)
    target = ROOT / ".local" / "demo" / f"parts-{GENERATED_IMAGES}-{GENERATED_SEED}"
    if not target.exists():
        say(f"generating a data set of {GENERATED_IMAGES} images")
        part = target.with_name(f"{target.name}.part")
        synthetic.generate(part, GENERATED_IMAGES, GENERATED_SEED)
        part.rename(target)
    return Data(target, layouts.find(target, "KITTI"), generated=True)


def _demo(data: Data) -> int:
    cluster = choose(instance("demo"))
    cluster.up()
    kubectl = Kubectl(cluster.kubeconfig)
    images = provide_images(cluster)
    say("installing the operator from manifests/")
    install(kubectl, cluster.instance, images)
    service = s3.start(kubectl, images["s3"], NAMESPACE)
    kubectl.apply(service.secret(SECRET, NAMESPACE))
    _upload(kubectl, service, data)
    manifest = _manifest(kubectl, service, data)
    name = manifest["metadata"]["name"]
    kubectl.apply(manifest)
    say(
        f"applied {name}; it goes on without this terminal: kubectl --kubeconfig {cluster.kubeconfig} -n {NAMESPACE} get alr"
    )
    ended = subprocess.run([_alrun(), "watch", name, *_access(cluster.kubeconfig)], check=False).returncode
    status = kubectl.get(_RUNS, name, f"--namespace={NAMESPACE}").get("status", {})
    if status.get("phase") not in {"Succeeded", "Failed"}:
        return ended or 1
    print(_table(status))
    if status["phase"] == "Failed":
        subprocess.run([_alrun(), "explain", name, *_access(cluster.kubeconfig)], check=False)
        return 1
    print(f"\nreport:  {_report(kubectl, service, cluster.kubeconfig, name)}")
    print(f"cluster: export KUBECONFIG={cluster.kubeconfig}    (make cluster-down removes it)")
    return 0


def _alrun() -> str:
    return str(Path(sys.executable).with_name("alrun"))


def _access(kubeconfig: Path) -> list[str]:
    return ["--namespace", NAMESPACE, "--kubeconfig", str(kubeconfig)]


def _upload(kubectl: Kubectl, service: s3.S3, data: Data) -> None:
    """Bring the data set into the bucket; files that are there with the same size stay."""
    with kubectl.forward(service.namespace, "service/s3", s3.PORT) as port:
        store = _store(service, port, data.name)
        there = {entry.path: entry.size for entry in store.list()}
        files = layouts.files(data.folder, data.layout)
        missing = [file for file in files if there.get(file.relative_to(data.folder).as_posix()) != file.stat().st_size]
        if missing:
            say(f"uploading {len(missing)} of {len(files)} files to s3://{BUCKET}/{data.name}")
            store.write_many(_contents(missing, data.folder))


def _store(service: s3.S3, port: int, path: str) -> FileStore:
    endpoint = f"http://127.0.0.1:{port}"
    keys = {"aws_access_key_id": service.access_key, "aws_secret_access_key": service.secret_key}
    client: Any = boto3.client("s3", endpoint_url=endpoint, region_name=s3.REGION, **keys)
    try:
        client.head_bucket(Bucket=BUCKET)
    except ClientError:
        client.create_bucket(Bucket=BUCKET)
    environ = {f"DEMO_{key.upper()}": value for key, value in keys.items()}
    return open_store(Store(uri=f"s3://{BUCKET}/{path}", endpoint=endpoint, region=s3.REGION, credentials="DEMO_"), environ)


def _contents(files: list[Path], root: Path) -> Iterator[tuple[str, bytes]]:
    for number, file in enumerate(files, 1):
        if number % 500 == 0:
            say(f"{number} files are on their way")
        yield file.relative_to(root).as_posix(), file.read_bytes()


def _manifest(kubectl: Kubectl, service: s3.S3, data: Data) -> dict[str, Any]:
    """manifests/examples/demo.yaml with a name not taken yet, and where things are."""
    text = kubectl("create", "--dry-run=client", "-o", "json", "-f", ROOT / "manifests" / "examples" / "demo.yaml")
    manifest: dict[str, Any] = json.loads(text)
    manifest["metadata"]["name"] = _free_name(kubectl, "demo" if data.generated else data.name.rpartition("-")[0])
    dataset = manifest["spec"]["dataset"]
    dataset["uri"] = f"s3://{BUCKET}/{data.name}"
    dataset["storage"]["endpoint"] = service.endpoint
    dataset["images"] = data.layout.images
    dataset["labels"] = {"path": data.layout.labels, "format": data.layout.format}
    if not data.generated:
        del dataset["groupBy"]
    return manifest


def _free_name(kubectl: Kubectl, stem: str) -> str:
    taken = {item["metadata"]["name"] for item in kubectl.get(_RUNS, f"--namespace={NAMESPACE}")["items"]}
    return next(name for number in range(1, len(taken) + 2) if (name := f"{stem}-{number}") not in taken)


def _table(status: dict[str, Any]) -> str:
    """What every cycle brought, and which rule ended the run."""
    lines = ["", "cycle   images   boxes    mAP50      mAP"]
    for cycle in status.get("cycles", []):
        metrics = cycle.get("metrics", {})
        figures = "".join(f"{metrics[name]:9.3f}" if name in metrics else f"{'-':>9}" for name in ("mAP50", "mAP"))
        lines.append(f"{cycle['cycle']:5d} {cycle.get('images', 0):8d} {cycle.get('boxes', 0):7d}{figures}")
    stop = status.get("stop")
    if stop:
        lines.append(f"\nstopped: {stop['reason']}: {stop.get('message', '')}")
    best = status.get("best")
    if best:
        lines.append(f"best:    cycle {best['cycle']}, {best['metric']} {best['value']:.3f}, {best['model']}")
    return "\n".join(lines)


def _report(kubectl: Kubectl, service: s3.S3, kubeconfig: Path, name: str) -> Path:
    """Bring the report here."""
    target = ROOT / ".local" / "demo" / f"{name}-report.html"
    target.parent.mkdir(parents=True, exist_ok=True)
    with kubectl.forward(service.namespace, "service/s3", s3.PORT) as port:
        endpoint = f"http://127.0.0.1:{port}"
        run(
            _alrun(),
            "report",
            name,
            "--to",
            target,
            "--endpoint",
            endpoint,
            *_access(kubeconfig),
            env={**os.environ, "NO_COLOR": "1"},
        )
    return target


if __name__ == "__main__":
    sys.exit(main())
