"""The embedded detector: its parts by exact values, and the whole by what it learns.

Trainings here use one shape, 64x64 in batches of 4 with two classes, so that the network is compiled once.
"""

from __future__ import annotations

import io
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from alrun.learn import runtime
from alrun.learn.detector import augment, loss, network, targets, training
from alrun.learn.detector.images import scaled
from alrun.learn.detector.model import Model, ModelError
from alrun.learn.detector.predict import Detections, Predictor, peaks, suppressed
from alrun.learn.detector.training import Epoch, Examples, LossNotFiniteError, Settings
from alrun.learn.metrics import Truth

SIDE = 64
CLASSES = ("square", "disc")


# compiled as a whole: JAX would otherwise compile every operation by itself
giou, focal, whole_loss = jax.jit(loss.giou), jax.jit(loss.focal), jax.jit(loss.loss)
found_peaks = jax.jit(peaks, static_argnames=("width", "height"))


def boxes(*rows):
    return np.array(rows, np.float32).reshape(-1, 4)


def scene(seed):
    """A bright square and a dark disc somewhere on noise: pixels and truth."""
    random = np.random.default_rng(seed)
    image = Image.fromarray(random.integers(90, 130, (SIDE, SIDE, 3), dtype=np.uint8))
    painter = ImageDraw.Draw(image)
    corners = []
    for number, x_from in enumerate((0, 32)):
        side = int(random.integers(14, 24))
        x, y = x_from + int(random.integers(0, 32 - side)), int(random.integers(0, SIDE - side))
        shape = (x, y, x + side - 1, y + side - 1)
        if number == 0:
            painter.rectangle(shape, fill=(230, 220, 210))
        else:
            painter.ellipse(shape, fill=(20, 25, 30))
        corners.append((x, y, x + side, y + side))
    return np.asarray(image), Truth(boxes(*corners), np.array([0, 1]), np.zeros(2, bool))


def scenes(tmp_path, seeds):
    examples = Examples(len(seeds), SIDE, SIDE, tmp_path / "spill")
    for seed in seeds:
        examples.add(*scene(seed))
    return examples


def trained(tmp_path, seed=0, iterations=8, validation=(), model=None, rate=2e-3, images=6):
    epochs: list[Epoch] = []
    result = training.train(
        scenes(tmp_path, range(images)),
        scenes(tmp_path, validation),
        model or Model.fresh(CLASSES, SIDE, SIDE, seed),
        Settings(iterations, 4, rate, seed),
        epochs.append,
    )
    return result, epochs


# Runtime


def test_the_environment_is_completed():
    environ: dict[str, str] = {}
    runtime.configure(environ)
    assert environ == dict(runtime.ENVIRONMENT)
    runtime.configure(environ)
    assert environ == dict(runtime.ENVIRONMENT)


def test_what_the_container_sets_wins():
    environ = {"NPROC": "8", "XLA_FLAGS": "--xla_dump_to=/tmp/x --xla_gpu_deterministic_ops=false"}
    runtime.configure(environ)
    assert environ["NPROC"] == "8"
    assert environ["XLA_FLAGS"] == f"--xla_dump_to=/tmp/x --xla_gpu_deterministic_ops=false {runtime.CPU_FLAG}"


# Targets


def test_targets_of_one_box():
    drawn = targets.draw(boxes((4, 8, 20, 32)), np.array([1]), 2, 40, 48)
    assert drawn.heat.shape == (12, 10, 2)
    assert not drawn.heat[:, :, 0].any()
    row, column = 5, 3  # centre (12, 20)
    bell = drawn.heat[:, :, 1]
    assert bell[row, column] == 1.0
    assert np.count_nonzero(bell == 1.0) == 1
    # 4 x 6 cells: standard deviations 4/6 and 1
    assert bell[row, column + 1] == bell[row, column - 1] == pytest.approx(math.exp(-1 / (2 * (4 / 6) ** 2)))
    assert bell[row + 2, column] == pytest.approx(math.exp(-4 / 2))
    assert np.argwhere(drawn.mask).tolist() == [[r, c] for r in (4, 5, 6) for c in (2, 3, 4)]
    # the middle of the centre's cell is (14, 22)
    assert drawn.sides[row, column].tolist() == [10, 14, 6, 10]
    assert drawn.sides[4, 2].tolist() == [6, 10, 10, 14]


