from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from alrun.cli.access import Deleted, EventLine, Followed, Lost
from alrun.cli.errors import CliError, Exit
from alrun.cli.kube import PATIENCE, Kube, connect
from alrun.cli.view import RunView

from .cli_cluster import ALL_RUNS, RUNS, Cluster, manifest, serve, watch_lines, write_kubeconfig


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def kube(cluster: Cluster, tmp_path: Path) -> Iterator[Kube]:
    with serve(cluster, tmp_path / "kubeconfig"):
        yield connect(kubeconfig=tmp_path / "kubeconfig")


def phases(states: list[Followed]) -> list[str]:
    return [str(state.status.phase) if isinstance(state, RunView) else type(state).__name__ for state in states]


def test_namespace_is_that_of_the_context_unless_named(tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    write_kubeconfig(file, 1)
    assert connect(kubeconfig=file).namespace == "orchard"
    assert connect(kubeconfig=file, context="other").namespace == "meadow"
    assert connect("field", kubeconfig=file, context="other").namespace == "field"


def test_unknown_context_and_missing_file_are_named(tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    with pytest.raises(CliError, match=r"kubeconfig: .*; name a file with --kubeconfig or \$KUBECONFIG"):
        connect(kubeconfig=file)
    write_kubeconfig(file, 1)
    with pytest.raises(CliError, match="nowhere"):
        connect(kubeconfig=file, context="nowhere")


def test_runs_are_listed_in_order(kube: Kube, cluster: Cluster) -> None:
    cluster.runs = {name: manifest(name) for name in ("pears", "apples")}
    assert [run.name for run in kube.runs()] == ["apples", "pears"]
    assert [run.name for run in kube.runs(all_namespaces=True)] == ["apples", "pears"]


def test_patch_merges(kube: Kube, cluster: Cluster) -> None:
    cluster.runs = {"apples": manifest()}
    assert kube.patch("apples", {"spec": {"suspend": True}}).suspend
    assert cluster.patches == [("apples", {"spec": {"suspend": True}})]


def test_events_of_either_api_in_order_of_time(kube: Kube, cluster: Cluster) -> None:
    about = {"uid": "uid-apples"}
    cluster.runs = {"apples": manifest()}
    cluster.events = [
        {
            "metadata": {"creationTimestamp": "2026-03-01T08:00:00Z"},
            "involvedObject": about,
            "type": "Warning",
            "reason": "StepWaiting",
            "message": "later",
            "eventTime": "2026-03-01T08:00:00.000000Z",
            "series": {"count": 4, "lastObservedTime": "2026-03-01T09:00:00.000000Z"},
        },
        {
            "metadata": {},
            "involvedObject": about,
            "type": "Normal",
            "reason": "Started",
            "message": "sooner",
            "lastTimestamp": "2026-03-01T08:01:00Z",
            "count": 1,
        },
        {"metadata": {}, "involvedObject": {"uid": "of an earlier run of this name"}},
    ]
    assert kube.events(kube.run("apples")) == [
        EventLine("2026-03-01T08:01:00Z", "Normal", "Started", "sooner", 1),
        EventLine("2026-03-01T09:00:00.000000Z", "Warning", "StepWaiting", "later", 4),
    ]


def test_secret_is_decoded_or_none_where_it_may_not_be_read(kube: Kube, cluster: Cluster) -> None:
    cluster.secrets = {"s3": {"AWS_ACCESS_KEY_ID": "id"}}
    cluster.refuse = {"/api/v1/namespaces/orchard/secrets/closed": [403]}
    assert kube.secret("s3") == {"AWS_ACCESS_KEY_ID": "id"}
    assert kube.secret("closed") is None
    assert kube.secret("absent") is None


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (403, Exit.UNREACHABLE, "cannot list runs: the cluster refuses: refused with 403; ask for a role with this right"),
        (404, Exit.UNREACHABLE, "does not know activelearningruns.activelearning.dev; install alrun there"),
        (422, Exit.USAGE, "cannot list runs: refused with 422"),
        (503, Exit.UNREACHABLE, "answers 503: refused with 503; try again in a moment"),
    ],
)
def test_refusals_say_what_to_do(kube: Kube, cluster: Cluster, status: int, code: Exit, message: str) -> None:
    cluster.refuse = {ALL_RUNS: [status]}
    with pytest.raises(CliError) as caught:
        kube.runs(all_namespaces=True)
    assert message in str(caught.value)
    assert caught.value.code is code
    assert "\n" not in str(caught.value)


