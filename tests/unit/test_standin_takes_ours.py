"""Every command line and experiment spec that the operator makes is taken by the stand-in, which was written without a
look at how they are made."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf
from taostandin.dialect import DIALECTS
from taostandin.pyt import config, wrapper
from taostandin.tf1 import arguments, spec

from alrun.api.training import TaoInput, TaoNetwork, TaoTraining
from alrun.engines.tao.actions import Action
from alrun.engines.tao.commands import Call, command
from alrun.engines.tao.dialects import DIALECTS as OURS
from alrun.engines.tao.dialects import Dialect, Framework
from alrun.engines.tao.spec.experiment import Experiment, Start, StartKind
from alrun.engines.tao.spec.render import render

ANCHORS = [(float(side), float(side) + 1) for side in range(10, 100, 10)]
RENDERED = [Action.TRAIN, Action.RETRAIN, Action.EVALUATE, Action.INFERENCE, Action.PRUNE, Action.EXPORT]
CASES = [
    (dialect, network, action)
    for dialect, network, action in itertools.product(OURS, TaoNetwork, RENDERED)
    if network in dialect.networks and action in dialect.actions
]


def experiment(dialect: Dialect, network: TaoNetwork, action: Action, **more: Any) -> Experiment:
    yolo = network is TaoNetwork.YOLO_V4
    training = TaoTraining(
        network=network,
        version=".".join(map(str, (*dialect.first, 0)[:2])),
        input=TaoInput(width=96, height=64) if yolo or network is TaoNetwork.RTDETR else None,
        batch_size=2,
        learning_rate=2e-4,
    )
    given: dict[str, Any] = {
        "training": training,
        "dialect": dialect,
        "action": action,
        "tokens": ("washer", "bolt", "class_002"),
        "batch_size": 2,
        "epochs": 12,
        "results_dir": "/alrun/out/stage",
        "anchors": ANCHORS if yolo else None,
        "model": None if action in {Action.TRAIN, Action.RETRAIN} else f"/alrun/models/model{dialect.checkpoint_suffix}",
        "onnx_file": "/alrun/out/stage/model.onnx" if action is Action.EXPORT else None,
        "train_images": 10,
        "val_images": 4,
    }
    return Experiment(**{**given, **more})


def ids(case: tuple[Dialect, TaoNetwork, Action]) -> str:
    return f"{case[0].name} {case[1].value} {case[2].value}"


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_our_command_lines_are_taken(case: tuple[Dialect, TaoNetwork, Action]) -> None:
    dialect, network, action = case
    more = {"quantization_aware": True} if action is Action.EXPORT else {}
    line = command(
        Call(
            dialect=dialect,
            network=network,
            action=action,
            results="/r",
            spec="/s",
            model="/m",
            images="/i",
            output="/o/m",
            gpus=2 if action is Action.TRAIN else 1,
            keyed=True,
            mixed_precision=action is Action.TRAIN,
            **more,
        )
    )
    theirs = DIALECTS[dialect.name]
    assert line[0] in theirs.networks
    if theirs.is_tf1:
        assert line[1] in arguments.ACTIONS
        taken = arguments.of_wrapper(theirs, line[0]).parse_args(line[1:])
        assert taken.key == "$(TAO_KEY)"
    else:
        taken, others = wrapper._parser(line[0], theirs).parse_known_args(line[1:])
        assert taken.experiment_spec_file == "/s"
        merged = OmegaConf.merge(OmegaConf.structured(config.schema(network.value, theirs)), OmegaConf.from_dotlist(others))
        assert merged.encryption_key == ("$(TAO_KEY)" if theirs.hydra else None)
        assert all("=" in word and not word.startswith("-") for word in others)


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_our_specs_are_taken(tmp_path: Path, case: tuple[Dialect, TaoNetwork, Action]) -> None:
    dialect, network, action = case
    start = {
        Action.TRAIN: Start(StartKind.PRETRAINED, "/alrun/models/start.hdf5"),
        Action.RETRAIN: Start(StartKind.PRUNED, f"/alrun/models/start{dialect.checkpoint_suffix}"),
    }.get(action)
    text = render(experiment(dialect, network, action, start=start, quantization_aware=action is Action.RETRAIN))
    path = tmp_path / "spec"
    path.write_text(text)
    if dialect.framework is Framework.TF1:
        given = spec.load(str(path))
        assert len(spec.anchors(given.yolov4_config)) == 3
        assert spec.backbone(given.yolov4_config)
        assert spec.classes(given) == ["bolt", "class_002", "washer"]
        assert given.training_config.enable_qat == (action is Action.RETRAIN)
    else:
        merged = OmegaConf.merge(
            OmegaConf.structured(config.schema(network.value, DIALECTS[dialect.name])),
            OmegaConf.create(yaml.safe_load(text)),
        )
        assert merged.model.backbone in config.BACKBONES[network.value]
        assert merged.dataset.num_classes == (3 if network is TaoNetwork.RTDETR else 4)
        for field, words in config.OPTIONS.items():
            value = OmegaConf.select(merged, field)
            assert value is None or value in words
