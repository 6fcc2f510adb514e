"""The step's own settings are laid over the default ones: maps merged, everything else replaced."""

from __future__ import annotations

import pytest

from alrun.api.spec import Pods, PodSettings, RunSpec
from alrun.api.step import StepName
from alrun.core.pods import SECTIONS, settings_for

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


def test_an_entry_goes_for_its_own_step_alone():
    wanted = spec(training={"gpus": 1})
    assert [step for step in StepName if settings_for(wanted, step).gpus] == [StepName.TRAIN]


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
