"""The step's own settings are laid over the default ones: maps merged, everything else replaced."""

from __future__ import annotations

import pytest

from alrun.api.pods import Pods, PodSettings
from alrun.api.spec import RunSpec
from alrun.api.step import StepName
from alrun.core.pods import SECTIONS, gpus_for, settings_for
from tests.model.world import with_lightly, with_tao

from .runs import MINIMAL


def spec(**pods):
    return RunSpec.model_validate({**MINIMAL, "pods": pods})


def test_every_step_has_an_entry_of_its_own():
    assert set(SECTIONS) == set(StepName)
    assert {*SECTIONS.values(), "default"} == set(Pods.model_fields)


def test_nothing_said_is_nothing_set():
    assert settings_for(spec(), StepName.TRAIN) == PodSettings()


def test_default_goes_for_every_step():
    wanted = spec(default={"gpus": 1})
    assert [settings_for(wanted, step).gpus for step in StepName] == [1] * len(StepName)


def test_an_entry_goes_for_its_own_steps_alone():
    wanted = spec(training={"gpus": 1})
    assert [step for step in StepName if settings_for(wanted, step).gpus] == [
        StepName.TRAIN,
        StepName.CONTROL_TRAIN,
        StepName.RETRAIN,
    ]
    wanted = spec(reporting={"gpus": 1})
    assert [step for step in StepName if settings_for(wanted, step).gpus] == [StepName.REPORT]


def test_tao_has_one_gpu_where_nothing_is_said():
    foreign = {
        StepName.TRAIN,
        StepName.EVALUATE,
        StepName.INFER,
        StepName.PRUNE,
        StepName.RETRAIN,
        StepName.ASSESS,
        StepName.EXPORT,
        StepName.CONTROL_TRAIN,
        StepName.CONTROL_EVALUATE,
    }
    wanted = with_tao("End")
    assert {step for step in StepName if gpus_for(wanted, step)} == foreign
    assert {step for step in StepName if gpus_for(spec(), step)} == set()
    more = RunSpec.model_validate(wanted.to_json() | {"pods": {"training": {"gpus": 4}, "inference": {"gpus": 0}}})
    assert [gpus_for(more, step) for step in (StepName.TRAIN, StepName.RETRAIN, StepName.EVALUATE)] == [4, 4, 1]
    assert gpus_for(more, StepName.INFER) == 0


def test_the_lightly_worker_has_one_gpu_where_nothing_is_said():
    wanted = with_lightly()
    assert {step for step in StepName if gpus_for(wanted, step)} == {StepName.SELECT}
    none = RunSpec.model_validate(wanted.to_json() | {"pods": {"selection": {"gpus": 0}}})
    assert {step for step in StepName if gpus_for(none, step)} == set()


@pytest.mark.parametrize(
    ("default", "own", "expected"),
    [
        ({"gpus": 2}, {}, {"gpus": 2}),
        ({"gpus": 2}, {"gpus": 0}, {"gpus": 0}),
        ({"image": "a:1"}, {"image": "b:1"}, {"image": "b:1"}),
        ({"deadline": "1h"}, {"waitDeadline": "2h"}, {"deadline": "1h", "waitDeadline": "2h"}),
        ({"labels": {"a": "1", "b": "1"}}, {"labels": {"b": "2"}}, {"labels": {"a": "1", "b": "2"}}),
        ({"nodeSelector": {"a": "1"}}, {"nodeSelector": {"b": "2"}}, {"nodeSelector": {"a": "1", "b": "2"}}),
        (
            {"resources": {"requests": {"cpu": 1, "memory": "1Gi"}}},
            {"resources": {"requests": {"cpu": 2}, "limits": {"memory": "4Gi"}}},
            {"resources": {"requests": {"cpu": 2, "memory": "1Gi"}, "limits": {"memory": "4Gi"}}},
        ),
        ({"tolerations": [{"key": "a"}]}, {"tolerations": [{"key": "b"}]}, {"tolerations": [{"key": "b"}]}),
        ({"tolerations": [{"key": "a"}]}, {"tolerations": []}, {"tolerations": [{"key": "a"}]}),
        ({"imagePullSecrets": [{"name": "a"}]}, {"gpus": 1}, {"imagePullSecrets": [{"name": "a"}], "gpus": 1}),
    ],
)
def test_overlay(default, own, expected):
    found = settings_for(spec(default=default, training=own), StepName.TRAIN)
    assert found == PodSettings.model_validate(expected)
