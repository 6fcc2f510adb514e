"""What runs a foreign program in its container, under real shells; and what the program's files are called."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alrun.engines import foreign
from alrun.engines.foreign import ImageSet, Stage, class_tokens, shell_command

SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]


@pytest.fixture(params=SHELLS)
def shell(request):
    return {"bash": ["bash", "--posix"], "busybox": ["busybox", "sh"]}.get(request.param, [request.param])


@pytest.fixture
def run(shell, tmp_path):
    """Run a stage's command as its container would, in a folder of its own; the finished process."""

    def start(stage, *command):
        sh, flag, script, *rest = shell_command(Stage(stage, command, "image"))
        assert (sh, flag, script) == ("/bin/sh", "-c", foreign.SCRIPT)
        script = script.replace(foreign.WORK, str(tmp_path)).replace("sleep 10;", "sleep 0.1;")
        return subprocess.Popen([*shell, "-c", script, *rest], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def finish(stage, *command):
        process = start(stage, *command)
        output, _ = process.communicate(timeout=20)
        return process.returncode, output

    finish.start = start
    return finish


def at(tmp_path, path):
    return tmp_path / Path(path).relative_to(foreign.WORK)


def test_both_shells_are_tried():
    assert {"dash", "bash"} <= set(SHELLS)


@pytest.mark.parametrize("code", [0, 1, 2, 75, 137, 255])
def test_the_exit_code_is_written_down_and_the_container_ends_well(run, tmp_path, code):
    assert run("train", "sh", "-c", f"exit {code}") == (0, "")
    assert at(tmp_path, foreign.exit_file("train")).read_text() == f"{code}\n"


def test_what_is_printed_is_in_the_log_and_in_the_file(run, tmp_path):
    code, output = run("train", "sh", "-c", "echo out; echo err >&2; printf 'no end of line'")
    assert (code, output) == (0, "out\nerr\nno end of line")
    assert at(tmp_path, foreign.log_file("train")).read_text() == output
    assert sorted(file.name for file in at(tmp_path, f"{foreign.STAGES}/train").iterdir()) == ["exit", "log"]


def test_folders_are_there_before_the_program(run, tmp_path):
    folders = [at(tmp_path, path) for path in (foreign.HOME, foreign.out("train"))]
    assert run("train", "ls", "-d", *map(str, folders)) == (0, "".join(f"{folder}\n" for folder in folders))


def test_a_stage_after_a_failed_one_is_skipped(run, tmp_path):
    run("prune-1", "sh", "-c", "exit 3")
    code, output = run("evaluate-1", "sh", "-c", "echo must not run")
    assert (code, output) == (0, "alrun: evaluate-1 is skipped, for an earlier stage ended with exit code 3\n")
    assert not at(tmp_path, foreign.exit_file("evaluate-1")).exists()


def test_a_stage_after_a_good_one_runs(run, tmp_path):
    run("evaluate", "true")
    assert run("inference", "echo", "here") == (0, "here\n")
    assert at(tmp_path, foreign.exit_file("inference")).read_text() == "0\n"


ARGUMENTS = ["$HOME", "$(id)", "`id`", "a b", "'", '"', "\\", "*", ";exit 9", "-n", "", "ä\nb"]


def test_arguments_arrive_untouched(run):
    expected = "".join(f"[{argument}]" for argument in ARGUMENTS)
    assert run("train", "sh", "-c", 'for a in "$@"; do printf "[%s]" "$a"; done', "sh", *ARGUMENTS) == (0, expected)


def test_a_program_that_is_not_there(run, tmp_path):
    code, output = run("train", "no-such-program")
    assert code == 0
    assert "no-such-program" in output
    assert "not found" in output
    assert at(tmp_path, foreign.exit_file("train")).read_text() == "127\n"


def test_a_program_reads_nothing(run):
    assert run("train", "cat") == (0, "")


def test_sigterm_is_passed_on_and_waited_for(run, tmp_path):
    process = run.start("train", "sh", "-c", "trap 'echo saved; exit 7' TERM; echo ready; while :; do sleep 0.05; done")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=20)
    assert (process.returncode, output) == (143, "saved\n")
    assert at(tmp_path, foreign.exit_file("train")).read_text() == "7\n"
    assert at(tmp_path, foreign.log_file("train")).read_text() == "ready\nsaved\n"


def test_a_program_that_ends_at_sigterm(run, tmp_path):
    process = run.start("train", "sh", "-c", "echo ready; exec sleep 60")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 143
    assert at(tmp_path, foreign.exit_file("train")).read_text() == "143\n"


def test_a_process_that_the_program_left_behind_holds_nothing_up(run, tmp_path):
    assert run("train", "sh", "-c", "sleep 5 & echo started") == (0, "started\n")
    assert at(tmp_path, foreign.exit_file("train")).read_text() == "0\n"


def test_kubernetes_finds_nothing_to_replace_in_the_script():
    assert "$(" not in foreign.SCRIPT
    assert "$$" not in foreign.SCRIPT


def test_names_of_files():
    assert foreign.staged_name(7, "JPG") == "00000007.jpg"
    assert foreign.images(ImageSet.POOL) == "/alrun/data/pool/images"
    assert foreign.labels(ImageSet.VAL) == "/alrun/data/val/labels"
    assert foreign.coco(ImageSet.TEST) == "/alrun/data/test.json"
    assert foreign.spec_file("evaluate-1", "txt") == "/alrun/specs/evaluate-1.txt"
    assert foreign.model(".hdf5") == "/alrun/models/model.hdf5"
    assert foreign.start(".pth") == "/alrun/models/start.pth"
    assert foreign.out("train") == "/alrun/out/train"


@pytest.mark.parametrize(
    ("uri", "suffix"),
    [("s3://b/p/model.hdf5", ".hdf5"), ("a.b/model", ""), ("a/.model", ""), ("model.tar.gz", ".gz"), ("", "")],
)
def test_suffix(uri, suffix):
    assert foreign.suffix(uri) == suffix


def test_class_tokens():
    classes = ["Apple", "green pear", "PLUM", "plum", "x" * 41, "top_left-1", "Äpfel"]
    assert class_tokens(classes) == {
        "Apple": "apple",
        "green pear": "class_001",
        "PLUM": "class_002",
        "plum": "class_003",
        "x" * 41: "class_004",
        "top_left-1": "top_left-1",
        "Äpfel": "class_006",
    }


def test_a_class_that_is_called_like_a_token_keeps_its_name():
    assert class_tokens(["class_001", "two words"]) == {"class_001": "class_001", "two words": "class_001_"}


@given(
    st.lists(st.one_of(st.text(min_size=1, max_size=45), st.from_regex(r"[cC]lass_00[0-9]_*", fullmatch=True)), unique=True)
)
def test_tokens_are_unique_and_plain(classes):
    tokens = class_tokens(classes)
    assert list(tokens) == classes
    assert len(set(tokens.values())) == len(classes)
    assert all(re.fullmatch(r"[-a-z0-9_]+", token) for token in tokens.values())