def test_a_small_box_is_learned_from_its_own_cell_only():
    drawn = targets.draw(boxes((8, 8, 23.9, 30)), np.array([0]), 1, 64, 64)
    assert np.argwhere(drawn.mask).tolist() == [[4, 3]]


def test_a_box_smaller_than_a_cell_may_miss_its_middle():
    drawn = targets.draw(boxes((4, 4, 5, 5)), np.array([0]), 1, 32, 32)
    assert drawn.sides[1, 1].tolist() == [2, 2, -1, -1]
    assert drawn.heat[1, 2, 0] == pytest.approx(math.exp(-1 / (2 * 0.5**2)))


def test_the_smaller_box_has_the_cell_and_the_larger_value_counts():
    large, small = (0, 0, 48, 48), (20, 20, 28, 28)
    for order in ((large, small), (small, large)):
        drawn = targets.draw(boxes(*order), np.array([0, 0]), 1, 64, 64)
        assert drawn.sides[6, 6].tolist() == [6, 6, 2, 2]
        assert drawn.sides[5, 6].tolist() == [26, 22, 22, 26]
        assert drawn.heat[6, 8, 0] == pytest.approx(math.exp(-4 / (2 * 2**2)))


def test_a_centre_on_the_edge_is_in_the_last_cell():
    drawn = targets.draw(boxes((63, 63, 64, 64), (64, 64, 64, 64)), np.array([0, 0]), 1, 64, 64)
    assert drawn.heat[15, 15, 0] == 1.0


def test_nothing_to_learn():
    drawn = targets.draw(boxes(), np.array([], np.int64), 3, 64, 32)
    assert drawn.heat.shape == (8, 16, 3)
    assert not drawn.heat.any()
    assert not drawn.mask.any()


# Loss


@pytest.mark.parametrize(
    ("ours", "wanted", "value"),
    [
        ((1, 2, 3, 4), (1, 2, 3, 4), 1.0),
        ((1, 1, 1, 1), (1, 1, 3, 1), 0.5),
        ((1, 1, 1, 1), (-1, 1, 3, 1), 0.0),  # side by side: no overlap, no gap
        ((1, 1, 1, 1), (-3, 1, 5, 1), -1 / 3),  # a gap of 2: hull 12, union 8
        ((1, 1, 1, 1), (2, 2, 2, 2), 0.25),
        ((1, 3, 1, 3), (3, 1, 3, 1), 4 / 20 - 16 / 36),
        ((0, 0, 0, 0), (0, 0, 0, 0), 0.0),
    ],
)
def test_giou(ours, wanted, value):
    for one, other in ((ours, wanted), (wanted, ours)):
        assert float(giou(np.array(one, np.float32), np.array(other, np.float32))) == pytest.approx(value, abs=1e-6)


def test_focal_loss():
    logits = np.zeros((1, 1, 3, 1), np.float32)
    heat = np.array([1.0, 0.5, 0.0], np.float32).reshape(1, 1, 3, 1)
    # p = 1/2 everywhere: 1/4 ln 2 for the centre, (1/2)^4 1/4 ln 2 beside it, 1/4 ln 2 where nothing is
    assert float(focal(logits, heat)) == pytest.approx((1 + 1 / 16 + 1) * 0.25 * math.log(2))
    assert float(focal(np.concatenate([logits] * 2), np.concatenate([heat] * 2))) == pytest.approx(
        (1 + 1 / 16 + 1) * 0.25 * math.log(2)
    )
    assert float(focal(logits, np.zeros_like(heat))) == pytest.approx(3 * 0.25 * math.log(2))


