"""The command line of every action in every dialect, word for word."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alrun.api.compression import Prune
from alrun.api.training import TaoNetwork
from alrun.engines.engine import EngineError
from alrun.engines.tao.actions import Action
from alrun.engines.tao.commands import Call, command, score_threshold
from alrun.engines.tao.dialects import PYT5_0, PYT5_5, PYT6, PYT7, TAO3, TAO4, TAO5

YOLO, RTDETR, DINO = TaoNetwork.YOLO_V4, TaoNetwork.RTDETR, TaoNetwork.DINO


def call(dialect, network, action, **more):
    paths = {"spec": "/s.txt", "results": "/r", "model": "/m.bin", "images": "/i", "labels": "/l", "output": "/o/model.onnx"}
    return Call(dialect=dialect, network=network, action=action, **{**paths, **more})


KEYED = {"keyed": True}
LINES = [
    (TAO5, YOLO, Action.TRAIN, {"gpus": 2}, "yolo_v4 train -e /s.txt -r /r --gpus 2"),
    (TAO5, YOLO, Action.TRAIN, {"mixed_precision": True}, "yolo_v4 train -e /s.txt -r /r --gpus 1 --use_amp"),
    (TAO5, YOLO, Action.TRAIN, KEYED, "yolo_v4 train -e /s.txt -r /r --gpus 1 -k $(TAO_KEY)"),
    (TAO5, YOLO, Action.TRAIN, {"program": ("/opt/tao/yolo",)}, "/opt/tao/yolo train -e /s.txt -r /r --gpus 1"),
    (TAO5, YOLO, Action.RETRAIN, {}, "yolo_v4 train -e /s.txt -r /r --gpus 1"),
    (TAO5, YOLO, Action.EVALUATE, {}, "yolo_v4 evaluate -e /s.txt -m /m.bin -r /r"),
    (TAO5, YOLO, Action.INFERENCE, {}, "yolo_v4 inference -i /i -e /s.txt -m /m.bin -r /r -t 0.001"),
    (TAO5, YOLO, Action.INFERENCE, {"score_threshold": 0.05}, "yolo_v4 inference -i /i -e /s.txt -m /m.bin -r /r -t 0.05"),
    (
        TAO5,
        YOLO,
        Action.PRUNE,
        {"pruning": Prune(equalization="intersection", granularity=16, min_filters=4), "pruning_threshold": 0.3},
        "yolo_v4 prune -m /m.bin -e /s.txt -o /o/model.onnx -eq intersection -pth 0.3 -pg 16 -nf 4 --results_dir /r",
    ),
    (
        TAO5,
        YOLO,
        Action.EXPORT,
        {},
        "yolo_v4 export -m /m.bin -e /s.txt -o /o/model.onnx --results_dir /r --target_opset 12 --gen_ds_config",
    ),
    (
        TAO5,
        YOLO,
        Action.EXPORT,
        {"quantization_aware": True},
        "yolo_v4 export -m /m.bin -e /s.txt -o /o/model.onnx --results_dir /r --target_opset 12 --gen_ds_config "
        "--cal_json_file /o/cal.json",
    ),
    (TAO5, YOLO, Action.KMEANS, {"size": (1248, 384)}, "yolo_v4 kmeans -l /l -i /i -n 9 -x 1248 -y 384 --results_dir /r"),
    (TAO4, YOLO, Action.TRAIN, KEYED, "yolo_v4 train -e /s.txt -r /r --gpus 1 -k $(TAO_KEY)"),
    (TAO4, YOLO, Action.EVALUATE, KEYED, "yolo_v4 evaluate -e /s.txt -m /m.bin -k $(TAO_KEY)"),
    (
        TAO3,
        YOLO,
        Action.INFERENCE,
        KEYED,
        "yolo_v4 inference -i /i -e /s.txt -m /m.bin -k $(TAO_KEY) -o /r/images_annotated -l /r/labels -t 0.001",
    ),
    (
        TAO4,
        YOLO,
        Action.PRUNE,
        {**KEYED, "pruning_threshold": 0.7},
        "yolo_v4 prune -m /m.bin -e /s.txt -o /o/model.onnx -eq union -pth 0.7 -pg 8 -nf 16 -k $(TAO_KEY)",
    ),
    (
        TAO4,
        YOLO,
        Action.EXPORT,
        {**KEYED, "output": "/o/model.etlt"},
        "yolo_v4 export -m /m.bin -e /s.txt -o /o/model.etlt -k $(TAO_KEY) --data_type fp32",
    ),
    (
        TAO3,
        YOLO,
        Action.EXPORT,
        {**KEYED, "output": "/o/model.etlt", "quantization_aware": True},
        "yolo_v4 export -m /m.bin -e /s.txt -o /o/model.etlt -k $(TAO_KEY) --data_type int8 --cal_cache_file /o/cal.bin",
    ),
    (TAO3, YOLO, Action.KMEANS, {"size": (320, 320), "clusters": 6}, "yolo_v4 kmeans -l /l -i /i -n 6 -x 320 -y 320"),
    (PYT5_0, DINO, Action.TRAIN, {"gpus": 2, **KEYED}, "dino train -e /s.txt -r /r -k $(TAO_KEY) --gpus 2"),
    (PYT5_0, DINO, Action.EVALUATE, {}, "dino evaluate -e /s.txt -r /r"),
    (PYT5_0, DINO, Action.INFERENCE, KEYED, "dino inference -e /s.txt -r /r -k $(TAO_KEY)"),
    (PYT5_0, DINO, Action.EXPORT, {}, "dino export -e /s.txt -r /r"),
    (PYT5_5, DINO, Action.TRAIN, {}, "dino train -e /s.txt results_dir=/r train.num_gpus=1 train.gpu_ids=[0]"),
    (
        PYT7,
        RTDETR,
        Action.TRAIN,
        {"gpus": 2, **KEYED},
        "rtdetr train -e /s.txt results_dir=/r train.num_gpus=2 train.gpu_ids=[0,1] encryption_key=$(TAO_KEY)",
    ),
    (PYT7, RTDETR, Action.EVALUATE, {"gpus": 2}, "rtdetr evaluate -e /s.txt results_dir=/r"),
    (PYT6, RTDETR, Action.INFERENCE, {}, "rtdetr inference -e /s.txt results_dir=/r"),
    (PYT7, RTDETR, Action.EXPORT, {}, "rtdetr export -e /s.txt results_dir=/r"),
]


@pytest.mark.parametrize(("dialect", "network", "action", "more", "line"), LINES)
def test_lines(dialect, network, action, more, line):
    assert " ".join(command(call(dialect, network, action, **more))) == line


def test_every_action_of_every_dialect_has_a_line():
    told = {(dialect.name, action) for dialect, _, action, _, _ in LINES}
    assert {(TAO5.name, action) for action in Action} <= told
    assert {(PYT5_0.name, action) for action in PYT5_0.actions} <= told
    since_5_5 = {action for dialect, action in told if dialect in (PYT5_5.name, PYT6.name, PYT7.name)}
    assert since_5_5 == PYT5_5.actions == PYT6.actions == PYT7.actions


@pytest.mark.parametrize("action", [action for action in Action if action is not Action.KMEANS])
@pytest.mark.parametrize("dialect", [TAO3, TAO4])
def test_old_dialects_need_a_key(dialect, action):
    with pytest.raises(EngineError) as caught:
        command(call(dialect, YOLO, action))
    assert caught.value.field == "spec.training.tao.keySecretRef"


@pytest.mark.parametrize("action", [Action.PRUNE, Action.RETRAIN, Action.KMEANS])
def test_pytorch_networks_cannot_be_pruned(action):
    with pytest.raises(EngineError) as caught:
        command(call(PYT7, RTDETR, action))
    assert str(caught.value).startswith(f"spec.compression: rtdetr of dialect pyt7 has no action {action.value}. ")


@pytest.mark.parametrize("text", ["a b", "a'b", 'a"b', "a;b", "a`b", "a$b", "$(OTHER)", "a\nb", "", "ä", "a[0]"])
def test_what_a_shell_would_misread_is_refused(text):
    with pytest.raises(EngineError, match="which TAO's shell would misread"):
        command(call(TAO5, YOLO, Action.EVALUATE, model=text))


@given(st.from_regex(r"[A-Za-z0-9._/:@%+=,-]+", fullmatch=True))
def test_plain_paths_pass_word_for_word(path):
    assert command(call(TAO5, YOLO, Action.EVALUATE, model=path))[5] == path


@given(st.floats(0, 1))
def test_the_threshold_is_more_than_0_and_less_than_1(wanted):
    found = score_threshold(wanted)
    assert 0 < found < 1
    assert found == wanted or not 0.001 <= wanted <= 0.999
    line = command(call(TAO5, YOLO, Action.INFERENCE, score_threshold=wanted))
    assert 0 < float(line[-1]) < 1
