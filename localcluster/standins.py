"""Images that only tests need, under the names that manifests give them.

NVIDIA's images are tens of gigabytes and want a GPU. Their stand-ins have the same commands, are as strict, and train
the embedded detector inside; a node that has them under NVIDIA's names runs a manifest as it is. Lightly's Worker wants a
licence; its stand-in asks a stand-in of Lightly's platform, which is in the same image. The worked example of a trainer of
one's own is built as its users build it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from . import images
from .cluster import BreakableCluster
from .images import Recipe
from .settings import ROOT

TAO_FOLDER = ROOT / "tests" / "standins" / "tao"
TAO: Mapping[str, str] = MappingProxyType(
    {
        "nvcr.io/nvidia/tao/tao-toolkit:4.0.0-tf1.15.5": "tao4",
        "nvcr.io/nvidia/tao/tao-toolkit:5.0.0-tf1.15.5": "tao5",
        "nvcr.io/nvidia/tao/tao-toolkit:7.1.0-pyt": "pyt7",
    }
)
"""NVIDIA's name of an image -> the dialect that its stand-in speaks."""
LIGHTLY_FOLDER = ROOT / "tests" / "standins" / "lightly"
LIGHTLY = "lightly/worker:3.0.0"
"""Lightly's name of the Worker's image."""
TRAINER_FOLDER = ROOT / "examples" / "custom-trainer"
TRAINER = "registry.example.org/template-matcher:1"
"""As manifests/examples/custom.yaml calls it."""


def provide(cluster: BreakableCluster) -> None:
    """Build whatever is missing and let the cluster's node have it under the names of the manifests."""
    worker = images.tag()
    recipes = {name: tao_recipe(dialect, worker) for name, dialect in TAO.items()} | {LIGHTLY: lightly_recipe(worker)}
    if not all(cluster.loaded(recipe.image) for recipe in recipes.values()):
        images.build("worker", worker)  # what they are built from may be gone from the builder's store
    for name, recipe in {**recipes, TRAINER: trainer_recipe()}.items():
        if not cluster.loaded(recipe.image):
            cluster.load(images.build_recipe(recipe))
        cluster.name_image(recipe.image, name)


def tao_recipe(dialect: str, worker: str) -> Recipe:
    """How the stand-in of a dialect is built on the worker image of a version."""
    base = images.name("worker", worker)
    return _recipe(f"tao-{dialect}", TAO_FOLDER, {"BASE_IMAGE": base, "DIALECT": dialect})


def lightly_recipe(worker: str) -> Recipe:
    """How the stand-in of Lightly is built on the worker image of a version, of which it uses libraries of others only."""
    return _recipe("lightly", LIGHTLY_FOLDER, {"BASE_IMAGE": images.name("worker", worker)})


def trainer_recipe() -> Recipe:
    """How the worked example is built."""
    return _recipe("trainer", TRAINER_FOLDER, images.base())


def _recipe(target: str, folder: Path, arguments: Mapping[str, str]) -> Recipe:
    version = images.digest(images.files_below(folder), *arguments.values())
    return Recipe(images.name(target, version), folder, arguments=arguments)