def test_loss_is_finite_for_any_logit():
    logits = np.array([-1e4, -80.0, 80.0, 1e4], np.float32).reshape(1, 1, 4, 1)
    for heat in (0.0, 1.0):
        assert np.isfinite(float(focal(logits, np.full_like(logits, heat))))


def test_boxes_are_learned_where_the_mask_says():
    heat = np.zeros((1, 1, 2, 1), np.float32)
    sides = np.array([[[[1, 1, 1, 1], [9, 9, 9, 9]]]], np.float32)
    wanted = np.array([[[[1, 1, 3, 1], [1, 1, 1, 1]]]], np.float32)
    output = network.Output(np.full((1, 1, 2, 1), -1e4, np.float32), sides, np.zeros((1, 192)))
    assert float(whole_loss(output, heat, wanted, np.array([[[True, False]]]))) == pytest.approx(2 * (1 - 0.5))
    assert float(whole_loss(output, heat, wanted, np.array([[[False, False]]]))) == 0.0


# Decoding


def test_peaks_become_boxes():
    heat = np.full((4, 8, 2), 0.001, np.float32)
    heat[1, 2, 1], heat[1, 3, 1], heat[2, 7, 0] = 0.9, 0.8, 0.5  # the second is no peak
    sides = np.zeros((4, 8, 4), np.float32)
    sides[1, 2], sides[2, 7] = (6, 2, 3, 4), (10, 20, 10, 3)
    found, classes, scores = map(np.asarray, found_peaks(heat, sides, width=32, height=16))
    assert scores[:2].tolist() == pytest.approx([0.9, 0.5])
    assert classes[:2].tolist() == [1, 0]
    # the middles of the cells are (10, 6) and (30, 10); boxes are cut at the image's edge
    assert found[:2].tolist() == [[4, 4, 13, 10], [20, 0, 32, 13]]


def test_the_worse_of_two_boxes_of_a_class_goes():
    rows = boxes((0, 0, 10, 10), (0, 0, 10, 8), (0, 0, 10, 8), (0, 0, 10, 4.9), (0, 0, 0.9, 10), (20, 0, 30, 10))
    classes, scores = np.array([0, 0, 1, 0, 0, 0]), np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.01], np.float32)
    # 1 repeats 0; 2 is of another class; 3 overlaps 0 by 0.49 only; 4 is thinner than a pixel; 5 is too doubtful
    assert suppressed(rows, classes, scores).tolist() == [0, 2, 3]
    assert suppressed(boxes(), np.array([], int), np.array([], np.float32)).tolist() == []


def test_a_suppressed_box_suppresses_no_other():
    rows = boxes((0, 0, 10, 10), (0, 4, 10, 12), (0, 6, 10, 14))
    # 0 and 1 overlap by exactly one half, 0 and 2 by less, 1 and 2 by more
    assert suppressed(rows, np.zeros(3, int), np.array([0.9, 0.8, 0.7], np.float32)).tolist() == [0, 1]
    rows[1] = (0, 3, 10, 12)
    assert suppressed(rows, np.zeros(3, int), np.array([0.9, 0.8, 0.7], np.float32)).tolist() == [0, 2]


def test_detections_in_pixels_of_the_original():
    found = Detections(boxes((1, 2, 3, 4)), np.array([0]), np.array([0.5], np.float32), np.zeros(192, np.float32))
    assert found.scaled(2.5, 10).boxes.tolist() == [[2.5, 20, 7.5, 40]]


# Variations


def variation(zoom=1.0, x=0.0, y=0.0, *, mirrored=False):
    return augment.Variation(zoom, x, y, mirrored, np.ones(3), np.zeros(3))


def test_no_variation_changes_nothing():
    pixels, truth = scene(1)
    assert np.array_equal(augment.varied_image(pixels, variation()), pixels)
    moved, kept = augment.varied_boxes(truth.boxes, variation(), SIDE, SIDE)
    assert np.array_equal(moved, truth.boxes)
    assert kept.all()


