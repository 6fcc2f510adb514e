"""The project's own images: built with docker or buildah, named after the content that they are built from."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
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
    """Name of the state of everything that goes into the project's own images: same files, same tag."""
    files = (ROOT / name for name in ("Dockerfile", "pyproject.toml", "uv.lock", "README.md"))
    return digest([*files, *files_below(ROOT / "operator" / "alrun"), *files_below(ROOT / "specs")])


def digest(files: Iterable[Path], *words: str) -> str:
    """Short name of the content of files of this project, and of some words."""
    content = hashlib.sha256("\0".join(words).encode())
    for path in files:
        content.update(f"{path.relative_to(ROOT)}\0".encode())
        content.update(path.read_bytes())
    return content.hexdigest()[:12]


def files_below(folder: Path) -> list[Path]:
    """Files that a build sees, in order of name."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def name(target: str, version: str) -> str:
    """Name of an image of ours. A `localhost/` name is never pulled from anywhere by accident."""
    return f"localhost/alrun-{target}:{version}"


def full_name(image: str) -> str:
    """A name with its registry, as nodes keep it: one without is Docker Hub's."""
    registry, slash, _ = image.partition("/")
    if slash and ("." in registry or ":" in registry or registry == "localhost"):
        return image
    return f"docker.io/{image}" if slash else f"docker.io/library/{image}"


def docker_works() -> bool:
    """True where a Docker daemon answers us."""
    return shutil.which("docker") is not None and succeeds("docker", "info", timeout=20)


@dataclass(frozen=True)
class Recipe:
    """What an image is built from: a folder with a Dockerfile, the target in it, and the arguments."""

    image: str
    folder: Path
    target: str | None = None
    arguments: Mapping[str, str] = field(default_factory=dict)


def build(target: str, version: str) -> Image:
    """Build one target of the project's Dockerfile."""
    return build_recipe(Recipe(name(target, version), ROOT, target, base()))


def base() -> dict[str, str]:
    """The argument for a Dockerfile that begins with `FROM ${BASE_IMAGE}`; none: its own default will do."""
    image = os.environ.get("BASE_IMAGE") or ("" if docker_works() else DEBIAN_BASE)
    return {"BASE_IMAGE": image} if image else {}


def build_recipe(recipe: Recipe) -> Image:
    """Build an image; layers that have not changed come from the builder's cache."""
    if docker_works():
        say(f"building {recipe.image} with docker")
        run("docker", "build", "--quiet", *_options(recipe), recipe.folder)
        return Image(recipe.image)
    tools.debian_packages({"buildah": "buildah", "runc": "runc"})
    oci = CACHE / "oci"
    oci.mkdir(parents=True, exist_ok=True)
    with (CACHE / "images.lock").open("w") as lock:  # the store and the layout are shared by all checkouts
        fcntl.flock(lock, fcntl.LOCK_EX)
        _buildah(recipe, oci)
    return Image(recipe.image, oci=oci)


def _options(recipe: Recipe) -> list[str]:
    target = [f"--target={recipe.target}"] if recipe.target else []
    return [f"--tag={recipe.image}", *target, *(f"--build-arg={key}={value}" for key, value in recipe.arguments.items())]


def _buildah(recipe: Recipe, oci: Path) -> None:
    if DEBIAN_BASE in recipe.arguments.values():
        _debian_base()
    if not succeeds("buildah", *_STORE, "inspect", "--type=image", recipe.image):
        say(f"building {recipe.image} with buildah; a layer with dependencies takes a few minutes the first time")
        # The machine's certificates: where a proxy re-signs traffic, the base image's own would not do.
        mount = [f"--volume={_CERTIFICATES}:{_CERTIFICATES}:ro"] if _CERTIFICATES.is_dir() else []
        ignore = recipe.folder / ".dockerignore"
        run(
            "buildah", *_STORE, "bud", "--quiet", "--isolation=chroot", "--layers", "--pull-never", *_options(recipe),
            *mount, *([f"--ignorefile={ignore}"] if ignore.exists() else []), recipe.folder,
        )  # fmt: skip
        _forget_older(recipe.image)
    run("buildah", *_STORE, "push", "--quiet", "--disable-compression", recipe.image, f"oci:{oci}:{recipe.image}")
    _prune(oci, recipe.image)


_STORE = (f"--root={CACHE}/buildah", f"--runroot={CACHE}/buildah-run", "--storage-driver=overlay")


def _others(keep: str, names: Iterable[str]) -> Iterator[str]:
    """Of the names of images those of the same repository as one that is kept."""
    repository = keep.rpartition(":")[0] + ":"
    return (name for name in names if name.startswith(repository) and name != keep)


def _forget_older(keep: str) -> None:
    """Each change of the code makes an image; only the newest is of use, and the layers below are shared."""
    listing = run("buildah", *_STORE, "images", "--format={{.Name}}:{{.Tag}}")
    for image in _others(keep, listing.split()):
        succeeds("buildah", *_STORE, "rmi", image)


def _prune(layout: Path, keep: str) -> None:
    """Take older images of the repository out of an OCI layout, and the blobs that no image uses any more."""
    index = json.loads((layout / "index.json").read_text())
    names = [entry.get("annotations", {}).get(REFERENCE, "") for entry in index["manifests"]]
    older = set(_others(keep, names))
    index["manifests"] = [entry for entry, name in zip(index["manifests"], names, strict=True) if name not in older]
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
