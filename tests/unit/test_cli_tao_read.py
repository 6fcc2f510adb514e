from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer

from alrun.cli import tao_read
from alrun.cli.errors import CliError, Exit
from alrun.cli.main import main
from alrun.cli.tao_read import Kind, kind_of
from alrun.engines.tao.reading.reader import Reader

LOG = (
    "2022-01-18 02:35:26,737 [INFO] iva.yolo_v4: Loading\n"
    "Epoch 2/2\n9/9 [===] - 1s 1s/step - loss: 2.5\n"
    "apple         AP    0.5\n              mAP   0.5\n"
    "\nEpoch 00002: saving model to /out/weights/yolov4_resnet18_epoch_002.hdf5\nExecution status: PASS\n"
)
STATUS = (
    '{"date": "7/4/2023", "status": "STARTED", "message": "Starting Yolo_V4 Training job"}\n'
    '{"epoch": 2, "max_epoch": 2, "status": "RUNNING", "message": "Training loop in progress", "graphical": '
    '{"loss": "2.5", "mean average precision": "0.5"}, "kpi": {"mean average precision": "0.5"}}\n'
    '{"status": "SUCCESS", "message": "YOLO_V4 training finished successfully."}\n'
)
TABLE = "epoch,AP_apple,loss,lr,mAP,validation_loss\n2,0.5,2.5,0.0001,0.5,1.5\n"


def run(*arguments: str) -> int:
    """The command by itself; how it is found below `alrun tao` is another test's matter."""
    app = typer.Typer(rich_markup_mode=None)
    app.command()(tao_read.read)
    return app(args=list(arguments), standalone_mode=False) or Exit.OK


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, text in (("one", LOG), ("two", STATUS), ("three", TABLE)):
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (LOG, Kind.LOG),
        (STATUS, Kind.STATUS),
        (STATUS[30:], Kind.STATUS),
        (TABLE, Kind.TABLE),
        ("\nAP_a,epoch,loss\n", Kind.TABLE),
        ("", Kind.LOG),
        ("epoch\n1\n", Kind.LOG),
        ("{'epoch': 1}\n", Kind.LOG),
        ('{"a": 1}\n', Kind.LOG),
        ("Traceback\n" * 9 + '{"status": 1}\n', Kind.LOG),
    ],
)
def test_the_kind_is_told_by_the_content(text: str, kind: Kind) -> None:
    assert kind_of(text) is kind


def test_all_that_is_understood(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("one", "two", "three") == Exit.OK
    assert json.loads(capsys.readouterr().out) == {
        "files": {"one": "log", "two": "status", "three": "table"},
        "dialect": "tao5",
        "action": "train",
        "network": "yolo_v4",
        "epochs": [
            {
                "epoch": 2,
                "total": 2,
                "loss": 2.5,
                "validationLoss": 1.5,
                "learningRate": 0.0001,
                "metrics": {"mAP50": 0.5},
                "classAp": {"apple": 0.5},
                "complete": True,
            }
        ],
        "totalEpochs": 2,
        "done": 2,
        "total": 2,
        "unit": "epochs",
        "metrics": {"mAP50": 0.5},
        "classAp": {"apple": 0.5},
        "checkpoints": {"2": "/out/weights/yolov4_resnet18_epoch_002.hdf5"},
        "statusSeen": True,
        "started": True,
        "finished": True,
        "finishedAction": "train",
        "terminal": "SUCCESS",
        "saidFinished": False,
        "failed": False,
        "interrupted": False,
        "execution": "PASS",
        "message": "YOLO_V4 training finished successfully.",
        "outcome": {"result": "Succeeded", "message": "train (tao5) after 2 of 2 epochs: mAP50 0.5"},
    }


def test_why_a_run_was_judged_as_it_was(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "one").write_text("Batch 3: Invalid loss, terminating training\n")
    assert run("one", "two", "--exit-code", "0") == Exit.NEGATIVE
    outcome = json.loads(capsys.readouterr().out)["outcome"]
    assert (outcome["result"], outcome["reason"]) == ("Failed", "LossNotFinite")
    assert "Batch 3: Invalid loss, terminating training" in outcome["message"]
    assert "learningRate" in outcome["remedy"]


def test_standard_input_and_what_it_does_not_tell(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(text: str, *options: str) -> dict[str, str]:
        monkeypatch.setattr(tao_read.sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))
        code = run("-", *options)
        found = json.loads(capsys.readouterr().out)["outcome"]
        assert code == (Exit.OK if found["result"] == "Succeeded" else Exit.NEGATIVE)
        return found

    assert read("nothing of TAO's\n") == {
        "result": "Unknown",
        "message": "what was read does not tell: state --network and --action",
    }
    assert read("nothing of TAO's\n", "--network", "rtdetr")["message"].endswith("state --action")
    told = ("--network", "rtdetr", "--tao-version", "6.0", "--action", "export")
    assert read("Execution status: PASS\n", *told) == {"result": "Succeeded", "message": "export (pyt6)"}
    assert read("Execution status: FAIL\n", *told)["reason"] == "EngineFailed"
    assert read(LOG.replace(".hdf5", ".tlt"))["message"].startswith("train (tao4)")
    ended = (
        '{"status": "STARTED", "message": "Starting DINO export."}\n'
        '{"status": "SUCCESS", "message": "Export finished successfully"}'
    )
    assert read(ended) == {"result": "Succeeded", "message": "export (pyt5.0)"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none"], "none cannot be read: No such file or directory; name a log, a status.json or a training's .csv"),
        (["."], ". cannot be read: Is a directory"),
        (["one", "--network", "ssd"], "--network ssd is not known; choose one of yolo_v4, rtdetr"),
        (["one", "--action", "fly"], "--action fly is not known; choose one of train, retrain"),
        (["one", "--network", "rtdetr", "--tao-version", "5.0"], "TAO 5.0 has no rtdetr"),
        (["one", "--network", "rtdetr", "--tao-version", "new"], "--tao-version new is no version; write it like 5.0"),
    ],
)
def test_what_cannot_be_read(folder: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(CliError) as error:
        run(*arguments)
    assert message in str(error.value)
    assert error.value.code == Exit.USAGE


def test_it_is_a_command_of_alrun(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tao", "read", "one"]) == Exit.OK
    assert json.loads(capsys.readouterr().out)["files"] == {"one": "log"}
    assert main(["tao", "read", "none"]) == Exit.USAGE
    assert capsys.readouterr().err.startswith("error: none cannot be read: No such file or directory")


def test_a_table_has_an_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tao_read, "MAX_TABLE", 10)
    monkeypatch.setattr(tao_read, "CHUNK", 16)
    with pytest.raises(CliError, match="is a table of more than"):
        tao_read.read_file("three", Reader())