def test_light_and_colour():
    grey = np.full((4, 4, 3), 128, np.uint8)
    how = augment.Variation(1.0, 0.0, 0.0, False, np.array([1.0, 0.5, 3.0]), np.array([0.1, 0.0, 0.0]))  # noqa: FBT003
    assert augment.varied_image(grey, how)[0, 0].tolist() == [154, 64, 255]


def test_boxes_cut_off():
    rows = boxes((0, 0, 10, 10), (20, 0, 30, 10), (30, 30, 32, 32), (50, 50, 60, 60))
    moved, kept = augment.varied_boxes(rows, variation(x=-6), SIDE, SIDE)
    assert moved[0].tolist() == [0, 0, 4, 10]
    # exactly 40 % is left of the first; the third has 4 square pixels, which is too little
    assert kept.tolist() == [True, True, False, True]
    assert augment.varied_boxes(rows, variation(x=-6.1), SIDE, SIDE)[1].tolist() == [False, True, False, True]
    moved, _ = augment.varied_boxes(rows, variation(2.0, -64, 0, mirrored=True), SIDE, SIDE)
    assert moved[3].tolist() == [8, 64, 28, 64]


@given(st.integers(0, 2**32))
@settings(deadline=None, max_examples=60)
def test_boxes_move_as_the_image_does(seed):
    random = np.random.default_rng(seed)
    how = augment.vary(random, 96, 64)
    assert 0.8 <= how.zoom <= 1.3
    assert min(0, 96 * (1 - how.zoom)) <= how.x <= max(0, 96 * (1 - how.zoom))
    pixels = np.zeros((64, 96, 3), np.uint8)
    x, y = int(random.integers(0, 70)), int(random.integers(0, 40))
    pixels[y : y + 20, x : x + 24] = 255
    how = augment.Variation(how.zoom, how.x, how.y, how.mirrored, np.ones(3), np.zeros(3))
    bright = np.argwhere(augment.varied_image(pixels, how)[:, :, 0] > 160)  # what comes from outside is grey, 128
    (moved,), _ = augment.varied_boxes(boxes((x, y, x + 24, y + 20)), how, 96, 64)
    if len(bright):
        low, high = bright.min(axis=0)[::-1], bright.max(axis=0)[::-1] + 1
        assert np.abs(np.concatenate([low, high]) - moved).max() <= 1.0


def test_scaled_images_have_the_size_asked_for():
    assert scaled(np.zeros((10, 30, 3), np.uint8), 64, 32).shape == (32, 64, 3)
    halves = np.zeros((64, 64, 3), np.uint8)
    halves[:, 32:] = 200
    small = scaled(halves, 32, 32)
    assert (small[:, :15] == 0).all()
    assert (small[:, 17:] == 200).all()


# Schedules


def test_the_learning_rate_is_the_one_cycle_schedule():
    schedule = optax.cosine_onecycle_schedule(200, 0.01, pct_start=0.15, div_factor=25, final_div_factor=1e4)
    ours = [training.learning_rate(iteration, 200, 0.01) for iteration in range(200)]
    assert ours == pytest.approx(np.asarray(jax.jit(jax.vmap(schedule))(jnp.arange(200))).tolist(), rel=1e-3, abs=1e-7)
    assert training.learning_rate(0, 200, 0.01) == pytest.approx(0.01 / 25)
    assert training.learning_rate(30, 200, 0.01) == pytest.approx(0.01)


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 1000))
def test_every_pass_sees_every_example(batch_size, examples, seed):
    config = Settings(2 * examples, batch_size, seed=seed)
    seen = [number for iteration in range(2 * examples) for number in training.order(examples, config, iteration)]
    for start in range(0, len(seen) - examples + 1, examples):
        assert sorted(seen[start : start + examples]) == list(range(examples))


