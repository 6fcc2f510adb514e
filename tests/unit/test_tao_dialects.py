"""Which release of TAO speaks which dialect, and what is in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alrun.api.training import TaoNetwork, TaoTraining
from alrun.engines.engine import EngineError
from alrun.engines.tao import dialects
from alrun.engines.tao.actions import Action
from alrun.engines.tao.dialects import (
    DIALECTS,
    PYT5_0,
    PYT5_5,
    PYT6,
    PYT7,
    TAO3,
    TAO4,
    TAO5,
    Checkpoint,
    Framework,
    dialect_for,
    image_for,
    tag_version,
    version_for,
)

NVIDIA = "nvcr.io/nvidia/tao/"
YOLO, RTDETR, DINO, DEFORMABLE = TaoNetwork.YOLO_V4, TaoNetwork.RTDETR, TaoNetwork.DINO, TaoNetwork.DEFORMABLE_DETR


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("nvcr.io/nvidia/tao/tao-toolkit:5.0.0-tf1.15.5", (5, 0, 0)),
        ("nvcr.io/nvidia/tao/tao-toolkit-tf:v3.22.05-tf1.15.5-py3", (3, 22, 5)),
        ("nvcr.io/nvidia/tao/tao-toolkit:6.25.10-pyt", (6, 25, 10)),
        ("nvcr.io/nvidia/tao/tao-toolkit:7.1.0-pyt", (7, 1, 0)),
        ("nvcr.io/nvidia/tao/tao-toolkit:5.2.0-pyt2.1.0", (5, 2, 0)),
        ("nvcr.io/nvidia/tao/tao-toolkit:4.0.0-tf1.15.5", (4, 0, 0)),
        ("nvcr.io/nvidia/tao-pb25h2:6.0.1-pytorch-stig-fips-x86", (6, 0, 1)),
        ("registry:5000/tao:7.0", (7, 0)),
        ("tao:7.0.1-pyt@sha256:0123", (7, 0, 1)),
        ("registry:5000/tao", None),
        ("tao@sha256:0123", None),
        ("tao:latest", None),
        ("tao:7", None),
        ("tao:2024.01.31.7", None),
    ],
)
def test_versions_are_read_from_tags(image, version):
    assert tag_version(image) == version


@pytest.mark.parametrize(
    ("network", "version", "image", "dialect"),
    [
        (YOLO, None, None, TAO5),
        (RTDETR, None, None, PYT7),
        (DINO, None, None, PYT7),
        (YOLO, "3.22", None, TAO3),
        (YOLO, "4.0.1", None, TAO4),
        (YOLO, "5.0", None, TAO5),
        (YOLO, "6.26.3", None, TAO5),  # whose launcher runs the image of 5.0
        (DINO, "5.0", None, PYT5_0),
        (DEFORMABLE, "5.3.0", None, PYT5_0),
        (DINO, "5.5", None, PYT5_5),
        (RTDETR, "6.0", None, PYT6),
        (DINO, "6.25.10", None, PYT6),
        (RTDETR, "7.99", None, PYT7),
        (YOLO, None, f"{NVIDIA}tao-toolkit-tf:v3.21.11-tf1.15.4-py3", TAO3),
        (YOLO, None, "mirror.example.org/tao:4.0.0-tf1.15.5", TAO4),
        (DINO, None, f"{NVIDIA}tao-toolkit:5.2.0-pyt2.1.0", PYT5_0),
        (RTDETR, None, f"{NVIDIA}tao-toolkit:6.25.10-pyt", PYT6),
        (RTDETR, "7.0", "mirror.example.org/ours:stable", PYT7),
        (YOLO, "5.3", f"{NVIDIA}tao-toolkit:5.0.0-tf1.15.5", TAO5),
    ],
)
def test_dialects(network, version, image, dialect):
    assert dialect_for(network, version, image) is dialect


@pytest.mark.parametrize(
    ("network", "version", "image", "field", "words"),
    [
        (
            YOLO,
            "7.0",
            None,
            "version",
            "TAO 7.0 has no yolo_v4 that this release knows; it is in versions from 3 and before 7.",
        ),
        (
            RTDETR,
            "5.5",
            None,
            "version",
            "TAO 5.5 has no rtdetr that this release knows; it is in versions from 6 and before 8.",
        ),
        (DINO, "8.0", None, "version", "TAO 8.0 has no dino"),
        (DINO, None, "tao:4.0.0-pyt", "image", "TAO 4.0.0 has no dino"),
        (
            RTDETR,
            None,
            "mirror.example.org/ours:stable",
            "version",
            "cannot be read from the tag of image mirror.example.org/ours",
        ),
        (RTDETR, None, "tao@sha256:0123", "version", "cannot be read"),
        (
            RTDETR,
            "6.0",
            "tao:7.1.0-pyt",
            "version",
            "version 6.0 is stated, and the tag of image tao:7.1.0-pyt says 7.1.0, which",
        ),
        (YOLO, "4.0", "tao:5.0.0-tf1.15.5", "version", "takes other commands (dialect tao5, not tao4)"),
        (YOLO, None, "tao:5.0.0-pyt", "image", "is of the kind pyt, and yolo_v4 is in those of the kind tf1"),
        (RTDETR, None, "tao:7.1.0-deploy", "image", "is of the kind deploy, and rtdetr is in those of the kind pyt"),
        (DINO, "5.3", "tao:5.3.0-data-services", "image", "is of the kind data-services"),
    ],
)
def test_what_cannot_be(network, version, image, field, words):
    with pytest.raises(EngineError) as caught:
        dialect_for(network, version, image)
    assert caught.value.field == f"spec.training.tao.{field}"
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("network", "version", "image"),
    [
        (YOLO, None, "tao-toolkit:5.0.0-tf1.15.5"),
        (YOLO, "3.21.11", "tao-toolkit-tf:v3.21.11-tf1.15.5-py3"),
        (YOLO, "3.22.02", "tao-toolkit-tf:v3.21.11-tf1.15.5-py3"),
        (YOLO, "3.22", "tao-toolkit-tf:v3.22.05-tf1.15.5-py3"),
        (YOLO, "4.0", "tao-toolkit:4.0.0-tf1.15.5"),
        (YOLO, "5.0", "tao-toolkit:5.0.0-tf1.15.5"),
        (YOLO, "6.25", "tao-toolkit:5.0.0-tf1.15.5"),
        (DINO, "5.0", "tao-toolkit:5.0.0-pyt"),
        (DINO, "5.2.0", "tao-toolkit:5.2.0-pyt2.1.0"),
        (DEFORMABLE, "5.5", "tao-toolkit:5.5.0-pyt"),
        (RTDETR, "6.0", "tao-toolkit:6.0.0-pyt"),
        (RTDETR, "6.25", "tao-toolkit:6.25.11-pyt"),
        (RTDETR, "6.25.7", "tao-toolkit:6.0.0-pyt"),
        (RTDETR, "7.0", "tao-toolkit:7.0.1-pyt"),
        (RTDETR, None, "tao-toolkit:7.1.0-pyt"),
    ],
)
def test_default_images(network, version, image):
    assert image_for(TaoTraining(network=network, version=version)) == NVIDIA + image


def test_the_users_image_is_taken_as_it_is():
    tao = TaoTraining(network=RTDETR, version="7.0", image="mirror.example.org/ours:stable")
    assert image_for(tao) == "mirror.example.org/ours:stable"
    assert version_for(tao) == "7.0"


def test_an_image_that_is_not_known():
    with pytest.raises(EngineError) as caught:
        image_for(TaoTraining(network=RTDETR, version="7.2.0"))
    assert str(caught.value) == (
        "spec.training.tao.image: NVIDIA's image for rtdetr of version 7.2.0 is not known to this release, only those of "
        "7.0.1, 7.1.0. State the image, or choose one of these versions."
    )


@pytest.mark.parametrize(
    ("tao", "version"),
    [
        (TaoTraining(network=YOLO), "5.0.0"),
        (TaoTraining(network=RTDETR), "7.1.0"),
        (TaoTraining(network=DINO, version="5.2"), "5.2"),
        (TaoTraining(network=DINO, image="tao:6.25.9-pyt"), "6.25.9"),
    ],
)
def test_versions(tao, version):
    assert version_for(tao) == version


def test_every_default_image_speaks_its_dialect():
    for framework, images in dialects._IMAGES.items():
        network = YOLO if framework is Framework.TF1 else DINO
        for version, image in images:
            stated, tagged = (dialect_for(network, version, None), dialect_for(network, None, NVIDIA + image))
            assert stated is tagged or version == "6.25.7", (version, image)


@given(st.sampled_from(list(TaoNetwork)), st.tuples(st.integers(3, 7), st.integers(0, 30), st.integers(0, 12)))
def test_no_version_has_two_dialects(network, version):
    assert sum(network in dialect.networks and dialect.first <= version < dialect.after for dialect in DIALECTS) <= 1


# Files


@pytest.mark.parametrize(
    ("dialect", "name", "expected"),
    [
        (TAO4, "yolov4_resnet18_epoch_010.tlt", Checkpoint("yolov4_resnet18_epoch_010.tlt", 10)),
        (TAO4, "yolov4_resnet18_epoch_010.hdf5", None),
        (TAO5, "yolov4_cspdarknet_tiny_epoch_080.hdf5", Checkpoint("yolov4_cspdarknet_tiny_epoch_080.hdf5", 80)),
        (TAO5, "yolov4_training_log_resnet18.csv", None),
        (PYT5_0, "dino_model_epoch=004.pth", Checkpoint("dino_model_epoch=004.pth", 5)),
        (PYT5_0, "dd_model_epoch=004.pth", Checkpoint("dd_model_epoch=004.pth", 5)),
        (PYT5_5, "model_epoch_000.pth", Checkpoint("model_epoch_000.pth", 1)),
        (PYT6, "model_epoch_009_step_00450.pth", Checkpoint("model_epoch_009_step_00450.pth", 10, 450)),
        (PYT7, "model_epoch_011.pth", Checkpoint("model_epoch_011.pth", 12)),
        (PYT7, "rtdetr_model_latest.pth", None),
        (PYT7, "model_epoch_011.pth.tmp", None),
    ],
)
def test_checkpoints_tell_their_epoch(dialect, name, expected):
    assert dialect.checkpoint(name) == expected


def test_the_newest_checkpoint():
    names = ["status.json", "yolov4_resnet18_epoch_100.hdf5", "yolov4_resnet18_epoch_099.hdf5"]
    assert TAO5.newest(names) == Checkpoint("yolov4_resnet18_epoch_100.hdf5", 100)
    assert PYT6.newest(["model_epoch_009_step_00450.pth", "model_epoch_009_step_00500.pth"]).step == 500
    assert TAO5.newest([]) is None


def test_where_things_are():
    assert TAO5.weights("/r", Action.TRAIN) == "/r/weights"
    assert PYT7.weights("/r", Action.TRAIN) == "/r/train"
    assert TAO5.labels("/r") == "/r/labels"
    assert PYT5_0.labels("/r") == "/r/inference/labels"
    assert TAO5.results("/r", Action.RETRAIN) == "/r"
    assert PYT7.results("/r", Action.EVALUATE) == "/r/evaluate"
    assert (TAO3.spec_extension, PYT7.spec_extension) == ("txt", "yaml")


def test_what_each_can_do():
    assert TAO3.actions == TAO4.actions == TAO5.actions == set(Action)
    pytorch = {Action.TRAIN, Action.EVALUATE, Action.INFERENCE, Action.EXPORT}
    assert PYT5_0.actions == PYT5_5.actions == PYT6.actions == PYT7.actions == pytorch


def test_success_is_never_said_since_5_5():
    assert {line.status for line in PYT5_0.finished.values()} == {"SUCCESS"}
    for dialect in (PYT5_5, PYT6, PYT7):
        assert {line.status for line in dialect.finished.values()} == {"RUNNING"}
        assert dialect.finished[Action.TRAIN].message == "Train finished successfully."
