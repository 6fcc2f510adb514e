"""The exported detector computes what the detector computes."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import jax
import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from alrun.learn.detector import network
from alrun.learn.detector.model import Model
from alrun.learn.detector.onnx_export import metadata, to_onnx
from alrun.learn.detector.predict import Predictor
from alrun.learn.detector.prune import prune

from .test_prune import WHOLE, model

EXAMPLE = Path(__file__).parents[2] / "examples" / "exported-detector" / "detect.py"
WIDTH, HEIGHT = 64, 32  # not square, so that no axis is taken for the other

apply = jax.jit(network.apply, static_argnames="training")


def oblong():
    made = model()
    return Model(made.weights, made.statistics, ("a", "b"), WIDTH, HEIGHT)


def run(data, images):
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session, session.run(None, {"images": images.transpose(0, 3, 1, 2).astype(np.float32)})


@pytest.mark.parametrize("threshold", [0.0, 0.5], ids=["whole", "pruned"])
def test_onnx_runtime_finds_what_the_detector_finds(threshold):
    one = prune(oblong(), threshold)
    images = np.random.default_rng(3).integers(0, 256, (3, HEIGHT, WIDTH, 3), dtype=np.uint8)
    session, (heatmap, distances) = run(to_onnx(one), images)
    output, _ = apply(one.weights, one.statistics, images, training=False)
    np.testing.assert_allclose(heatmap.transpose(0, 2, 3, 1), jax.nn.sigmoid(output.heat), atol=1e-3)
    np.testing.assert_allclose(distances.transpose(0, 2, 3, 1), output.sides, rtol=1e-3, atol=1e-3)
    assert [(one.name, one.shape) for one in session.get_inputs()] == [("images", ["batch", 3, 32, 64])]
    assert [(one.name, one.shape) for one in session.get_outputs()] == [
        ("heatmap", ["batch", 2, 8, 16]),
        ("distances", ["batch", 4, 8, 16]),
    ]
    (alone, _) = run(to_onnx(one), images[:1])[1]  # any number of images
    np.testing.assert_allclose(alone, heatmap[:1], atol=1e-5)


def test_the_file_says_what_it_is():
    one = oblong()
    data = to_onnx(one)
    assert data == to_onnx(one)
    read = onnx.load_from_string(data)
    assert (read.ir_version, [(use.domain, use.version) for use in read.opset_import]) == (8, [("", 17)])
    about = {prop.key: prop.value for prop in read.metadata_props}
    assert json.loads(about["classes"]) == ["a", "b"]
    assert about["model"] == one.id
    assert json.loads(about["input"]) == metadata(one)["input"]
    assert metadata(one)["input"] | {"width": 64, "height": 32, "range": [0, 255]} == metadata(one)["input"]


def test_a_pruned_model_is_a_smaller_file():
    assert len(to_onnx(prune(WHOLE, 0.8))) < 0.7 * len(to_onnx(WHOLE))


def test_the_example_finds_what_the_detector_finds(tmp_path):
    """examples/exported-detector/detect.py, as somebody without alrun runs it."""
    one = oblong()
    image = np.random.default_rng(5).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    (tmp_path / "model.onnx").write_bytes(to_onnx(one))
    (tmp_path / "model.json").write_text(json.dumps(metadata(one)), encoding="utf-8")
    Image.fromarray(image).resize((2 * WIDTH, 3 * HEIGHT), Image.Resampling.NEAREST).save(tmp_path / "large.png")
    example = runpy.run_path(str(EXAMPLE))
    with Image.open(tmp_path / "large.png") as large:
        found = example["detect"](*example["load"](str(tmp_path / "model.onnx")), large, 0.01)
        small = np.asarray(large.resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR))
    (wanted,) = Predictor(one)([small])
    wanted = wanted.scaled(2, 3)
    assert len(wanted.scores) > 3
    assert len(found) >= len(wanted.scores)  # the detector itself looks at the hundred best peaks only
    for (name, score, box), number, expected, corners in zip(
        found, wanted.classes, wanted.scores, wanted.boxes, strict=False
    ):
        assert name == one.classes[number]
        assert score == pytest.approx(expected, abs=1e-3)
        np.testing.assert_allclose(box, corners, atol=0.05)