def test_run_that_is_not_there(kube: Kube) -> None:
    with pytest.raises(CliError) as caught:
        kube.run("plums")
    assert str(caught.value) == (
        "cannot get run orchard/plums: there is no such ActiveLearningRun; "
        "`alrun list -n orchard` shows those that are there"
    )
    assert caught.value.code is Exit.USAGE


def test_cluster_that_does_not_answer(tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    with serve(Cluster(), file):
        pass
    with pytest.raises(CliError, match=r"the cluster at http://127.0.0.1:\d+ does not answer: ") as caught:
        connect(kubeconfig=file).runs()
    assert caught.value.code is Exit.UNREACHABLE


def test_status_of_another_release_is_named(kube: Kube, cluster: Cluster) -> None:
    cluster.runs = {"apples": manifest(status={"phase": "Meditating"})}
    with pytest.raises(CliError, match="the status of run orchard/apples is not one this release of alrun can read"):
        kube.run("apples")


def test_follow_goes_on_where_the_watch_ended(kube: Kube, cluster: Cluster) -> None:
    cluster.runs = {"apples": manifest(version=3, status={"phase": "Preparing"})}
    cluster.watches = [
        watch_lines(
            ("BOOKMARK", {"metadata": {"resourceVersion": "4"}}),
            ("MODIFIED", manifest(version=5, status={"phase": "Selecting"})),
        ),
        watch_lines(("DELETED", manifest(version=6, status={"phase": "Selecting"}))),
    ]
    assert phases(list(kube.follow("apples"))) == ["Preparing", "Selecting", "Preparing", "Deleted"]
    assert cluster.watched_from == ["3", "3"]


def test_follow_survives_all_that_passes(kube: Kube, cluster: Cluster) -> None:
    cluster.runs = {"apples": manifest(version=3, status={"phase": "Training"})}
    gone = watch_lines(("ERROR", {"kind": "Status", "code": 410, "message": "too old"}))
    half_a_line = watch_lines(("MODIFIED", manifest()))[:40]
    cluster.watches = [gone, half_a_line, watch_lines(("DELETED", manifest()))]
    cluster.refuse = {f"{RUNS}/apples": []}
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)

    states = kube.follow("apples", sleep=pause)
    seen = [next(states)]
    cluster.refuse[f"{RUNS}/apples"] = [503, 429, 503]
    seen += states
    assert phases(seen) == ["Training", "Lost", "Lost", "Lost", "Training", "Training", "Deleted"]
    assert pauses == [1.0, 2.0, 4.0]


def test_follow_of_a_run_that_vanished_between_two_watches(kube: Kube, cluster: Cluster) -> None:
    cluster.runs = {"apples": manifest(status={"phase": "Training"})}
    states = kube.follow("apples")
    next(states)
    cluster.runs.clear()
    assert list(states) == [Deleted()]


def test_follow_gives_up_after_a_long_silence(kube: Kube, cluster: Cluster) -> None:
    cluster.runs = {"apples": manifest(status={"phase": "Training"})}
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    states = kube.follow("apples", sleep=sleep, clock=lambda: now)
    next(states)
    cluster.refuse = {f"{RUNS}/apples": [503] * 1000}
    silent: list[Followed] = []
    with pytest.raises(CliError, match="answers 503") as caught:
        silent.extend(states)
    assert caught.value.code is Exit.UNREACHABLE
    assert all(isinstance(state, Lost) for state in silent)
    assert PATIENCE < now <= PATIENCE + 15


def test_follow_does_not_wait_for_what_was_never_there(kube: Kube, cluster: Cluster) -> None:
    with pytest.raises(CliError, match="there is no such ActiveLearningRun"):
        list(kube.follow("plums"))
    cluster.refuse = {f"{RUNS}/apples": [503]}
    with pytest.raises(CliError, match="answers 503"):
        list(kube.follow("apples"))
