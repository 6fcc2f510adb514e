"""KITTI to Lightly predictions, in files a second, against `labelformat` doing the same, side by side.

    python bench/convert.py [--files 100000] [--boxes 8] [--repeat 1]

Three ways over the same files, on the same disk, one after the other and in turn:

* `step`: the step `convert` as it runs in a Job. Sizes of the images come from the index; boxes are checked against
  them and also written as a table.
* `folder`: `alrun convert`, which reads the sizes from the heads of the images.
* `labelformat`: its KITTI input and Lightly output, which also read the heads of the images.

labelformat reads labels of 15 columns only, so it is given the same files without the scores, and writes 0 for each;
that spares it a column. The images are links to one small file, since only their heads matter. All three results are
compared at the end: equal boxes for every image, or the program fails.
"""

from __future__ import annotations

import sys

# The folder of this file holds operator.py, which must not stand in for the standard library's module.
sys.path.insert(0, sys.path.pop(0).removesuffix("bench") + "operator")

import argparse
import io
import json
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
from labelformat.formats import KittiObjectDetectionInput, LightlyObjectDetectionOutput
from PIL import Image

from alrun.api import paths
from alrun.api.step import ConvertParams, DatasetInput, RunRef, StepInput, Store
from alrun.data import kitti
from alrun.data.boxes import Box
from alrun.data.convert import Format, convert_folder
from alrun.data.folder import FolderStore
from alrun.data.tables import to_parquet
from alrun.steps import convert
from alrun.steps.context import Context

CLASSES = ["car", "cyclist", "pedestrian"]
WIDTH, HEIGHT = 640, 480


def make(root: Path, files: int, boxes: int) -> FolderStore:
    """Predictions of `files` images with 0 to 2 x `boxes` boxes each, and an index that names them."""
    draw = random.Random(1)  # noqa: S311 - no secret, but a repeatable data set
    labels = root / "work" / paths.inference_labels(0)
    for folder in (labels, root / "unscored", root / "images"):
        folder.mkdir(parents=True)
    one = root / "one.png"
    Image.new("RGB", (WIDTH, HEIGHT)).save(one)
    images = [f"image{number:06d}.png" for number in range(files)]
    for image in images:
        predicted = []
        for _ in range(draw.randint(0, 2 * boxes)):
            x, y = draw.uniform(0, WIDTH - 50), draw.uniform(0, HEIGHT - 50)
            corners = (x, y, x + draw.uniform(2, 50), y + draw.uniform(2, 50))
            predicted.append(Box(draw.choice(CLASSES), *corners, score=draw.random()))
        (labels / image).with_suffix(".txt").write_bytes(kitti.format_boxes(predicted))
        unscored = kitti.format_boxes(replace(box, score=None) for box in predicted)
        (root / "unscored" / image).with_suffix(".txt").write_bytes(unscored)
        _link(one, root / "images" / image)
    store = FolderStore(root / "work", "pvc://bench")
    columns = {"image": images, "width": [WIDTH] * files, "height": [HEIGHT] * files}
    store.write(paths.POOL_INDEX, to_parquet(pa.table(columns)))
    store.write(paths.DATASET, json.dumps({"classes": CLASSES}).encode())
    return store


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # the most links that a file may have, or a file system without them
        shutil.copyfile(source, target)


def by_step(root: Path, store: FolderStore) -> Path:
    """The step, on the whole pool as one shard."""
    given = StepInput(
        run=RunRef(namespace="bench", name="bench", uid="bench"),
        dataset=DatasetInput(store=Store(uri="pvc://bench")),
        workspace=Store(uri="pvc://bench"),
        params=ConvertParams(images_per_shard=1_000_000),
    )
    with tempfile.TemporaryDirectory(dir=root) as scratch:
        convert.run(Context(given, store, store, store, 0, Path(scratch), log=io.StringIO()))
    return root / "work" / paths.PREDICTIONS / paths.TASK


def by_folder(root: Path) -> Path:
    """The command line's conversion."""
    labels = root / "work" / paths.inference_labels(0)
    convert_folder(labels, root / "folder", Format.KITTI, Format.LIGHTLY, CLASSES, root / "images")
    return root / "folder"


def by_labelformat(root: Path) -> Path:
    """labelformat's conversion, as its command line does it."""
    labels = root / "unscored"
    source = KittiObjectDetectionInput(labels, ",".join(CLASSES), os.path.relpath(root / "images", labels))
    LightlyObjectDetectionOutput(root / "labelformat").save(source)
    return root / "labelformat"


def boxes_of(folder: Path) -> dict[str, list[tuple[int, list[float]]]]:
    """What a folder of predictions says, coordinates rounded to a thousandth of a pixel."""
    found = {}
    for path in folder.glob("image*.json"):
        value = json.loads(path.read_bytes())
        found[value["file_name"]] = [
            (one["category_id"], [round(number, 3) for number in one["bbox"]]) for one in value["predictions"]
        ]
    return found


def main() -> int:
    """Measure, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000, help="images to convert the predictions of")
    parser.add_argument("--boxes", type=int, default=8, help="boxes an image, on average")
    parser.add_argument("--repeat", type=int, default=1, help="times that each way is measured; the median counts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="alrun-bench-") as folder:
        root = Path(folder)
        print(f"making {options.files:,} files …", flush=True)
        store = make(root, options.files, options.boxes)
        ways: dict[str, Callable[[], Path]] = {
            "step": lambda: by_step(root, store),
            "folder": lambda: by_folder(root),
            "labelformat": lambda: by_labelformat(root),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        results: dict[str, Path] = {}
        for _ in range(options.repeat):
            for name, way in ways.items():
                if name in results:
                    shutil.rmtree(results[name])
                os.sync()  # nobody pays for what another left to be written
                began = time.perf_counter()
                results[name] = way()
                seconds[name].append(time.perf_counter() - began)
                print(f"  {name}: {seconds[name][-1]:.1f} s", flush=True)
        found = {name: boxes_of(path) for name, path in results.items()}
    rates = {name: options.files / statistics.median(times) for name, times in seconds.items()}
    print(f"\n{options.files:,} files, {os.cpu_count()} cores")
    for name, rate in rates.items():
        print(f"  {name:<12} {rate:>9,.0f} files/s   {rate / rates['labelformat']:.2f} x labelformat")
    same = found["step"] == found["folder"] == found["labelformat"] and len(found["step"]) == options.files
    print("all three say the same" if same else "THE RESULTS DIFFER")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