@pytest.mark.parametrize(
    ("iterations", "batch_size", "validation", "due"),
    [
        (800, 8, 0, []),
        (800, 8, 15, [40 * number for number in range(1, 21)]),
        (800, 8, 1500, [400, 800]),
        (800, 8, 10**6, [800]),
        (3, 8, 1, [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]),
    ],
)
def test_validation_stays_cheap(iterations, batch_size, validation, due):
    assert training.evaluations(Settings(iterations, batch_size), validation) == due


# Models


def test_the_network_has_the_size_it_is_said_to_have():
    weights, _ = network.initial(3, 0)
    assert sum(part.size for layer in weights.values() for part in layer.values()) == 764_899


def test_a_model_comes_back_from_its_file():
    model = Model.fresh(("Äpfel", "pear"), 96, 64, 3)
    data = model.to_bytes()
    read = Model.from_bytes(data)
    assert (read.classes, read.width, read.height, read.id) == (("Äpfel", "pear"), 96, 64, model.id)
    assert np.array_equal(read.weights["c4.1.b"]["kernel"], model.weights["c4.1.b"]["kernel"])
    assert read.to_bytes() == data


def test_the_id_tells_models_apart():
    models = [
        Model.fresh(("a", "b"), 64, 64, 0),
        Model.fresh(("a", "b"), 64, 64, 1),
        Model.fresh(("b", "a"), 64, 64, 0),
        Model.fresh(("a", "b"), 96, 64, 0),
    ]
    assert len({model.id for model in models}) == 4
    assert Model.fresh(("a", "b"), 64, 64, 0).id == models[0].id


def _with_metadata(**changes):
    with np.load(io.BytesIO(Model.fresh(CLASSES, 64, 64, 0).to_bytes())) as file:
        arrays = dict(file)
    arrays["metadata"] = np.array(json.dumps(json.loads(str(arrays["metadata"])) | changes))
    sink = io.BytesIO()
    np.savez(sink, **arrays)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no model of alrun-detector"),
        (b"<html>", "no model of alrun-detector"),
        (Model.fresh(CLASSES, 64, 64, 0).to_bytes()[:-1000], "no model of alrun-detector"),
        (_with_metadata(version=2), "alrun-detector version 2, and this release reads alrun-detector version 1"),
        (_with_metadata(classes=["square", "disk"]), "does not match its id"),
    ],
    ids=["empty", "another file", "cut off", "later version", "changed"],
)
def test_what_is_no_model_is_refused(data, message):
    with pytest.raises(ModelError, match=message):
        Model.from_bytes(data)


# Training


def test_it_learns(tmp_path):
    result, epochs = trained(tmp_path, iterations=120, validation=range(100, 108), images=16)
    assert [epoch.iteration for epoch in epochs] == list(range(4, 121, 4))
    assert [epoch.iteration for epoch in epochs if epoch.map50 is not None][:5] == [8, 12, 20, 24, 32]
    assert epochs[-1].map50 is not None
    assert epochs[-1].passes == 30.0
    assert epochs[-1].loss < 0.3 * epochs[0].loss
    assert result.epoch.map50 == max(epoch.map50 or 0 for epoch in epochs) > 0.9
    assert training.evaluate(result.model, scenes(tmp_path, range(200, 220))) > 0.9
    pixels, truth = scene(300)
    (found,) = Predictor(result.model)([pixels])
    assert sorted(found.classes[:2].tolist()) == [0, 1]
    order = np.argsort(found.classes[:2])
    assert np.abs(found.boxes[:2][order] - truth.boxes).max() < 4


def test_the_same_seed_gives_the_same_bits(tmp_path):
    first, epochs = trained(tmp_path, seed=5, validation=(100,))
    again, epochs_again = trained(tmp_path, seed=5, validation=(100,))
    other, _ = trained(tmp_path, seed=6, validation=(100,))
    assert first.model.id == again.model.id != other.model.id
    assert epochs == epochs_again
    assert first.model.to_bytes() == again.model.to_bytes()


