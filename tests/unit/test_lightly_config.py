"""What the Worker is asked to do, word for word; and what it is given to do it with."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from lightly.api.api_workflow_compute_worker import selection_config_from_dict

from alrun.api import paths
from alrun.api.selection import LightlySelection, Strategy
from alrun.api.spec import AnnotationCost, Batch
from alrun.api.step import LightlyWork, RegisterParams, RunRef, SelectParams, StepInput, Store
from alrun.core.strategies import DIVERSITY, RANDOM, UNCERTAINTY
from alrun.steps.lightly import config
from alrun.steps.lightly.datasources import Datasource, datasources_of, set_datasources
from alrun.steps.lightly.given import Key, metadata_keys, relevant_files, write_csv
from alrun.steps.lightly.reasons import LightlyError
from alrun.steps.selecting.candidates import PoolIndex

from .step_runs import World


def strategy(given_: dict[str, Any], wish: dict[str, Any]) -> Strategy:
    return Strategy.model_validate({"input": given_, "strategy": wish})


def params_of(*strategies: Strategy) -> SelectParams:
    return SelectParams(strategies=list(strategies), batch=Batch(count=100))


def settings_of(**settings: Any) -> LightlySelection:
    return LightlySelection.model_validate({"tokenSecretRef": {"name": "s", "key": "token"}, **settings})


# Selection


def test_the_rounds_of_the_tutorial() -> None:
    assert config.selection_config(params_of(DIVERSITY), 100, seed=0, cycle=0) == {
        "n_samples": 100,
        "strategies": [{"input": {"type": "EMBEDDINGS"}, "strategy": {"type": "DIVERSITY"}}],
    }
    assert config.selection_config(params_of(DIVERSITY, UNCERTAINTY), 60, seed=0, cycle=1) == {
        "n_samples": 60,
        "strategies": [
            {"input": {"type": "EMBEDDINGS"}, "strategy": {"type": "DIVERSITY"}},
            {
                "input": {"type": "SCORES", "task": "detections", "score": "uncertainty_entropy"},
                "strategy": {"type": "WEIGHTS"},
            },
        ],
    }


CASES = [
    (
        strategy({"type": "EMBEDDINGS"}, {"type": "DIVERSITY", "stoppingConditionMinimumDistance": 0.2, "strength": 0.5}),
        {"type": "EMBEDDINGS"},
        {"type": "DIVERSITY", "stopping_condition_minimum_distance": 0.2, "strength": 0.5},
    ),
    (
        strategy(
            {"type": "EMBEDDINGS", "datasetId": "64709eac61e9ce68180a6529", "tagName": "night"}, {"type": "SIMILARITY"}
        ),
        {"type": "EMBEDDINGS", "dataset_id": "64709eac61e9ce68180a6529", "tag_name": "night"},
        {"type": "SIMILARITY"},
    ),
    (
        strategy(
            {"type": "EMBEDDINGS"},
            {"type": "TYPICALITY", "numNearestNeighbors": 5, "stoppingConditionMinimumTypicality": 0.1, "strength": -1},
        ),
        {"type": "EMBEDDINGS"},
        {"type": "TYPICALITY", "num_nearest_neighbors": 5, "stopping_condition_minimum_typicality": 0.1, "strength": -1.0},
    ),
    (
        strategy(
            {"type": "SCORES", "score": "object_frequency"}, {"type": "THRESHOLD", "threshold": 0.5, "operation": "BIGGER"}
        ),
        {"type": "SCORES", "task": "detections", "score": "object_frequency"},
        {"type": "THRESHOLD", "threshold": 0.5, "operation": "BIGGER"},
    ),
    (
        strategy({"type": "METADATA", "key": "cost"}, {"type": "WEIGHTS", "strength": -1, "stoppingConditionMaxSum": 600}),
        {"type": "METADATA", "key": "cost"},
        {"type": "WEIGHTS", "stopping_condition_max_sum": 600.0, "strength": -1.0},
    ),
    (
        strategy({"type": "METADATA", "key": "shelf"}, {"type": "BALANCE", "target": {"low": 0.2, "high": 0.8}}),
        {"type": "METADATA", "key": "shelf"},
        {"type": "BALANCE", "target": {"low": 0.2, "high": 0.8}, "distribution": "TARGET"},
    ),
    (
        strategy({"type": "PREDICTIONS", "name": "CLASS_DISTRIBUTION"}, {"type": "BALANCE", "distribution": "UNIFORM"}),
        {"type": "PREDICTIONS", "task": "detections", "name": "CLASS_DISTRIBUTION"},
        {"type": "BALANCE", "distribution": "UNIFORM"},
    ),
    (
        strategy({"type": "PREDICTIONS", "name": "CATEGORY_COUNT", "categories": ["Apple"]}, {"type": "WEIGHTS"}),
        {"type": "PREDICTIONS", "task": "detections", "name": "CATEGORY_COUNT", "categories": ["Apple"]},
        {"type": "WEIGHTS"},
    ),
    (
        strategy({"type": "RANDOM", "randomSeed": 3}, {"type": "WEIGHTS"}),
        {"type": "RANDOM", "random_seed": 3},
        {"type": "WEIGHTS"},
    ),
]


@pytest.mark.parametrize(("one", "input_", "wish"), CASES)
def test_every_pair_in_lightlys_words_which_its_client_takes(one: Strategy, input_: Any, wish: Any) -> None:
    found = config.selection_config(params_of(one), 10, seed=0, cycle=0)
    assert found == {"n_samples": 10, "strategies": [{"input": input_, "strategy": wish}]}
    assert selection_config_from_dict(found).n_samples == 10


def test_chance_is_another_in_each_cycle_and_the_same_in_each_attempt() -> None:
    seeds = {(seed, cycle, number): config.random_seed(seed, cycle, number)
             for seed in range(3) for cycle in range(3) for number in range(2)}  # fmt: skip
    assert len(set(seeds.values())) == 18
    assert all(0 <= seed < 2**31 for seed in seeds.values())
    found = config.selection_config(params_of(RANDOM, RANDOM), 1, seed=7, cycle=2)
    assert [one["input"]["random_seed"] for one in found["strategies"]] == [
        config.random_seed(7, 2, 0),
        config.random_seed(7, 2, 1),
    ]
    assert config.random_seed(7, 2, 0) == 1346946005


def test_what_picks_are_said_to_be_made_by() -> None:
    words = config.rule_name(params_of(DIVERSITY, UNCERTAINTY, CASES[4][0], CASES[7][0]))
    assert words == (
        "EMBEDDINGS DIVERSITY + SCORES(uncertainty_entropy) WEIGHTS + METADATA(cost) WEIGHTS^-1 "
        "+ PREDICTIONS(CATEGORY_COUNT) WEIGHTS"
    )


# worker_config and lightly_config


def test_worker_config() -> None:
    assert config.worker_config(settings_of(), datapool=False, embeddings=False) == {
        "datasource": {"process_all": True},
        "relevant_filenames_file": ".lightly/relevant_filenames.txt",
    }
    user = settings_of(workerConfig={"datasource": {"bypass_verify": True}, "enable_training": True, "num_processes": 4})
    before = user.to_json()
    assert config.worker_config(user, datapool=True, embeddings=False) == {
        "datasource": {"bypass_verify": True, "process_all": True},
        "enable_training": True,
        "num_processes": 4,
        "relevant_filenames_file": ".lightly/relevant_filenames.txt",
        "use_datapool": True,
    }
    assert user.to_json() == before


def test_given_embeddings_are_named_by_their_file_and_their_length() -> None:
    found = config.worker_config(settings_of(), datapool=False, embeddings=True)
    assert found["embeddings"] == "embeddings.csv"
    assert found["enable_training"] is False
    user = settings_of(lightlyConfig={"model": {"name": "resnet-18"}, "seed": 3})
    assert config.lightly_config(user, 64) == {"model": {"name": "resnet-18", "num_ftrs": 64}, "seed": 3}
    assert config.lightly_config(user, None) == {"model": {"name": "resnet-18"}, "seed": 3}
    assert config.lightly_config(settings_of(), None) == {}


# Relevant files


def test_relevant_files_are_the_candidates_a_path_a_line() -> None:
    assert relevant_files(["a.png", "row 1/bäume.png"]) == "a.png\nrow 1/bäume.png\n".encode()


@pytest.mark.parametrize("name", ["a*.png", "a\nb.png", " a.png", "a.png ", "../a.png", "x/../a.png", "./a.png", "/a.png"])
def test_a_name_that_would_mean_something_else_is_refused(name: str) -> None:
    with pytest.raises(LightlyError) as raised:
        relevant_files(["a.png", name])
    assert raised.value.reason == "NameRefused"
    assert raised.value.message.startswith("1 images have an asterisk, ")
    assert repr(name) in raised.value.message


@given(st.lists(st.text(min_size=1)))
def test_what_is_not_refused_reads_as_it_was_written(names: list[str]) -> None:
    try:
        text = relevant_files(names).decode()
    except (LightlyError, UnicodeEncodeError):
        return
    assert text.split("\n")[:-1] == names


# Metadata


def index_of(*images: str) -> PoolIndex:
    table = pa.table(
        {
            "image": list(images),
            "width": [640] * len(images),
            "height": [480] * len(images),
            "size": [1000 + number for number in range(len(images))],
            "group": [None, *["g"] * (len(images) - 1)],
        }
    )
    return PoolIndex(table, list(images), {image: number for number, image in enumerate(images)})


def test_cost_is_what_the_predicted_boxes_would_take() -> None:
    cost = AnnotationCost(seconds_per_image=2, seconds_per_box=7)
    keys = metadata_keys(index_of("a.png", "row1/b.png"), cost, np.array([0, 3]), [])
    assert keys == [
        Key("width", "NUMERIC_INT", [640, 640]),
        Key("height", "NUMERIC_INT", [480, 480]),
        Key("size", "NUMERIC_INT", [1000, 1001]),
        Key("cost", "NUMERIC_FLOAT", [2.0, 23.0]),
        Key("group", "CATEGORICAL_STRING", ["", "g"]),
        Key("folder", "CATEGORICAL_STRING", ["", "row1"]),
    ]


def test_numbers_that_are_to_be_balanced_are_categories() -> None:
    keys = metadata_keys(index_of("a.png", "b.png"), AnnotationCost(), np.array([0, 1]), [], {"width", "cost", "group"})
    found = {key.name: key for key in keys}
    assert found["width"] == Key("width", "CATEGORICAL_STRING", ["640", "640"])
    assert found["cost"] == Key("cost", "CATEGORICAL_STRING", ["2", "9"])
    assert found["height"].kind == "NUMERIC_INT"
    assert found["group"].values == ["", "g"]


# Embeddings


@given(arrays(np.float32, (3, 2), elements=st.floats(-1, 1, width=32)))
def test_embeddings_come_back_as_they_were(points: np.ndarray[Any, Any]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "e.csv"
        write_csv(path, ["a.png", 'b,"c".png', "d.png"], points)
        rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))
    assert rows[0] == ["filenames", "embedding_0", "embedding_1", "labels"]
    assert [row[0] for row in rows[1:]] == ["a.png", 'b,"c".png', "d.png"]
    assert {row[-1] for row in rows[1:]} == {"0"}
    back = np.array([[float(text) for text in row[1:-1]] for row in rows[1:]], np.float32)
    assert np.array_equal(back, points)


# Datasources


def sources(tmp_path: Path, environ: dict[str, str], *, credentials: str | None = None, **settings: Any) -> list[Datasource]:
    world = World(tmp_path)
    context = world.context(RegisterParams())
    work = LightlyWork(settings=settings_of(**settings), dataset="d", worker="w", label="w")
    store = Store(uri="s3://orchard/minneapple", region="eu-central-1", credentials=credentials)
    context.input = StepInput(
        run=RunRef(namespace="orchard", name="apples", uid="u"),
        dataset=context.input.dataset.model_copy(update={"store": store}),
        workspace=store,
        params=RegisterParams(),
        lightly=work,
    )
    context.images.uri = "s3://orchard/minneapple/raw/images"
    context.workspace.uri = "s3://orchard/minneapple_out/runs/orchard/apples"
    return list(datasources_of(context, environ))


ROLE = "arn:aws:iam::123456789012:role/lightly"


def test_delegated_access(tmp_path: Path) -> None:
    given_ = {purpose: {"roleArn": f"{ROLE}-{purpose}", "externalId": "orchard-1234"} for purpose in ("input", "lightly")}
    assert sources(tmp_path, {}, datasources=given_) == [
        Datasource(
            "INPUT",
            "S3DelegatedAccess",
            {
                "resource_path": "s3://orchard/minneapple/raw/images",
                "region": "eu-central-1",
                "role_arn": f"{ROLE}-input",
                "external_id": "orchard-1234",
            },
        ),
        Datasource(
            "LIGHTLY",
            "S3DelegatedAccess",
            {
                "resource_path": "s3://orchard/minneapple_out/runs/orchard/apples",
                "region": "eu-central-1",
                "role_arn": f"{ROLE}-lightly",
                "external_id": "orchard-1234",
            },
        ),
    ]


def test_static_credentials_are_given_and_never_shown(tmp_path: Path) -> None:
    environ = {"DATASET_AWS_ACCESS_KEY_ID": "AKIA", "DATASET_AWS_SECRET_ACCESS_KEY": "very-secret"}
    found = sources(tmp_path, environ, credentials="DATASET_")
    assert [(one.kind, one.values["access_key"], one.values["secret_access_key"]) for one in found] == [
        ("S3", "AKIA", "very-secret")
    ] * 2
    assert "very-secret" not in repr(found)


def test_temporary_keys_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LightlyError) as raised:
        sources(tmp_path, {"DATASET_AWS_SESSION_TOKEN": "x"}, credentials="DATASET_")
    assert raised.value.reason == "TemporaryKeys"
    assert raised.value.message == "the keys of dataset.images (s3://orchard/minneapple/raw/images) have a session token"


def test_local_mode_is_told_by_the_stores(tmp_path: Path) -> None:
    context = World(tmp_path).context(RegisterParams())
    context.input = context.input.model_copy(
        update={"lightly": LightlyWork(settings=settings_of(), dataset="d", worker="w", label="w")}
    )
    assert [(one.purpose, one.kind, one.values) for one in datasources_of(context, {})] == [
        ("INPUT", "LOCAL", {"relative_path": ""}),
        ("LIGHTLY", "LOCAL", {"relative_path": ""}),
    ]


def test_files_that_the_worker_is_told_of_are_those_of_the_contract() -> None:
    assert (
        ".lightly/embeddings/" + config.worker_config(settings_of(), datapool=False, embeddings=True)["embeddings"]
        == paths.EMBEDDINGS_CSV
    )
    assert json.loads(json.dumps(config.selection_config(params_of(DIVERSITY), 1, seed=0, cycle=0)))["n_samples"] == 1


class _Permissions:
    """A platform that may do some things."""

    def __init__(self, **can: Any) -> None:
        self.can = {"can_list": True, "can_read": True, "can_write": True, "can_overwrite": True} | can
        self.told: list[tuple[str, str]] = []

    def set_datasource(self, purpose: str, kind: str, values: Any) -> None:
        self.told.append((purpose, kind))

    def permissions(self) -> dict[str, Any]:
        return self.can


BUCKETS = (
    Datasource("INPUT", "S3", {"resource_path": "s3://a/b"}),
    Datasource("LIGHTLY", "S3", {"resource_path": "s3://c/d"}),
)


def test_datasources_are_tried() -> None:
    platform = _Permissions()
    set_datasources(platform, BUCKETS, bypass_verify=False)
    assert platform.told == [("INPUT", "S3"), ("LIGHTLY", "S3")]
    with pytest.raises(LightlyError) as raised:
        set_datasources(
            _Permissions(can_list=False, can_write=False, errors={"can_list": "AccessDenied"}), BUCKETS, bypass_verify=False
        )
    assert raised.value.reason == "DatasourceRejected"
    assert raised.value.message == (
        "the Lightly platform may not list, write in INPUT (dataset.images) s3://a/b, LIGHTLY (the workspace) s3://c/d: "
        "can_list: AccessDenied"
    )


def test_datasources_that_the_platform_cannot_or_must_not_try_are_not_tried() -> None:
    nothing = {"can_list": False, "can_read": False}
    set_datasources(_Permissions(**nothing), BUCKETS, bypass_verify=True)
    local = tuple(Datasource(purpose, "LOCAL", {"relative_path": ""}) for purpose in ("INPUT", "LIGHTLY"))
    set_datasources(_Permissions(**nothing), local, bypass_verify=False)
