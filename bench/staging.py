"""Labels into a trainer's layout and predictions out of it, against labelformat doing the same, side by side.

    python bench/staging.py [--files 100000] [--boxes 8] [--repeat 1]

Three jobs, each done by the code of `stage-in` and `stage-out` and by labelformat (which TAO's users would take), in
turn, each in a process of its own, over the same files on the same disk:

* `kitti`: the labels of a run into a folder of KITTI files for yolo_v4, with the classes' names in staged files.
* `coco`: the same labels into one COCO file for the PyTorch networks.
* `predictions`: KITTI predictions of staged images into files under the images' own names and classes.

Images are not copied: that would measure the disk. Ours takes their sizes from the index, labelformat from the heads of
the files, which are links to one small file. The peak of memory of each process is shown beside that of one that only
imports the same modules, for a tenth of the files and for all of them. The boxes of both are compared at the end.
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
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
from labelformat.formats import (
    COCOObjectDetectionOutput,
    KittiObjectDetectionInput,
    KittiObjectDetectionOutput,
)
from PIL import Image

from alrun.api import paths
from alrun.api.step import DatasetInput, RunRef, StepInput, Store, TrainParams
from alrun.data import kitti
from alrun.data.boxes import Box
from alrun.data.folder import FolderStore
from alrun.data.tables import to_parquet
from alrun.engines import foreign
from alrun.engines.foreign import ImageSet
from alrun.steps.context import Context
from alrun.steps.labelled import labelled_in
from alrun.steps.staging import data
from alrun.steps.staging.predictions import read_predictions
from alrun.steps.staging.work import Work

CLASSES = ["car", "cyclist", "pedestrian"]
TOKENS = foreign.class_tokens(CLASSES)
WIDTH, HEIGHT = 640, 480
JOBS = ("kitti", "coco", "predictions")


def make(root: Path, files: int, boxes: int) -> None:
    """Labels and predictions of `files` images with 0 to 2 x `boxes` boxes each, and an index that names them."""
    draw = random.Random(1)  # noqa: S311 - no secret, but a repeatable data set
    labels, predictions = root / "work" / paths.labels(0), root / "predictions"
    for folder in (labels, predictions, root / "images", root / "staged"):
        folder.mkdir(parents=True)
    one = root / "one.png"
    Image.new("RGB", (WIDTH, HEIGHT)).save(one)
    images = [f"image{number:06d}.png" for number in range(files)]
    for number, image in enumerate(images):
        found = []
        for _ in range(draw.randint(0, 2 * boxes)):
            x, y = draw.uniform(0, WIDTH - 50), draw.uniform(0, HEIGHT - 50)
            found.append(Box(draw.choice(CLASSES), x, y, x + draw.uniform(2, 50), y + draw.uniform(2, 50)))
        text = kitti.format_boxes(found)
        (labels / image).with_suffix(".txt").write_bytes(text)
        (predictions / f"{number:08d}.txt").write_bytes(text.replace(b"\n", b" 0.5\n"))
        _link(one, root / "images" / image)
        _link(one, root / "staged" / f"{number:08d}.png")
    store = FolderStore(root / "work", "pvc://bench")
    columns = {"image": images, "width": [WIDTH] * files, "height": [HEIGHT] * files, "group": images}
    store.write(paths.POOL_INDEX, to_parquet(pa.table(columns)))
    store.write(paths.annotated(0), to_parquet(pa.table({"image": images})))
    # labelformat reads labels without scores only
    shutil.copytree(labels, root / "unscored")
    for number, image in enumerate(images):
        (root / "unscored" / image).with_suffix(".txt").rename(root / "unscored" / f"{number:08d}.txt")


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # the most links that a file may have, or a file system without them
        shutil.copyfile(source, target)


def ours(root: Path, job: str) -> None:
    """The job as stage-in or stage-out does it."""
    target = root / f"ours-{job}"
    target.mkdir()
    store = FolderStore(root / "work", "pvc://bench")
    if job == "predictions":
        names = {f"{number:08d}": f"image{number:06d}.png" for number in range(sum(1 for _ in os.scandir(root / "staged")))}
        found = read_predictions(root / "predictions", names, {token: name for name, token in TOKENS.items()})
        out = FolderStore(target, "pvc://bench")
        out.write_many((f"{Path(image).stem}.txt", kitti.format_boxes(boxes)) for image, boxes in found)
        return
    given = StepInput(
        run=RunRef(namespace="bench", name="bench", uid="bench"),
        dataset=DatasetInput(store=Store(uri="pvc://bench")),
        workspace=Store(uri="pvc://bench"),
        params=TrainParams(),
    )
    work, form = Work(target), data.LabelForm(TOKENS, 0 if job == "coco" else None)
    with tempfile.TemporaryDirectory(dir=root) as scratch:
        context = Context(given, store, store, store, None, Path(scratch), log=io.StringIO())
        cycles = labelled_in(context)
        with data.names_file(work) as names, data.labels_file(work, ImageSet.TRAIN, form) as labels:
            names.begin(ImageSet.TRAIN)
            for number, item in enumerate(data.labelled_images(context, cycles, cycles, CLASSES)):
                image, width, height = item.image
                name = foreign.staged_name(number, "png")
                labels.add(name, width, height, data.staged_boxes(item.boxes, TOKENS))
                names.add(name, image)


def labelformats(root: Path, job: str) -> None:
    """The job as labelformat's command line does it."""
    labels, images = (
        (root / "unscored", root / "staged") if job == "predictions" else (root / "work" / paths.labels(0), root / "images")
    )
    source = KittiObjectDetectionInput(labels, ",".join(CLASSES), os.path.relpath(images, labels))
    target = root / f"labelformat-{job}"
    if job == "coco":
        COCOObjectDetectionOutput(target / "train.json").save(source)
    else:
        KittiObjectDetectionOutput(target).save(source)


