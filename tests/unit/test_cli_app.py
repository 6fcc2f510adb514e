from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from alrun.api.step import CYCLE_STEPS, START_STEPS
from alrun.cli import app
from alrun.cli.app import COMMANDS, load, program_name, wanted_command
from alrun.cli.completion import complete_steps
from alrun.cli.errors import Exit
from alrun.cli.main import main

from .cli_cluster import SPEC, Cluster, manifest, serve

FAILED = {
    "phase": "Failed",
    "observedGeneration": 1,
    "startedAt": "2026-03-01T08:00:00Z",
    "failure": {"reason": "OutOfMemory", "message": "killed at 2Gi", "step": "0/train"},
    "cycles": [{"cycle": 0, "results": {"select": "a", "annotate": "b"}}],
}


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.chdir(tmp_path)
    found = Cluster()
    with serve(found, tmp_path / "config"):
        yield found


def alrun(*arguments: str) -> int:
    return main([*arguments, "--kubeconfig", "config"])


def imported_by(*arguments: str) -> set[str]:
    """Top-level modules that a command imports, the package's own with their dots."""
    code = (
        "import sys; from alrun.cli.main import main; code = main(sys.argv[1:]); "
        "print('\\n' + ' '.join(sys.modules)); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_help_pays_for_nothing_but_itself() -> None:
    assert not imported_by("--help") & {"pydantic", "yaml", "kubernetes", "rich", "numpy", "boto3", "pyarrow", "jax"}


def test_commands_without_a_cluster_import_no_client_for_one() -> None:
    assert not imported_by("validate", "--help") & {"kubernetes", "rich", "numpy", "boto3", "jax"}


def test_a_step_is_told_apart_before_the_command_line_is_imported() -> None:
    found = imported_by("step", "--help")
    assert not found & {"typer", "rich", "kubernetes", "pydantic"}
    assert {name for name in found if name.startswith("alrun.cli")} == {"alrun.cli", "alrun.cli.main"}


def test_step_runs_the_step_and_passes_its_exit_code_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str | None]] = []

    def run(name: str, *, part: str | None) -> int:
        seen.append((name, part))
        return 75

    monkeypatch.setattr("alrun.steps.run.main", run)
    assert main(["step", "train"]) == 75
    assert main(["step", "infer", "--stage", "watch"]) == 75
    assert seen == [("train", None), ("infer", "watch")]


@pytest.mark.parametrize("words", [[], ["train", "in"], ["train", "--stage"], ["train", "--stage", "up"], ["--stage", "in"]])
def test_step_without_a_name_says_how(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert main(["step", *words]) == Exit.USAGE
    assert capsys.readouterr().err.startswith("usage: alrun step NAME")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_of_each_command_what_the_command_says_of_itself(name: str) -> None:
    target, summary = COMMANDS[name]
    assert inspect.getdoc(load(target)).split(". ")[0].split(".\n")[0].rstrip(".") == summary.rstrip(".")  # type: ignore[union-attr]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == Exit.OK
    assert capsys.readouterr().out.startswith(f"Usage: alrun {name} ")


def test_unknown_commands_are_answered_with_a_guess(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["wach"]) == Exit.USAGE
    assert "No such command 'wach'. Did you mean 'watch'?" in capsys.readouterr().err


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def load(target: str) -> None:
        raise ModuleNotFoundError("No module named 'pyarrow'", name="pyarrow")

    monkeypatch.setattr(app, "load", load)
    assert main(["check", "x", "-f", "voc"]) == Exit.USAGE
    assert capsys.readouterr().err == (
        "error: this command needs the module pyarrow, which is not installed; install alrun with the extras it is in: "
        "pip install 'alrun[cli,worker]'\n"
    )


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version", "-o", "json"]) == Exit.OK
    assert json.loads(capsys.readouterr().out)["apiVersion"] == "activelearning.dev/v1alpha1"


def test_name_of_the_program() -> None:
    assert program_name("/usr/local/bin/kubectl-alrun") == "kubectl alrun"
    assert program_name("/usr/local/bin/alrun") == "alrun"


def test_shell_completion_offers_runs(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.runs = {"apples": manifest(status=FAILED), "pears": manifest("pears", status={"phase": "Training"})}
    monkeypatch.setenv("_ALRUN_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "alrun watch --kubeconfig config ap")
    monkeypatch.setenv("COMP_CWORD", "4")
    assert main([]) == Exit.OK
    assert capsys.readouterr().out == "apples\n"


def test_shell_completion_without_a_cluster_offers_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_ALRUN_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"alrun watch --kubeconfig {tmp_path}/config ap")
    monkeypatch.setenv("COMP_CWORD", "4")
    assert main([]) == Exit.OK
    assert capsys.readouterr().out == "\n"


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("", []),
        ("t", []),
        ("0", [f"0/{step}" for step in (*START_STEPS, *CYCLE_STEPS)]),
        ("2/t", ["2/train"]),
        ("12/", [f"12/{step}" for step in CYCLE_STEPS]),
        ("2/pr", ["2/prune"]),
        ("1/k", ["1/kmeans"]),
        ("2/fetch", []),
        ("2/prepare", []),
    ],
)
def test_places_offered_after_tab(typed: str, offered: list[str]) -> None:
    assert complete_steps(typed) == offered


