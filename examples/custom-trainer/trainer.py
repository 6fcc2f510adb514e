"""A trainer for alrun's engine Custom: the contract in docs/custom-trainer.md, on numpy and Pillow alone.

What it learns is modest, and honestly so: it keeps small grey pictures of labelled objects and of what is beside them,
and finds what looks more like the former. A window of an image is compared with all of these templates, at several
sizes, by normalised cross-correlation (Lewis 1995: the cosine of two patches less their means).
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image

CELL = 12  # side of a template, in pixels
STRIDE = 2  # from a window to the next one, in pixels of the scaled image
SCALES = 5  # sizes of object that are looked for
OVERLAP = 0.4  # of two boxes, from which the one that fits less well is dropped
MOST = 50  # boxes in an image


def progress(done, total, **metrics):
    """What the operator shows while this runs: a line of the log."""
    line = {"done": done, "total": total, "unit": "images", "metrics": metrics}
    print("alrun-progress " + json.dumps(line), flush=True)


def grey(path):
    """An image in shades of grey."""
    with Image.open(path) as image:
        return image.convert("L")


def normalised(patches):
    """Rows less their mean, of length 1, so that light and contrast do not count; a plain row becomes zeros."""
    patches = patches.reshape(-1, CELL * CELL).astype(np.float32)
    patches = patches - patches.mean(axis=1, keepdims=True)
    length = np.linalg.norm(patches, axis=1, keepdims=True)
    return np.where(length > CELL, patches / np.maximum(length, 1), 0)


def boxes_of(file):
    """Class and corners of each box in a KITTI file."""
    for line in file.read_text().splitlines():
        name, _, _, _, *corners = line.split()[:8]
        yield name, np.array(corners, float)


def overlap(box, boxes):
    """Intersection over union of a box with others."""
    inner = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = np.clip(inner, 0, None).prod(axis=1)
    return shared / ((box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) - shared)


def cut(image, centre, side):
    """A square of an image as a template; black where it is outside."""
    x, y = centre - side / 2
    return np.asarray(
        image.transform((CELL, CELL), Image.Transform.EXTENT, (x, y, x + side, y + side), Image.Resampling.BILINEAR)
    )


def train(images, labels, most, seed):
    """Templates with their classes, and shapes of their boxes: width, height and side of the square around them."""
    random = np.random.default_rng(seed)
    patches, names, shapes = [], [], []
    files = sorted(images.iterdir())
    for number, file in enumerate(files):
        image, boxes = grey(file), list(boxes_of(labels / f"{file.stem}.txt"))
        for name, box in boxes:
            width, height = box[2:] - box[:2]
            side = max(width, height)
            for shift in ([0, 0], *random.uniform(-1.2, 1.2, (4, 2))):
                centre = (box[:2] + box[2:]) / 2 + np.array(shift) * side
                square = np.concatenate([centre - side / 2, centre + side / 2])
                beside = any(shift)
                if beside and overlap(square, np.array([other for _, other in boxes])).max() > 0.2:
                    continue  # half an object is neither the one nor the other
                patches.append(cut(image, centre, side))
                names.append("" if beside else name)
                shapes.append((width, height, side))
        progress(number + 1, len(files), templates=len(patches))
    if not patches:
        sys.exit("the labels hold no box: there is nothing to learn")
    names, shapes = np.array(names), np.array(shapes)
    limits = {name: most * (4 if not name else 1) for name in set(names)}
    chosen = np.concatenate([random.permutation(np.flatnonzero(names == name))[: limits[name]] for name in sorted(limits)])
    return {"patches": normalised(np.array(patches))[chosen], "names": names[chosen], "shapes": shapes[chosen]}


def detect(image, model):
    """Boxes in an image: corners (n, 4), classes and scores, the best first."""
    known = model["names"] != ""
    found = [(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0))]
    for side in np.quantile(model["shapes"][known, 2], (np.arange(SCALES) + 0.5) / SCALES):
        scale = CELL / side
        small = np.asarray(image.resize((max(CELL, round(image.width * scale)), max(CELL, round(image.height * scale)))))
        windows = np.lib.stride_tricks.sliding_window_view(small, (CELL, CELL))[::STRIDE, ::STRIDE]
        likeness = normalised(windows) @ model["patches"].T
        best = np.where(known, likeness, -1).argmax(axis=1)
        object_like = likeness[np.arange(len(best)), best]
        beside_like = np.where(known, 0, likeness).max(axis=1)
        score = np.clip(0.5 + object_like - beside_like, 0, 1) * np.clip(object_like, 0, 1)
        y, x = np.divmod(np.arange(len(best)), windows.shape[1])
        centre = (np.stack([x, y], axis=1) * STRIDE + CELL / 2) / scale
        half = model["shapes"][best, :2] / model["shapes"][best, 2:] * side / 2
        found.append((np.concatenate([centre - half, centre + half], axis=1), best, score))
    boxes, best, score = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = [int(at) for at in np.argsort(-score)]
    kept = []
    while order and len(kept) < MOST:
        kept.append(order.pop(0))
        apart = overlap(boxes[kept[-1]], boxes[order]) < OVERLAP
        order = [at for at, is_apart in zip(order, apart, strict=True) if is_apart]
    return boxes[kept], model["names"][best[kept]], score[kept]


def main(action):
    """Train, or infer: files and settings are where the environment says."""
    out, settings = Path(os.environ["ALRUN_OUT"]), json.loads(Path(os.environ["ALRUN_SETTINGS"]).read_text())
    if action == "train":
        data = Path(os.environ["ALRUN_DATA"], "train")
        model = train(data / "images", data / "labels", int(settings.get("templates", "40")), int(os.environ["ALRUN_SEED"]))
        (out / "model").mkdir(parents=True, exist_ok=True)
        np.savez(out / "model" / "templates.npz", **model)
    else:
        model, least = dict(np.load(os.environ["ALRUN_MODEL"])), float(os.environ["ALRUN_SCORE_THRESHOLD"])
        images = sorted(Path(os.environ["ALRUN_IMAGES"]).iterdir())
        (out / "labels").mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(images):
            lines = [
                f"{name} 0 0 0 {' '.join(f'{edge:.2f}' for edge in box)} 0 0 0 0 0 0 0 {score:.4f}\n"
                for box, name, score in zip(*detect(grey(image), model), strict=True)
                if score >= least
            ]
            (out / "labels" / f"{image.stem}.txt").write_text("".join(lines))  # a file even where there is no box
            progress(number + 1, len(images))


if __name__ == "__main__":
    main(sys.argv[1])
