"""register and select with the stand-ins of Lightly's platform and Worker, through the real client."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from alrun.api import paths
from alrun.api.selection import Combination, Embeddings, EmbeddingSource, LightlySelection, Strategy
from alrun.api.spec import Batch
from alrun.api.step import ConvertParams, LightlyWork, RegisterParams, Rule, SelectParams
from alrun.core.strategies import DIVERSITY, RANDOM, UNCERTAINTY
from alrun.data import kitti
from alrun.data.boxes import Box
from alrun.steps import convert
from alrun.steps import select as embedded
from alrun.steps.lightly import register, select
from alrun.steps.lightly.reasons import LightlyError
from alrun.steps.secrets import Secrets
from tests.standins.lightly.server import EXPIRED_TOKEN, TOKEN, Server, serve
from tests.standins.lightly.worker import run_worker

from .step_runs import World

IMAGES = 24
LABEL = "alrun-orchard-apples"


class Idle:
    """A stop event that is set once the Worker finds nothing to do: it then works as a plain function."""

    def __init__(self) -> None:
        self._idle = False

    def is_set(self) -> bool:
        return self._idle

    def wait(self, timeout: float | None = None) -> bool:
        self._idle = True
        return True


@dataclass
class Farm(World):
    """A world with a platform; its Worker works while the step sleeps."""

    server: Server = field(kw_only=True)
    environ: dict[str, str] = field(kw_only=True)
    worker: dict[str, str] = field(default_factory=dict, kw_only=True)
    worker_id: str | None = None

    def context_with(self, params: Any, cycle: int = 0, **settings: Any) -> Any:
        work = LightlyWork(
            settings=LightlySelection.model_validate({"tokenSecretRef": {"name": "s", "key": "token"}, **settings}),
            dataset=settings.get("dataset", LABEL),
            worker=LABEL,
            label=LABEL,
            worker_id=self.worker_id,
        )
        context = self.context(params, cycle, engine="Lightly", lightly=work)
        context.secrets = Secrets.of(self.environ)
        return context

    def register(self, **settings: Any) -> Any:
        result = register.run(self.context_with(RegisterParams(), **settings), self.environ)
        self.worker_id = result.worker_id
        return result

    def select(self, cycle: int = 0, strategies: list[Strategy] | None = None, count: int = 4, **more: Any) -> Any:
        settings = more.pop("settings", {})
        params = SelectParams(strategies=strategies or [DIVERSITY], batch=Batch(count=count), rule=Rule.STRATEGIES, **more)
        return select.run(self.context_with(params, cycle, **settings), self.environ, self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.worker.get("absent"):
            return
        environ = {
            **self.environ,
            "LIGHTLY_WORKER_ID": self.worker_id or "",
            "LIGHTLY_STANDIN_POLL_S": "0",
            "LIGHTLY_STANDIN_INPUT_MOUNT": str(self.root / "data" / "images"),
            "LIGHTLY_STANDIN_LIGHTLY_MOUNT": str(self.file(".")),
            "LIGHTLY_STANDIN_OUTPUT_DIR": str(self.root / "output"),
            **self.worker,
        }
        worker = self.server.state.workers[self.worker_id or ""]
        if run_worker(environ, stop=Idle()) == 0 and worker.heard:
            worker.state = "IDLE"  # it lives on, and polls again when the step next sleeps

    def label(self, cycle: int, images: list[str]) -> None:
        self.write_table(paths.annotated(cycle), [{"image": image, "boxes": 1, "seconds": 1.0} for image in images])

    def predict(self, cycle: int) -> None:
        """Predictions of a cycle, through `convert`: the score is the image's number."""
        for image in self.column(paths.POOL_INDEX):
            number = int(Path(image).stem)
            box = Box("apple", 1, 1, 9, 9, score=0.5 + number / 100)
            target = self.file(f"{paths.inference_labels(cycle)}/{Path(image).stem}.txt")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(kitti.format_boxes([box]))
        convert.run(self.context(ConvertParams(), cycle, shard=0))

    def picks(self, cycle: int = 0) -> list[str]:
        return self.column(paths.selection(cycle))

    @property
    def pool(self) -> list[str]:
        return self.column(paths.POOL_INDEX)

    @property
    def configs(self) -> list[Any]:
        return [one.sent["config"] for one in self.server.state.configs.values()]

    @property
    def text(self) -> str:
        return self.log.getvalue()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared world, to be copied: preparing takes longer than any test here."""
    root = tmp_path_factory.mktemp("lightly")
    world = World(root)
    for number in range(IMAGES):
        world.image(f"{number:02d}.png", number, [Box("apple", 2, 2, 10, 10)])
    world.prepare()
    return root


@pytest.fixture
def farm(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Farm]:
    for name in ("data", "work"):
        shutil.copytree(pictures / name, tmp_path / name)
    with serve() as server:
        environ = {"LIGHTLY_TOKEN": TOKEN, "LIGHTLY_SERVER_LOCATION": server.url}
        for name, value in (environ | {"LIGHTLY_DID_VERSION_CHECK": "True"}).items():
            monkeypatch.setenv(name, value)
        yield Farm(tmp_path, server=server, environ=environ)


def test_three_cycles_pick_other_images_each(farm: Farm) -> None:
    assert farm.register().worker_id == farm.worker_id
    picked: list[str] = []
    for cycle in range(3):
        strategies = [DIVERSITY] if cycle == 0 else [DIVERSITY, UNCERTAINTY]
        result = farm.select(cycle, strategies)
        assert result.counts == {"images": 4}
        assert result.selection_run in farm.server.state.runs
        assert not result.exhausted
        picked += farm.picks(cycle)
        farm.label(cycle, farm.picks(cycle))
        farm.predict(cycle)
    assert len(set(picked)) == 12
    assert set(picked) <= set(farm.pool)
    dataset = next(iter(farm.server.state.datasets.values()))
    assert [sample.name for sample in dataset.samples] == picked
    assert [config["docker"].get("useDatapool") for config in farm.configs] == [None, True, True]


def test_what_is_written_down(farm: Farm) -> None:
    farm.register()
    result = farm.select(0, [RANDOM])
    rows = farm.rows(paths.selection(0))
    assert [(row["rank"], row["score"], row["rule"]) for row in rows] == [(n, 0.0, "Lightly") for n in range(4)]
    assert {row["why"] for row in rows} == {"picked by the Lightly Worker: RANDOM WEIGHTS"}
    assert result.message == f"picked 4 of {len(farm.pool)} unlabelled images by Lightly; {len(farm.pool) - 4} are left"
    relevant = farm.file(paths.RELEVANT_FILES).read_text().splitlines()
    assert relevant == farm.pool
    assert not set(relevant) & set(farm.column(paths.TEST_INDEX))
    left = sorted(path.name for path in farm.file(paths.worker_artifacts(0)).iterdir())
    assert "log.txt" in left
    assert '"unit":"completed"' in farm.text
    assert TOKEN not in farm.text


def test_another_attempt_takes_the_picks_of_the_first(farm: Farm) -> None:
    farm.register()
    first = farm.select()
    picks = farm.picks()
    farm.file(paths.selection(0)).unlink()  # as if it had ended before
    again = farm.select()
    assert farm.picks() == picks
    assert again.selection_run == first.selection_run
    assert len(farm.server.state.scheduled) == 1


def test_another_attempt_waits_for_the_run_that_the_first_has_scheduled(farm: Farm) -> None:
    farm.register()
    farm.worker["absent"] = "yes"
    with pytest.raises(LightlyError):
        farm.select()
    del farm.worker["absent"]
    farm.select()
    assert len(farm.server.state.scheduled) == 1
    assert len(farm.picks()) == 4


def test_an_attempt_that_died_between_writing_down_and_scheduling(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    farm.register()

    def die(*_: object) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("alrun.steps.lightly.client.Platform.schedule", die)
        with pytest.raises(KeyboardInterrupt):
            farm.select()
    assert not farm.server.state.scheduled
    farm.select()
    assert len(farm.server.state.scheduled) == 1
    assert len(farm.picks()) == 4


@pytest.mark.parametrize("mode", ["crashed", "failed@SAVING_RESULTS", "aborted@GENERATING_REPORT", "killed@EMBEDDING"])
def test_a_run_that_came_to_nothing_is_scheduled_anew_by_the_next_attempt(farm: Farm, mode: str) -> None:
    farm.register()
    farm.worker["LIGHTLY_STANDIN_FAIL"] = mode
    with pytest.raises(LightlyError):
        farm.select()
    del farm.worker["LIGHTLY_STANDIN_FAIL"]
    farm.select()
    assert len(farm.picks()) == 4
    assert len(set(farm.picks())) == 4


def test_picks_that_nobody_labelled_come_first(farm: Farm) -> None:
    farm.register()
    farm.select()
    first = farm.picks()
    farm.label(0, first[:1])
    farm.predict(0)
    farm.select(1, count=5)
    second = farm.picks(1)
    assert second[:3] == first[1:]
    assert len(set(second)) == 5
    assert {row["why"] for row in farm.rows(paths.selection(1))[:3]} == {
        "picked by the Lightly Worker before, and not labelled then"
    }
    farm.label(1, second[3:])
    farm.predict(1)
    farm.select(2, count=3)  # all of them wait already: nobody is asked
    assert farm.picks(2) == first[1:]
    assert len(farm.server.state.scheduled) == 2


def test_images_of_a_dataset_that_was_there_before_count_as_chosen(farm: Farm) -> None:
    farm.register()
    farm.select()
    held = farm.picks()
    farm.file("register/dataset.json").unlink()  # another run, with the same dataset
    again = farm.register(dataset=LABEL)
    assert "whose 4 images count as chosen" in again.message
    farm.select(count=6)
    assert not set(farm.picks()) & set(held)
    assert farm.configs[-1]["docker"]["useDatapool"] is True


def test_the_last_images_exhaust_the_pool(farm: Farm) -> None:
    farm.register()
    result = farm.select(count=100)
    assert result.exhausted
    assert sorted(farm.picks()) == farm.pool
    assert farm.configs[0]["selection"]["nSamples"] == len(farm.pool)


@pytest.mark.parametrize("mode", ["", "cumulative-run-tag"])
def test_picks_are_those_of_this_cycle_whatever_the_tag_of_the_run_holds(farm: Farm, mode: str) -> None:
    dataset = f"orchard--{mode}" if mode else "orchard"
    farm.register(dataset=dataset)
    farm.select(settings={"dataset": dataset})
    farm.label(0, farm.picks(0))
    farm.predict(0)
    farm.select(1, settings={"dataset": dataset})
    assert len(farm.picks(1)) == 4
    assert not set(farm.picks(0)) & set(farm.picks(1))


def test_metadata_and_the_users_table(farm: Farm) -> None:
    table = "image,shelf,al_score\n" + "".join(f"{n:02d}.png,s{n % 3},{n / 10}\n" for n in range(IMAGES))
    farm.put("known.csv", table)
    farm.register()
    farm.select(table="known.csv")
    schema = json.loads(farm.file(f"{paths.METADATA}/schema.json").read_text())
    assert [(one["name"], one["valueDataType"]) for one in schema] == [
        ("width", "NUMERIC_INT"),
        ("height", "NUMERIC_INT"),
        ("size", "NUMERIC_INT"),
        ("cost", "NUMERIC_FLOAT"),
        ("group", "CATEGORICAL_STRING"),
        ("folder", "CATEGORICAL_STRING"),
        ("shelf", "CATEGORICAL_STRING"),
        ("al_score", "NUMERIC_FLOAT"),
    ]
    image = farm.pool[0]
    number = int(Path(image).stem)
    found = json.loads(farm.file(f"{paths.METADATA}/{Path(image).stem}.json").read_text())
    size = (farm.root / "data" / "images" / image).stat().st_size
    assert found["metadata"] == {
        "width": 40,
        "height": 30,
        "size": size,
        "cost": 2.0,
        "group": found["metadata"]["group"],
        "folder": "",
        "shelf": f"s{number % 3}",
        "al_score": number / 10,
    }


def test_embeddings_are_those_that_our_own_engine_compares(farm: Farm) -> None:
    farm.register()
    farm.select(embeddings=Embeddings(source=EmbeddingSource.CLASSICAL))
    lines = farm.file(paths.EMBEDDINGS_CSV).read_text().splitlines()
    assert lines[0].startswith("filenames,embedding_0,")
    assert lines[0].endswith(",labels")
    assert [line.partition(",")[0] for line in lines[1:]] == farm.pool
    assert farm.configs[0]["docker"]["embeddings"] == "embeddings.csv"
    assert farm.configs[0]["lightly"]["model"]["numFtrs"] == lines[0].count(",") - 1


@pytest.mark.parametrize("cycle", [0, 1])
def test_the_worker_picks_what_our_own_engine_picks(farm: Farm, cycle: int) -> None:
    """One line of the run swapped: the same strategies, the same embeddings, the same images in the same order."""
    farm.register()
    embeddings = Embeddings(source=EmbeddingSource.CLASSICAL)
    strategies = [DIVERSITY] if cycle == 0 else [DIVERSITY, UNCERTAINTY]
    for earlier in range(cycle):
        farm.select(earlier, [DIVERSITY], embeddings=embeddings)
        farm.label(earlier, farm.picks(earlier))
        farm.predict(earlier)
    farm.select(cycle, strategies, count=8, embeddings=embeddings)
    theirs = farm.picks(cycle)
    params = SelectParams(
        strategies=strategies,
        batch=Batch(count=8),
        rule=Rule.STRATEGIES,
        combination=Combination.CUMULATIVE,
        embeddings=embeddings,
    )
    embedded.run(farm.context(params, cycle))
    assert farm.picks(cycle) == theirs


# What goes wrong


def reason_of(action: Any) -> LightlyError:
    with pytest.raises(LightlyError) as raised:
        action()
    assert TOKEN not in raised.value.message
    assert raised.value.__cause__ is None
    return raised.value


def test_no_worker_takes_the_run(farm: Farm) -> None:
    farm.register()
    farm.worker["absent"] = "yes"
    error = reason_of(lambda: farm.select(settings={"pickupTimeout": "2m"}))
    assert error.reason == "WorkerOffline"
    assert error.retryable
    assert error.message == f"no Worker has taken the run in 125 s; the Worker {farm.worker_id} is OFFLINE"


@pytest.mark.parametrize(
    ("fail", "reason", "retryable"),
    [
        ("offline", "WorkerOffline", True),
        ("config-version=V3", "WorkerVersionMismatch", False),
        ("crashed@EMBEDDING", "RunCrashed", True),
        ("failed@SAMPLING", "RunFailed", True),
        ("aborted@LOADING_DATASET", "RunAborted", True),
        ("failed@LOADING_PREDICTION", "RunFailed", True),
        ("killed@SAVING_RESULTS", "RunCrashed", True),
    ],
)
def test_ways_of_the_worker_to_fail(farm: Farm, fail: str, reason: str, retryable: bool) -> None:
    farm.register()
    farm.worker["LIGHTLY_STANDIN_FAIL"] = fail
    error = reason_of(farm.select)
    assert (error.reason, error.retryable) == (reason, retryable)
    assert farm.now < 1000
    if fail.startswith("crashed"):
        left = farm.file(paths.worker_artifacts(0)) / "log.txt"
        assert "an illegal memory access was encountered" in left.read_text()


def test_a_worker_without_the_predictions_of_the_run(farm: Farm) -> None:
    farm.register()
    error = reason_of(lambda: farm.select(0, [DIVERSITY, UNCERTAINTY]))
    assert (error.reason, error.retryable) == ("PredictionsMissing", False)


def test_a_strategy_about_metadata_that_there_are_not(farm: Farm) -> None:
    farm.register()
    unknown = Strategy.model_validate({"input": {"type": "METADATA", "key": "shelf"}, "strategy": {"type": "WEIGHTS"}})
    error = reason_of(lambda: farm.select(0, [unknown]))
    assert (error.reason, error.retryable) == ("MetadataRefused", False)


def test_a_licence_that_ran_out_after_register(farm: Farm) -> None:
    farm.register()
    with serve(state=farm.server.state, environ={"LIGHTLY_STANDIN_FAIL": "licence-expired"}) as server:
        farm.environ["LIGHTLY_SERVER_LOCATION"] = server.url
        error = reason_of(farm.select)
    assert (error.reason, error.retryable) == ("LicenceExpired", False)


def test_picks_that_were_not_offered(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    farm.register()
    sealed = farm.column(paths.TEST_INDEX)[0]
    monkeypatch.setattr("alrun.steps.lightly.client.Platform.selected_by", lambda *_: [sealed])
    error = reason_of(farm.select)
    assert error.reason == "PicksUnknown"
    assert sealed in error.message
    assert not farm.file(paths.selection(0)).exists()


def test_wrong_tokens(farm: Farm) -> None:
    for token, reason in (
        ("no-such-token", "TokenRejected"),
        (EXPIRED_TOKEN, "LicenceExpired"),
        (" ", "TokenMissing"),
        (f"{TOKEN}\n", "TokenMissing"),
    ):
        farm.environ["LIGHTLY_TOKEN"] = token
        error = reason_of(farm.register)
        assert (error.reason, error.retryable) == (reason, False)
        assert token.strip() == "" or token.strip() not in error.message


def test_a_platform_that_is_not_there(
    farm: Farm, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LIGHTLY_SERVER_LOCATION", "http://127.0.0.1:9")
    error = reason_of(farm.register)
    assert (error.reason, error.exit_code) == ("LightlyUnavailable", 75)
    assert TOKEN not in farm.text
    assert "?token=[redacted]" in farm.text  # urllib3 has told of its attempts, with the URL
    assert capfd.readouterr() == ("", "")


def test_logs_of_the_client_do_not_reach_other_handlers(farm: Farm, capfd: pytest.CaptureFixture[str]) -> None:
    farm.register()
    logging.getLogger("urllib3.connectionpool").warning("GET /v1/tags?token=%s", TOKEN)
    assert capfd.readouterr() == ("", "")
    assert farm.text.endswith("urllib3.connectionpool: GET /v1/tags?token=[redacted]\n")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"workerConfig": {"num_threads": "many"}}, "numThreads value is not a valid integer"),
        ({"workerConfig": {"datasource": {"by_pass": True}}}, "in the input: {'byPass': True, 'processAll': True}"),
        ({"lightlyConfig": {"loader": {"batch": 4}}}, "in the input: {'batch': 4}"),
    ],
)
def test_a_configuration_that_the_client_refuses(farm: Farm, settings: dict[str, Any], words: str) -> None:
    farm.register()
    error = reason_of(lambda: farm.select(settings=settings))
    assert error.reason == "ConfigRefused"
    assert words in error.message


def test_a_worker_of_that_name_without_the_label(farm: Farm) -> None:
    from lightly.api import ApiWorkflowClient  # noqa: PLC0415

    ApiWorkflowClient().register_compute_worker(LABEL, ["other"])
    error = reason_of(farm.register)
    assert error.reason == "WorkerNameTaken"


def test_a_dataset_that_was_deleted(farm: Farm) -> None:
    farm.register()
    farm.server.state.datasets.clear()
    assert reason_of(farm.select).reason == "DatasetGone"


def test_a_scheduled_run_is_taken_back_on_sigterm(farm: Farm) -> None:
    farm.register()
    context = farm.context_with(SelectParams(strategies=[DIVERSITY], batch=Batch(count=4)))

    def ended(seconds: float) -> None:
        for action in list(context.on_sigterm):
            action()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        select.run(context, farm.environ, ended)
    assert [one.state for one in farm.server.state.scheduled.values()] == ["CANCELED"]
    assert context.on_sigterm == []
    farm.select()
    assert [one.state for one in farm.server.state.scheduled.values()] == ["CANCELED", "DONE"]