def test_without_validation_the_last_weights_are_kept(tmp_path):
    result, epochs = trained(tmp_path)
    assert result.epoch == epochs[-1]
    assert result.epoch.iteration == 8
    assert {epoch.map50 for epoch in epochs} == {None}


def test_of_equal_weights_the_latest_are_kept(tmp_path):
    empty = Examples(1, SIDE, SIDE, tmp_path / "spill")
    empty.add(np.zeros((SIDE, SIDE, 3), np.uint8), Truth(boxes(), np.array([], int), np.array([], bool)))
    model, config = Model.fresh(CLASSES, SIDE, SIDE, 0), Settings(4, 4)
    epochs: list[Epoch] = []
    result = training.train(scenes(tmp_path, range(4)), empty, model, config, epochs.append)
    assert [epoch.map50 for epoch in epochs] == [0.0] * 4
    assert result.epoch.iteration == 4


@pytest.mark.parametrize(
    ("looks", "kept"),
    [
        ([0.9, 0.9, 0.9, 0.9, 0.1, 0.2, 0.3, 0.3], 5),  # early luck still counts in the means behind it
        ([0.0, 0.9, 0.0, 0.3, 0.4, 0.5, 0.9, 0.1], 7),
        ([0.5] * 8, 8),
        ([0.0, 0.0, 0.0, 0.0, 0.6, 0.6, 0.6, 0.5], 7),
    ],
)
def test_weights_are_judged_by_the_latest_looks_in_the_second_half(tmp_path, monkeypatch, looks, kept):
    answers = iter(looks)
    monkeypatch.setattr(training, "evaluate", lambda model, examples: next(answers))
    validation = Examples(1, SIDE, SIDE, tmp_path / "spill")
    validation.add(np.zeros((SIDE, SIDE, 3), np.uint8), Truth(boxes(), np.array([], int), np.array([], bool)))
    model, config = Model.fresh(CLASSES, SIDE, SIDE, 0), Settings(8, 4)
    result = training.train(scenes(tmp_path, range(4)), validation, model, config, lambda epoch: None)
    assert result.epoch.iteration == kept


def test_training_goes_on_from_a_model(tmp_path):
    first, _ = trained(tmp_path, iterations=4)
    second, _ = trained(tmp_path, iterations=4, model=first.model)
    fresh, _ = trained(tmp_path, iterations=4)
    assert second.model.id not in {first.model.id, fresh.model.id}
    assert fresh.model.id == first.model.id


def test_a_training_that_runs_away_is_ended(tmp_path):
    with pytest.raises(LossNotFiniteError, match=r"the loss is not finite at iteration [23], at the learning rate"):
        trained(tmp_path, iterations=20, rate=1e30)


def test_there_must_be_something_to_learn_from(tmp_path):
    with pytest.raises(ValueError, match="no image to learn from"):
        trained(tmp_path, images=0)


def test_many_examples_are_kept_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "IN_MEMORY", 3 * SIDE * SIDE * 3)
    assert type(scenes(tmp_path, range(3)).pixels) is np.ndarray
    on_disk = scenes(tmp_path, range(4))
    assert isinstance(on_disk.pixels, np.memmap)
    assert np.array_equal(on_disk.pixels[3], scene(3)[0])
    in_memory = training.batch(scenes(tmp_path, range(4)), 2, Settings(1, 4), 0)
    assert np.array_equal(training.batch(on_disk, 2, Settings(1, 4), 0)[0], in_memory[0])


def test_an_image_is_seen_the_same_in_any_company():
    images = [scene(seed)[0] for seed in range(17)]
    look = Predictor(Model.fresh(CLASSES, SIDE, SIDE, 0))
    together = list(look(images))
    assert len(together) == 17
    for number in (0, 16):
        (alone,) = look([images[number]])
        for ours, theirs in zip(alone, together[number], strict=True):
            assert np.array_equal(ours, theirs)
    assert together[0].embedding.shape == (192,)
    assert not np.array_equal(together[0].embedding, together[1].embedding)
    assert list(look([])) == []
