"""Find objects with a model that alrun's embedded detector was exported as: ONNX Runtime, numpy and Pillow are enough.

    python detect.py export/files/model.onnx apple_0001.jpg

`model.json`, which is beside the model, has the names of the classes and the size of the input. Prints a line of JSON
for each object: class, score, and x_min, y_min, x_max, y_max in pixels of the image.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

LEAST = 0.05  # score that an object has at least
OVERLAP = 0.5  # of two boxes of a class that overlap by more, the better one stays


def load(path):
    """The model, and what is said about it."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session, json.loads(Path(path).with_suffix(".json").read_text(encoding="utf-8"))


def detect(session, about, image, least=LEAST):
    """(class, score, box) of each object in an image, the surest first."""
    size = about["input"]["width"], about["input"]["height"]
    pixels = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BILINEAR), np.float32)
    heatmap, distances = (one[0] for one in session.run(None, {"images": pixels.transpose(2, 0, 1)[None]}))
    grown = np.array([image.width / size[0], image.height / size[1]] * 2)
    found = []
    for number, row, column in peaks(heatmap, least):
        x, y = (column + 0.5) * about["stride"], (row + 0.5) * about["stride"]
        left, up, right, down = distances[:, row, column]
        corners = np.clip([x - left, y - up, x + right, y + down], 0, [*size, *size])
        found.append((about["classes"][number], float(heatmap[number, row, column]), corners * grown))
    return suppressed(sorted(found, key=lambda one: -one[1]))


def peaks(heatmap, least):
    """Class, row and column of each cell that no neighbour exceeds."""
    _, rows, columns = heatmap.shape
    edged = np.pad(heatmap, ((0, 0), (1, 1), (1, 1)))
    around = np.max([edged[:, y : y + rows, x : x + columns] for y in range(3) for x in range(3)], axis=0)
    return np.argwhere((heatmap == around) & (heatmap >= least))


def suppressed(found):
    """Without those that repeat a better one of their class."""
    kept = []
    for name, score, box in found:
        if all(name != other or overlap(box, better) <= OVERLAP for other, _, better in kept):
            kept.append((name, score, box))
    return kept


def overlap(one, other):
    """Intersection over union of two boxes."""
    shared = np.clip(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0, None).prod()
    return shared / ((one[2:] - one[:2]).prod() + (other[2:] - other[:2]).prod() - shared)


if __name__ == "__main__":
    with Image.open(sys.argv[2]) as picture:
        for name, score, box in detect(*load(sys.argv[1]), picture):
            print(json.dumps({"class": name, "score": round(score, 4), "box": box.round(1).tolist()}))
