from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from alrun.api.status import Progress
from alrun.cli.durations import short_duration
from alrun.cli.render import (
    change_line,
    cycle_rows,
    list_rows,
    notes,
    progress_text,
    size_text,
    table_text,
    tables,
    tradeoff_rows,
    verdict,
)
from alrun.cli.view import RunView

from .cli_cluster import manifest

AT = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)

CYCLES = [
    {
        "cycle": 0,
        "images": 100,
        "boxes": 3011,
        "newImages": 100,
        "metrics": {"mAP50": 0.47},
        "startedAt": "2026-03-01T08:00:00Z",
        "finishedAt": "2026-03-01T08:12:30Z",
    },
    {
        "cycle": 1,
        "images": 200,
        "boxes": 6020,
        "newImages": 100,
        "metrics": {"mAP50": 0.58},
        "startedAt": "2026-03-01T08:12:30Z",
        "finishedAt": "2026-03-01T09:17:30Z",
    },
    {"cycle": 2, "images": 300, "boxes": 9120, "newImages": 100, "startedAt": "2026-03-01T09:17:30Z"},
]

TRAINING = {
    "phase": "Training",
    "observedGeneration": 1,
    "startedAt": "2026-03-01T08:00:00Z",
    "cycle": 2,
    "cyclesDone": 2,
    "step": {
        "name": "train",
        "cycle": 2,
        "attempt": 2,
        "progress": {"done": 31, "total": 50, "unit": "epochs", "eta": "12m", "metrics": {"loss": 0.41234}},
    },
    "labels": {"images": 300, "boxes": 9120, "budget": {"images": 500}},
    "best": {"cycle": 1, "metric": "mAP50", "value": 0.58, "model": "s3://orchard/out/runs/orchard/apples/m.npz"},
    "cycles": CYCLES,
}


def run(**status: object) -> RunView:
    return RunView.read(manifest(status={**TRAINING, **status}))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s"),
        (0, "0s"),
        (45, "45s"),
        (60, "1m"),
        (330, "5m30s"),
        (720, "12m"),
        (3600, "1h"),
        (11100, "3h5m"),
        (86400, "1d"),
        (187200, "2d4h"),
    ],
)
def test_short_duration(seconds: int, text: str) -> None:
    assert short_duration(timedelta(seconds=seconds)) == text


def test_progress_names_figures_and_time_left() -> None:
    progress = Progress(done=31, total=50, unit="epochs", eta="12m", metrics={"loss": 0.41234, "acc": 1.0})
    assert progress_text(progress) == "31/50 epochs, acc 1, loss 0.4123, 12m left"


def test_change_line_tells_all_in_one_line() -> None:
    assert change_line(run(), AT) == (
        "2026-03-01T09:30:00Z  Training  cycle 2 (2 of 5 done)  train (attempt 2): 31/50 epochs, loss 0.4123, 12m left  "
        "300/500 images, 9120 boxes  best mAP50 0.580 in cycle 1"
    )


def test_change_line_names_the_reason_of_waiting() -> None:
    waiting = {"reason": "Unschedulable", "message": "0/3 nodes: no GPU", "since": "2026-03-01T09:00:00Z"}
    line = change_line(run(step={"name": "train", "cycle": 2, "waiting": waiting}, best=None), AT)
    assert line == (
        "2026-03-01T09:30:00Z  Training  cycle 2 (2 of 5 done)  train: waiting: Unschedulable: 0/3 nodes: no GPU  "
        "300/500 images, 9120 boxes"
    )


def test_change_line_of_a_changed_spec_says_that_it_is_not_seen() -> None:
    changed = RunView.read(manifest(status={"phase": "Succeeded", "observedGeneration": 1}, generation=2))
    assert change_line(changed, AT).endswith("the latest change of the spec is not seen by the operator yet")


def test_change_line_of_a_spec_to_be_mended_says_what_is_wrong() -> None:
    condition = {"type": "Stalled", "status": "True", "reason": "InvalidSpec", "lastTransitionTime": "2026-03-01T09:20:00Z"}
    stalled = RunView.read(
        manifest(status={"why": "InvalidSpec", "message": "spec.seed: -1", "conditions": [condition]}, generation=2)
    )
    assert change_line(stalled, AT) == (
        "2026-03-01T09:30:00Z  Pending  cycle 0 (0 of 5 done)  InvalidSpec: spec.seed: -1  0 images, 0 boxes"
    )


