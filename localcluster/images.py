"""The project's own images: built with docker or buildah, named after the content that they are built from."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import archive, tools
from .settings import CACHE, DEBIAN, ROOT, VERSITYGW
from .shell import run, say, succeeds

TARGETS = ("operator", "worker")
DEBIAN_BASE = "localhost/alrun-base:" + DEBIAN
REFERENCE = "org.opencontainers.image.ref.name"
"""Annotation of an OCI layout's index with the name of the image."""
_CERTIFICATES = Path("/etc/ssl/certs")


@dataclass(frozen=True)
class Image:
    """A built image and the place to get it from."""

    name: str
    oci: Path | None = None
    """Folder in OCI layout, where it was built by buildah; else it is in Docker's store."""
    file: Path | None = None
    """Docker archive, where it was written by us."""


def tag() -> str:
    """Name of the state of everything that goes into the images: same files, same tag."""
    digest = hashlib.sha256()
    for path in _inputs():
        digest.update(f"{path.relative_to(ROOT)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _inputs() -> Iterator[Path]:
    yield from (ROOT / name for name in ("Dockerfile", "pyproject.toml", "uv.lock", "README.md"))
    package = ROOT / "operator" / "alrun"
    yield from sorted(path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def name(target: str, version: str) -> str:
    """Name of an image of ours. A `localhost/` name is never pulled from anywhere by accident."""
    return f"localhost/alrun-{target}:{version}"


def docker_works() -> bool:
    """True where a Docker daemon answers us."""
    return shutil.which("docker") is not None and succeeds("docker", "info", timeout=20)


def build(target: str, version: str) -> Image:
    """Build one target of the Dockerfile; layers that have not changed come from the builder's cache."""
    image = name(target, version)
    base = os.environ.get("BASE_IMAGE")
    if docker_works():
        say(f"building {image} with docker")
        arguments = [f"--build-arg=BASE_IMAGE={base}"] if base else []
        run("docker", "build", "--quiet", "--target", target, "--tag", image, *arguments, ROOT)
        return Image(image)
    tools.debian_packages({"buildah": "buildah", "runc": "runc"})
    base = base or DEBIAN_BASE
    oci = CACHE / "oci"
    oci.mkdir(parents=True, exist_ok=True)
    with (CACHE / "images.lock").open("w") as lock:  # the store and the layout are shared by all checkouts
        fcntl.flock(lock, fcntl.LOCK_EX)
        _buildah(target, image, base, oci)
    return Image(image, oci=oci)


def _buildah(target: str, image: str, base: str, oci: Path) -> None:
    if base == DEBIAN_BASE:
        _debian_base()
    if not succeeds("buildah", *_STORE, "inspect", "--type=image", image):
        say(f"building {image} with buildah; the layer with the dependencies takes a few minutes the first time")
        # The machine's certificates: where a proxy re-signs traffic, the base image's own would not do.
        mount = [f"--volume={_CERTIFICATES}:{_CERTIFICATES}:ro"] if _CERTIFICATES.is_dir() else []
        run(
            "buildah", *_STORE, "bud", "--quiet", "--isolation=chroot", "--layers", "--pull-never", f"--target={target}",
            f"--tag={image}", f"--build-arg=BASE_IMAGE={base}", *mount, f"--ignorefile={ROOT}/.dockerignore", ROOT,
        )  # fmt: skip
        _forget_older(target, image)
    run("buildah", *_STORE, "push", "--quiet", "--disable-compression", image, f"oci:{oci}:{image}")
    _prune(oci, target, image)


_STORE = (f"--root={CACHE}/buildah", f"--runroot={CACHE}/buildah-run", "--storage-driver=overlay")


def _forget_older(target: str, keep: str) -> None:
    """Each change of the code makes an image; only the newest is of use, and the layers below are shared."""
    listing = run("buildah", *_STORE, "images", "--format={{.Name}}:{{.Tag}}")
    for image in listing.split():
        if image.startswith(f"localhost/alrun-{target}:") and image != keep:
            succeeds("buildah", *_STORE, "rmi", image)


def _prune(layout: Path, target: str, keep: str) -> None:
    """Take older images of the target out of an OCI layout, and the blobs that no image uses any more."""
    index = json.loads((layout / "index.json").read_text())
    index["manifests"] = [
        entry
        for entry in index["manifests"]
        if (name := entry.get("annotations", {}).get(REFERENCE, "")) == keep
        or not name.startswith(f"localhost/alrun-{target}:")
    ]
    used = set()
    for entry in index["manifests"]:
        file = layout / "blobs" / entry["digest"].replace(":", "/")
        if not file.exists():
            continue  # an interrupted push
        manifest = json.loads(file.read_text())
        used |= {entry["digest"], manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])}
    (layout / "index.json").write_text(json.dumps(index))
    for blob in (layout / "blobs" / "sha256").iterdir():
        if f"sha256:{blob.name}" not in used:
            blob.unlink()


def _debian_base() -> None:
    """A base image made from Debian packages, for machines that reach no image registry."""
    if succeeds("buildah", *_STORE, "inspect", "--type=image", DEBIAN_BASE):
        return
    tar = CACHE / "base" / f"debian-{DEBIAN}.tar"
    if not tar.exists():
        tools.debian_packages({"debootstrap": "debootstrap"})
        say(f"making a base image from Debian {DEBIAN} packages: about a minute, once for this machine")
        tar.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=tar.parent) as folder:
            root = Path(folder, "root")
            run("debootstrap", "--variant=minbase", "--include=python3,python3-venv,ca-certificates", DEBIAN, root)
            for useless in ("var/cache/apt", "var/lib/apt/lists"):
                shutil.rmtree(root / useless, ignore_errors=True)
            run("tar", "-C", root, "-cf", f"{folder}/base.tar", ".")
            Path(folder, "base.tar").rename(tar)
    container = run("buildah", *_STORE, "from", "scratch").strip()
    try:
        run("buildah", *_STORE, "add", "--quiet", container, tar, "/")
        run("buildah", *_STORE, "commit", "--quiet", container, DEBIAN_BASE)
    finally:
        succeeds("buildah", *_STORE, "rm", container)


def s3_name() -> str:
    """Name of the image of the S3 service."""
    return name("s3", VERSITYGW)


def s3() -> Image:
    """The image of the S3 service: one static program."""
    image, file = s3_name(), CACHE / "images" / f"s3-{VERSITYGW}.tar"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        archive.write_image(part, image, {"versitygw": tools.versitygw()}, entrypoint=["/versitygw"])
        part.rename(file)
    return Image(image, file=file)