@pytest.mark.parametrize(
    ("arguments", "environ", "wanted"),
    [
        (["watch", "x"], {}, ["watch"]),
        ([], {}, []),
        ([], {"_ALRUN_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": "alrun watch ap"}, ["watch"]),
        ([], {"_ALRUN_COMPLETE": "complete_bash", "COMP_WORDS": "kubectl alrun watch ap"}, ["watch"]),
        (["list"], {"COMP_WORDS": "left over from the shell"}, ["list"]),
    ],
)
def test_only_the_command_that_is_asked_for_is_loaded(
    arguments: list[str], environ: dict[str, str], wanted: list[str]
) -> None:
    assert wanted_command(arguments, environ) == wanted


def test_list(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert alrun("list") == Exit.OK
    assert capsys.readouterr().err == "There is no run in namespace orchard.\n"
    cluster.runs = {"apples": manifest(status=FAILED)}
    assert alrun("list", "-A", "-o", "json") == Exit.OK
    assert [run["phase"] for run in json.loads(capsys.readouterr().out)] == ["Failed"]
    assert alrun("list") == Exit.OK
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == ["apples", "Failed"]


def test_watch_of_a_failed_run(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.runs = {"apples": manifest(status=FAILED)}
    assert alrun("watch", "apples") == Exit.NEGATIVE
    assert capsys.readouterr().out.splitlines()[-1] == "Failed in 0/train: OutOfMemory: killed at 2Gi"


def test_watch_stops_cleanly(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object) -> Exit:
        raise KeyboardInterrupt

    monkeypatch.setattr("alrun.cli.watch.watch_to_end", interrupted)
    assert alrun("watch", "apples") == Exit.INTERRUPTED
    assert capsys.readouterr().err == "Stopped watching; the run goes on.\n"


def test_explain_stands_without_the_right_to_read_events(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.runs = {"apples": manifest(status=FAILED)}
    cluster.refuse = {"/api/v1/namespaces/orchard/events": [403]}
    assert alrun("explain", "apples") == Exit.OK
    shown = capsys.readouterr()
    assert "Reason: OutOfMemory" in shown.out
    assert shown.err.startswith("note: cannot list events of run orchard/apples: the cluster refuses")
    assert alrun("explain", "apples", "-o", "json") == Exit.OK
    assert json.loads(capsys.readouterr().out)["events"] == []


def test_explain_tells_what_the_run_changed_by_itself(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    training = {"phase": "Training", "observedGeneration": 1, "step": {"name": "train", "cycle": 1}, "batchSize": 2}
    cluster.runs = {"apples": manifest(status=training)}
    assert alrun("explain", "apples") == Exit.OK
    assert capsys.readouterr().out.splitlines()[-1] == "Batch size: 2, lowered because GPU memory had run out"


def test_retry_asks_anew_each_time(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.runs = {"apples": manifest(status=FAILED)}
    assert alrun("retry", "apples") == Exit.OK
    assert capsys.readouterr().out == "run orchard/apples is asked to restart from 0/train\n"
    assert alrun("retry", "apples", "--from", "0/select") == Exit.OK
    values = [patch["metadata"]["annotations"]["activelearning.dev/retry"] for _, patch in cluster.patches]
    assert [value.split("@")[0] for value in values] == ["0/train", "0/select"]
    assert len({value.split("@")[1] for value in values}) == 2


def test_refused_retry_changes_nothing(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.runs = {"apples": manifest(status=FAILED)}
    assert alrun("retry", "apples", "--from", "3/train") == Exit.USAGE
    assert capsys.readouterr().err.startswith("error: run orchard/apples cannot be restarted from 3/train: cycle 3 is not")
    assert cluster.patches == []


def test_suspend_and_resume(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.runs = {"apples": manifest(spec=json.loads(json.dumps(SPEC)), status={"phase": "Training"})}
    assert alrun("resume", "apples") == Exit.OK
    assert alrun("suspend", "apples") == Exit.OK
    assert alrun("suspend", "apples", "-o", "json") == Exit.OK
    assert alrun("resume", "apples") == Exit.OK
    assert cluster.patches == [("apples", {"spec": {"suspend": True}}), ("apples", {"spec": {"suspend": False}})]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "run orchard/apples is not suspended; nothing changed"
    assert lines[1] == "run orchard/apples will be suspended: its Job is ended"
    assert json.loads(lines[2]) == {
        "namespace": "orchard",
        "name": "apples",
        "suspend": True,
        "message": "run orchard/apples is suspended already; nothing changed",
    }
    assert lines[3] == "run orchard/apples goes on"


def test_report_goes_where_it_is_asked_to(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("alrun.cli.report.fetch_report", lambda store, environ, file: b"<html>")
    cluster.runs = {"apples": manifest(status={**FAILED, "artifacts": {"report": "s3://o/report/index.html"}})}
    assert alrun("report", "apples") == Exit.OK
    assert capsys.readouterr().out == f"{tmp_path / 'apples-report.html'}\n"
    assert (tmp_path / "apples-report.html").read_bytes() == b"<html>"
    assert alrun("report", "apples", "--to", "-") == Exit.OK
    assert capsys.readouterr().out == "<html>"
    assert alrun("report", "apples", "--to", "nowhere/x.html") == Exit.USAGE
    assert "nowhere/x.html: No such file or directory; choose another place with --to" in capsys.readouterr().err


def test_report_says_whether_the_selection_was_worth_it(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("alrun.cli.report.fetch_report", lambda store, environ, file: b"<html>")
    control = {"verdict": "Worse", "metric": "mAP50", "difference": -0.04, "low": -0.05, "high": -0.03}
    status = {"phase": "Training", "artifacts": {"report": "s3://o/report/index.html"}, "control": control}
    cluster.runs = {"apples": manifest(status=status)}
    assert alrun("report", "apples") == Exit.OK
    shown = capsys.readouterr()
    assert shown.out.endswith("apples-report.html\n")
    assert shown.err == "Selection: worse than random: mAP50 -0.040 (-0.050 to -0.030) at equal boxes\n"
    assert alrun("report", "apples", "--output", "json") == Exit.OK
    assert json.loads(capsys.readouterr().out)["control"] == {**control, "message": ""}


def test_run_that_is_not_there(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert alrun("explain", "plums") == Exit.USAGE
    assert capsys.readouterr().err.startswith("error: cannot get run orchard/plums: there is no such ActiveLearningRun")