def test_cycle_table() -> None:
    assert table_text(cycle_rows(run())).splitlines() == [
        "CYCLE  IMAGES  BOXES  NEW  MAP50  GAIN    TIME",
        "0      100     3011   100  0.470          12m",
        "1      200     6020   100  0.580  +0.110  1h5m",
        "2      300     9120   100",
    ]


def test_cycle_table_with_a_comparison_arm() -> None:
    arm = {"images": 200, "boxes": 5500, "metrics": {"mAP50": 0.5125}}
    cycles = [CYCLES[0], {**CYCLES[1], "control": arm}, {**CYCLES[2], "control": {"images": 300}}]
    assert table_text(cycle_rows(run(cycles=cycles))).splitlines() == [
        "CYCLE  IMAGES  BOXES  NEW  MAP50  GAIN    RANDOM              TIME",
        "0      100     3011   100  0.470                              12m",
        "1      200     6020   100  0.580  +0.110  0.512 (5500 boxes)  1h5m",
        "2      300     9120   100",
    ]


CONTROL = {
    "verdict": "Better",
    "metric": "mAP50",
    "difference": 0.05,
    "low": 0.01,
    "high": 0.0901,
    "savedImages": 52,
    "savedBoxes": -140,
    "savedSeconds": 3720.5,
    "message": "Better than random: in full.",
}


@pytest.mark.parametrize(
    ("control", "line"),
    [
        (
            CONTROL,
            "Selection: better than random: mAP50 +0.050 (+0.010 to +0.090) at equal boxes; random needed 52 images more, "
            "140 boxes fewer, 1h2m of annotators more for the best mAP50",
        ),
        (
            {"verdict": "NoDifference", "metric": "mAP", "difference": -0.004, "low": -0.03, "high": 0.02, "savedBoxes": 9},
            "Selection: no difference from random that the test set could show: mAP -0.004 (-0.030 to +0.020) at equal "
            "boxes",
        ),
        (
            {"verdict": "Worse", "metric": "mAP", "difference": -0.04, "low": -0.05, "high": -0.03},
            "Selection: worse than random: mAP -0.040 (-0.050 to -0.030) at equal boxes",
        ),
    ],
)
def test_whether_the_selection_was_worth_it(control: dict[str, object], line: str) -> None:
    assert notes(run(control=control)) == [line]
    assert line in verdict(run(phase="Succeeded", control=control))


def test_gain_is_over_the_best_before_and_not_over_the_last() -> None:
    cycles = [{"cycle": number, "metrics": {"mAP50": value}} for number, value in enumerate([0.5, 0.4, 0.45])]
    assert [row[5] for row in cycle_rows(run(cycles=cycles))] == ["GAIN", "", "-0.100", "-0.050"]


def test_verdict_of_success() -> None:
    ended = run(
        phase="Succeeded",
        stop={"reason": "TargetReached", "message": "mAP50 is 0.910, the target is 0.9"},
        artifacts={"report": "s3://orchard/out/runs/orchard/apples/report/index.html"},
        cost={"podSeconds": 4000.0, "gpuSeconds": 600.0, "jobs": 21},
    )
    assert verdict(ended) == [
        "Succeeded: TargetReached: mAP50 is 0.910, the target is 0.9",
        "Best model: mAP50 0.580 in cycle 1: s3://orchard/out/runs/orchard/apples/m.npz",
        "Report: s3://orchard/out/runs/orchard/apples/report/index.html (alrun report apples -n orchard)",
        "Cost: 21 Jobs, 1h6m of pods, 10m of GPUs",
    ]


COMPRESSION = {
    "cycle": 1,
    "tradeoff": [
        {"threshold": 0, "ratio": 1.0, "size": 243_000_000, "metric": 0.58},
        {"threshold": 0.1, "ratio": 0.62, "size": 150_400_000, "metric": 0.578},
        {"threshold": 0.5, "ratio": 0.269, "size": 22_300_000, "metric": 0.571},
        {"threshold": 0.7, "ratio": 0.04, "size": 999_949, "metric": 0.11},
    ],
    "chosen": 0.5,
    "model": "s3://orchard/out/c1/retrain/model/yolov4.hdf5",
    "metrics": {"mAP50": 0.575},
    "artifacts": {"onnx": "s3://orchard/out/c1/export/files/model.onnx", "calibration": "s3://orchard/out/cal.json"},
}