WAYS: dict[str, Callable[[Path, str], None]] = {"ours": ours, "labelformat": labelformats}


def measured(root: Path, way: str, job: str) -> tuple[float, int]:
    """Seconds and peak of memory, in bytes, of a job in a process of its own; `way` may be `nothing`."""
    shutil.rmtree(root / f"{way}-{job}", ignore_errors=True)
    os.sync()  # nobody pays for what another left to be written
    command = [sys.executable, __file__, "--root", str(root), "--way", way, "--job", job]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return answer["seconds"], answer["peak"]


def child(root: Path, way: str, job: str) -> None:
    """Do a job and tell what it took."""
    began = time.perf_counter()
    if way in WAYS:
        WAYS[way](root, job)
    seconds = time.perf_counter() - began
    # not getrusage: its peak is that of the parent, where the parent was larger
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    print(json.dumps({"seconds": seconds, "peak": int(peak.split()[1]) * 1024}))


def boxes_of(root: Path, way: str, job: str, files: int) -> dict[str, list[Any]]:
    """What a way has made of a job: image -> its boxes, coordinates rounded to a thousandth of a pixel."""
    if job == "coco":
        path = next((root / f"{way}-{job}").rglob("train.json"))
        value = json.loads(path.read_bytes())
        names = {one["id"]: Path(one["file_name"]).stem for one in value["images"]}
        found: dict[str, list[Any]] = {name: [] for name in names.values()}
        for one in value["annotations"]:
            x, y, width, height = one["bbox"]
            found[names[one["image_id"]]].append((one["category_id"], *_rounded(x, y, x + width, y + height)))
    else:
        found = {}
        for path in (root / f"{way}-{job}").rglob("*.txt"):
            lines = [line.split() for line in path.read_text().splitlines()]
            found[path.stem] = [(line[0], *_rounded(*map(float, line[4:8]))) for line in lines]
    number = {f"image{one:06d}": f"{one:08d}" for one in range(files)}
    return {number.get(name, name): boxes for name, boxes in found.items()}


def _rounded(*values: float) -> list[float]:
    return [round(value, 3) for value in values]


def main() -> int:
    """Measure, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000, help="images to stage the labels of")
    parser.add_argument("--boxes", type=int, default=8, help="boxes an image, on average")
    parser.add_argument("--repeat", type=int, default=1, help="times that each way is measured; the median counts")
    for hidden in ("--root", "--way", "--job"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        child(Path(options.root), options.way, options.job)
        return 0
    same = True
    print(f"{os.cpu_count()} cores\n{'files':>8}  {'job':<12}{'way':<13}{'files/s':>9}  ratio   peak, above imports alone")
    for files in (options.files // 10, options.files):
        with tempfile.TemporaryDirectory(prefix="alrun-bench-") as folder:
            root = Path(folder)
            make(root, files, options.boxes)
            bare = measured(root, "nothing", "")[1]
            for job in JOBS:
                times: dict[str, list[float]] = {way: [] for way in WAYS}
                peaks: dict[str, int] = {}
                for _ in range(options.repeat):
                    for way in WAYS:
                        seconds, peaks[way] = measured(root, way, job)
                        times[way].append(seconds)
                rates = {way: files / statistics.median(times[way]) for way in WAYS}
                for way, rate in rates.items():
                    above = (peaks[way] - bare) / 2**20
                    ratio = rate / rates["labelformat"]
                    print(f"{files:>8,}  {job:<12}{way:<13}{rate:>9,.0f}  {ratio:>5.2f}   {above:.0f} MB", flush=True)
                found = [boxes_of(root, way, job, files) for way in WAYS]
                if found[0] != found[1] or len(found[0]) != files:
                    same = False
                    print(f"          {job}: THE RESULTS DIFFER")
    print("both say the same" if same else "THE RESULTS DIFFER")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