def test_tradeoff_table() -> None:
    _, table = tables(run(compression=COMPRESSION))
    assert table.splitlines() == [
        "THRESHOLD  WEIGHTS  SIZE      MAP",
        "unpruned   100%     243.0 MB  0.580",
        "0.1        62%      150.4 MB  0.578",
        "0.5        27%      22.3 MB   0.571  chosen",
        "0.7        4%       999.9 kB  0.110",
    ]


def test_nothing_pruned_is_no_table() -> None:
    assert tradeoff_rows(run()) == []
    assert tradeoff_rows(run(compression={"cycle": 1, "artifacts": {"onnx": "s3://o/m.onnx"}})) == []


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (22_340_000, "22.3 MB"), (3 * 10**15, "3000.0 TB")]
)
def test_size_of_a_file(size: int, text: str) -> None:
    assert size_text(size) == text


def test_verdict_tells_what_became_of_the_compressed_model() -> None:
    assert verdict(run(phase="Succeeded", compression=COMPRESSION))[2:] == [
        "Compressed model of cycle 1: mAP50 0.575, 0.580 before: s3://orchard/out/c1/retrain/model/yolov4.hdf5",
        "Exported calibration: s3://orchard/out/cal.json",
        "Exported onnx: s3://orchard/out/c1/export/files/model.onnx",
    ]


def test_verdict_tells_that_no_pruned_model_was_good_enough() -> None:
    kept = {**COMPRESSION, "chosen": None, "model": None, "metrics": {}, "artifacts": {}}
    assert verdict(run(phase="Succeeded", compression=kept))[2:] == [
        "The model of cycle 1 stays as it is: no threshold makes a smaller one within compression.prune.maxMetricLoss"
    ]


def test_a_model_that_is_not_assessed_yet_has_no_figures() -> None:
    early = {**COMPRESSION, "metrics": {}, "artifacts": {}}
    assert verdict(run(phase="Succeeded", compression=early))[-1] == (
        "Compressed model of cycle 1: s3://orchard/out/c1/retrain/model/yolov4.hdf5"
    )


def test_notes_of_what_the_run_found_by_itself() -> None:
    found = run(batchSize=2, anchors=[{"width": 15.64, "height": 12}, {"width": 29.333333, "height": 27}])
    assert notes(found) == [
        "Batch size: 2, lowered because GPU memory had run out",
        "Anchors (found by kmeans, in pixels): 15.64 x 12, 29.33 x 27",
    ]
    assert verdict(found)[-2:] == notes(found)
    assert notes(run()) == []


def test_change_line_says_whose_model_is_compressed() -> None:
    line = change_line(run(phase="Pruning", step={"name": "prune", "cycle": 1}), AT)
    assert "  prune of cycle 1's model  " in line


def test_verdict_of_failure() -> None:
    failure = {"reason": "OutOfMemory", "message": "killed at 2Gi", "remedy": "Raise the limit.", "step": "2/train"}
    assert verdict(run(phase="Failed", failure=failure, best=None)) == [
        "Failed in 2/train: OutOfMemory: killed at 2Gi",
        "To do: Raise the limit.",
    ]


def test_list_has_the_columns_of_kubectl() -> None:
    entry = run(cyclesSummary="2/5", progressSummary="train 62%", labelsSummary="300/500", metricSummary="0.580", why="")
    assert table_text(list_rows([entry], AT, with_namespace=True)).splitlines() == [
        "NAMESPACE  NAME    PHASE     CYCLE  STEP       LABELS   METRIC  WHY  AGE",
        "orchard    apples  Training  2/5    train 62%  300/500  0.580        1h30m",
    ]
    assert list_rows([], AT, with_namespace=False) == [["NAME", "PHASE", "CYCLE", "STEP", "LABELS", "METRIC", "WHY", "AGE"]]
