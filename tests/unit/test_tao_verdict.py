"""Judging a stage of TAO: what counts as done, and every way in which it was not."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alrun.api.status import Progress
from alrun.api.step import ExitCode
from alrun.engines.tao.actions import Action
from alrun.engines.tao.dialects import DIALECTS, PYT5_0, PYT7, TAO3, TAO4, TAO5, Dialect, Framework
from alrun.engines.tao.reading.reader import Reader, Reading
from alrun.engines.tao.reading.signs import Symptom
from alrun.engines.tao.verdict import _ONLY_IF_FAILED, _SYMPTOMS, REASONS, Artefacts, Reason, judge, progress

EPOCHS = 2


def log_of(dialect: Dialect, action: Action) -> str:
    """What the action prints when all goes well."""
    lines = {
        Action.EVALUATE: "a             AP    0.5\n              mAP   0.5\n",
        Action.PRUNE: "Pruning ratio (pruned model / original model): 0.25\n",
        Action.KMEANS: "Please use following anchor sizes in YOLO config:\n(1.00, 2.00)\n(3.00, 4.00)\n(5.00, 6.00)\n",
    }
    if action in (Action.TRAIN, Action.RETRAIN):
        if dialect.framework is Framework.TF1:
            epochs = (f"Epoch {n}/{EPOCHS}\n9/9 [===] - 1s 1s/step - loss: 2.5\n" for n in range(1, EPOCHS + 1))
        else:
            epochs = (f"\rEpoch {n}: 100%|███| 9/9 [00:01<00:00, train_loss=2.5]\n" for n in range(EPOCHS))
        return "".join(epochs) + "Execution status: PASS\n"
    return lines.get(action, "") + "Execution status: PASS\n"


def status_of(dialect: Dialect, action: Action) -> str:
    line = dialect.finished[action if action in dialect.finished else Action.TRAIN]
    kpi = {"mAP": 0.5} if action is Action.EVALUATE and dialect.framework is Framework.TF1 else {}
    return json.dumps({"status": line.status, "message": line.message, "kpi": kpi}) + "\n"


def checkpoint(dialect: Dialect, epoch: int) -> str:
    number = epoch - 1 + dialect.checkpoint_base
    return (
        f"yolov4_resnet18_epoch_{number:03d}{dialect.checkpoint_suffix}"
        if dialect.framework is Framework.TF1
        else (f"model_epoch_{number:03d}.pth")
    )


def artefacts_of(dialect: Dialect, action: Action) -> Artefacts:
    if action in (Action.TRAIN, Action.RETRAIN):
        latest = True if dialect.framework is Framework.PYTORCH else None
        return Artefacts(checkpoints=(checkpoint(dialect, EPOCHS),), latest=latest, epochs=EPOCHS)
    if action is Action.INFERENCE:
        return Artefacts(labels=7, images=7)
    if action in (Action.PRUNE, Action.EXPORT):
        return Artefacts(output="model.out", output_size=100)
    return Artefacts(anchors=3) if action is Action.KMEANS else Artefacts()


def reading_of(log: str = "", status: str = "", csv: str = "") -> Reading:
    reader = Reader()
    reader.feed(log)
    reader.status(status)
    reader.csv(csv)
    return reader.reading


CASES = [(dialect, action) for dialect in DIALECTS for action in Action if action in dialect.finished]
TRUSTED = [case for case in CASES if case[0].trusted]
IDS = {"ids": lambda value: value.name if isinstance(value, Dialect) else str(value)}


@pytest.mark.parametrize(("dialect", "action"), CASES, **IDS)
def test_done(dialect: Dialect, action: Action) -> None:
    reading = reading_of(log_of(dialect, action), status_of(dialect, action))
    verdict = judge(dialect, action, 0, reading, artefacts_of(dialect, action))
    assert (verdict.ok, verdict.reason, verdict.exit_code, verdict.remedy) == (True, None, ExitCode.DONE, "")
    assert f"{action.value} ({dialect.name})" in verdict.message


@pytest.mark.parametrize(("dialect", "action"), TRUSTED, **IDS)
def test_an_exit_code_of_0_is_not_enough(dialect: Dialect, action: Action) -> None:
    verdict = judge(dialect, action, 0, reading_of(log_of(dialect, action)), artefacts_of(dialect, action))
    line = dialect.finished[action]
    assert (verdict.ok, verdict.reason, verdict.exit_code) == (False, Reason.STATUS_MISSING, ExitCode.FAILED)
    assert f"no line `{line.message}` with status {line.status} in status.json" in verdict.message


@pytest.mark.parametrize(("dialect", "action"), TRUSTED, **IDS)
def test_a_good_word_with_a_bad_exit_code_is_not_enough(dialect: Dialect, action: Action) -> None:
    reading = reading_of(log_of(dialect, action), status_of(dialect, action))
    verdict = judge(dialect, action, 7, reading, artefacts_of(dialect, action))
    assert (verdict.ok, verdict.reason) == (False, Reason.ENGINE_FAILED)
    assert "exit code 7" in verdict.message


MISSING = {
    Action.TRAIN: (Artefacts(checkpoints=(), epochs=EPOCHS), "no new checkpoint"),
    Action.RETRAIN: (Artefacts(checkpoints=(), epochs=EPOCHS), "no new checkpoint"),
    Action.INFERENCE: (Artefacts(labels=6, images=7), "6 label files for 7 images"),
    Action.PRUNE: (Artefacts(output="pruned.hdf5"), "the file pruned.hdf5 is not there"),
    Action.EXPORT: (Artefacts(output="model.onnx", output_size=0), "the file model.onnx is empty"),
    Action.KMEANS: (Artefacts(anchors=9), "3 anchors of 9"),
}


@pytest.mark.parametrize(("dialect", "action"), [case for case in CASES if case[1] in MISSING], **IDS)
def test_a_missing_artefact(dialect: Dialect, action: Action) -> None:
    artefacts, told = MISSING[action]
    verdict = judge(dialect, action, 0, reading_of(log_of(dialect, action), status_of(dialect, action)), artefacts)
    assert (verdict.ok, verdict.reason, verdict.exit_code) == (False, Reason.ARTEFACT_MISSING, ExitCode.FAILED)
    assert told in verdict.message


SIGNS = {
    "ValueError: Invalid model: /m.tlt, please check the key used to load the model": Reason.WRONG_MODEL_KEY,
    "AssertionError: Checking for valid GPU ids and num_gpus.": Reason.NO_GPU,
    "no kernel image is available for execution on the device": Reason.NO_GPU,
    "Bus error (core dumped)": Reason.ENGINE_FAILED,
    "OSError: [Errno 28] No space left on device": Reason.DISK_FULL,
    "ResourceExhaustedError: OOM when allocating tensor with shape[8,3,384,1248]": Reason.GPU_OUT_OF_MEMORY,
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.": Reason.GPU_OUT_OF_MEMORY,
    "ValueError: Dataset size (3) is smaller than the total batch size (4). Not enough data for train.": (
        Reason.DATA_TOO_SMALL
    ),
    "ValueError: Your annotation class ids are not contigous. 9": Reason.SPEC_REFUSED,
    'ParseError: 1:2 : Message type "Experiment" has no field named "evil".': Reason.SPEC_REFUSED,
    "Key 'num_epoch' not in 'Train'": Reason.SPEC_REFUSED,
    "yolo_v4: error: unrecognized arguments: -o x": Reason.SPEC_REFUSED,
    "PermissionError: [Errno 13] Permission denied: '/x'": Reason.ENGINE_FAILED,
    "KeyError: 'getpwuid(): uid not found: 65532'": Reason.ENGINE_FAILED,
    "FileNotFoundError: [Errno 2] No such file or directory: '/x'": Reason.ENGINE_FAILED,
    "died with <Signals.SIGKILL: 9>.": Reason.ENGINE_FAILED,
    "Training was interrupted.": Reason.INTERRUPTED,
    "Watchdog caught collective operation timeout: WorkNCCL(SeqNum=33271, OpType=ALLREDUCE)": Reason.ENGINE_FAILED,
    "ValueError: dataset.train_data_sources is not given": Reason.SPEC_REFUSED,
    "ValueError: cannot import model.py and train.json": Reason.ENGINE_FAILED,
    "RuntimeError: of another kind": Reason.ENGINE_FAILED,
}
CODES = {
    Reason.GPU_OUT_OF_MEMORY: 2,
    Reason.LOSS_NOT_FINITE: 2,
    Reason.WRONG_MODEL_KEY: 2,
    Reason.SPEC_REFUSED: 2,
    Reason.DISK_FULL: 2,
    Reason.DATA_TOO_SMALL: 2,
    Reason.INTERRUPTED: 75,
    Reason.NO_GPU: 1,
    Reason.ARTEFACT_MISSING: 1,
    Reason.STATUS_MISSING: 1,
    Reason.ENGINE_FAILED: 1,
}


@pytest.mark.parametrize(("dialect", "action"), CASES, **IDS)
def test_every_failure_has_its_reason(dialect: Dialect, action: Action) -> None:
    for line, reason in SIGNS.items():
        nothing = {
            Action.TRAIN: Artefacts(checkpoints=()),
            Action.RETRAIN: Artefacts(checkpoints=()),
            Action.INFERENCE: Artefacts(labels=0, images=7),
        }.get(action, Artefacts(output="x", anchors=3))
        verdict = judge(dialect, action, dialect.exit_failed, reading_of(f"{line}\nExecution status: FAIL\n"), nothing)
        assert (verdict.ok, verdict.reason, verdict.exit_code) == (False, reason, CODES[reason]), line
        assert verdict.remedy
        assert "{pods}" not in verdict.remedy
        assert REASONS[reason].summary in verdict.message


@pytest.mark.parametrize(("dialect", "action"), CASES, **IDS)
def test_an_interruption_with_exit_0_and_pass(dialect: Dialect, action: Action) -> None:
    told = "User/System interruption: Train was interrupted" if dialect is PYT7 else "Training was interrupted"
    status = json.dumps({"status": "FAILURE", "verbosity": "INFO", "message": told}) + "\n"
    log = "Command was interrupted.\nExecution status: PASS\n"
    verdict = judge(dialect, action, 0, reading_of(log, status), artefacts_of(dialect, action))
    assert (verdict.reason, verdict.exit_code) == (Reason.INTERRUPTED, ExitCode.UNAVAILABLE)
    assert told in verdict.message


@pytest.mark.parametrize("code", [130, 143])
def test_a_signal_is_an_interruption(code: int) -> None:
    verdict = judge(TAO5, Action.TRAIN, code, reading_of("Epoch 1/2\n"), Artefacts(checkpoints=()))
    assert verdict.reason is Reason.INTERRUPTED


def test_a_kill_is_most_likely_the_memory() -> None:
    verdict = judge(PYT7, Action.TRAIN, 137, reading_of(), Artefacts(checkpoints=()))
    assert (verdict.reason, verdict.exit_code) == (Reason.ENGINE_FAILED, 1)
    assert "spec.pods.training.resources.limits.memory" in verdict.remedy


@pytest.mark.parametrize("dialect", [TAO3, TAO4, TAO5], **IDS)
def test_a_loss_that_is_not_a_number_with_exit_0_and_success(dialect: Dialect) -> None:
    done = status_of(dialect, Action.TRAIN)
    for log, csv, told in (
        ("Epoch 2/2\nBatch 17: Invalid loss, terminating training\n", "", "Batch 17: Invalid loss, terminating training"),
        ("Epoch 2/2\n9/9 [===] - 1s 1s/step - loss: nan\n", "", "the loss of epoch 2 is not a number"),
        ("", "epoch,loss,mAP\n1,2.5,0.5\n2,inf,0.5\n", "the loss of epoch 2 is not a number"),
        ("", "epoch,loss,mAP\n1,2.5,0.5\n2,2.5,nan\n", "the mAP of the last epoch, 2, is not a number"),
    ):
        verdict = judge(dialect, Action.TRAIN, 0, reading_of(log, done, csv), artefacts_of(dialect, Action.TRAIN))
        assert (verdict.reason, verdict.exit_code) == (Reason.LOSS_NOT_FINITE, ExitCode.INVALID), told
        assert told in verdict.message
    validated_late = reading_of("", done, "epoch,loss,mAP\n1,2.5,nan\n2,2.5,0.5\n")
    assert judge(dialect, Action.TRAIN, 0, validated_late, artefacts_of(dialect, Action.TRAIN)).ok


def test_an_epoch_that_was_not_validated_is_no_divergence() -> None:
    late = '{"epoch": 3, "max_epoch": 80, "status": "RUNNING", "message": "Training loop in progress", "graphical": '
    late += '{"loss": "2.5", "mean average precision": "nan"}, "kpi": {"mean average precision": "nan"}}\n'
    interrupted = judge(TAO4, Action.TRAIN, 143, reading_of(status=late), Artefacts(checkpoints=(), epochs=80))
    assert interrupted.reason is Reason.INTERRUPTED
    ended = reading_of(log_of(TAO4, Action.TRAIN), csv="epoch,loss,mAP\n1,2.5,0.5\n2,2.5,nan\n")
    early = Artefacts(checkpoints=("yolov4_resnet18_epoch_002.tlt",), epochs=80, early_stopping=True)
    assert judge(TAO4, Action.TRAIN, 0, ended, early).ok


def test_a_stage_that_left_no_word() -> None:
    verdict = judge(
        PYT7, Action.TRAIN, None, reading_of("\rEpoch 0:   4%|▎  | 1/27 [00:02<01:05]"), Artefacts(checkpoints=())
    )
    assert (verdict.reason, verdict.exit_code) == (Reason.INTERRUPTED, ExitCode.UNAVAILABLE)
    assert "no word of how it ended" in verdict.message


def test_a_mean_precision_that_is_not_a_number() -> None:
    status = json.dumps({"status": "SUCCESS", "message": "Evaluation finished successfully.", "kpi": {"mAP": "nan"}})
    verdict = judge(TAO5, Action.EVALUATE, 0, reading_of(status=status))
    assert verdict.reason is Reason.LOSS_NOT_FINITE


def test_an_evaluation_of_tensorflow_1_without_a_figure() -> None:
    status = json.dumps({"status": "SUCCESS", "message": "Evaluation finished successfully."})
    verdict = judge(TAO5, Action.EVALUATE, 0, reading_of(status=status))
    assert (verdict.reason, "no mAP" in verdict.message) == (Reason.ARTEFACT_MISSING, True)


def test_no_epoch_and_success() -> None:
    reading = reading_of("Execution status: PASS\n", status_of(TAO5, Action.TRAIN))
    verdict = judge(TAO5, Action.TRAIN, 0, reading, Artefacts(checkpoints=(), epochs=50))
    assert verdict.reason is Reason.ARTEFACT_MISSING
    assert "no epoch of 50 was trained, and there is no new checkpoint" in verdict.message
    unseen = judge(TAO5, Action.TRAIN, 0, reading)
    assert (unseen.reason, "no epoch was trained" in unseen.message) == (Reason.ARTEFACT_MISSING, True)


def test_the_last_checkpoint_is_that_of_the_last_epoch() -> None:
    reading = reading_of(log_of(TAO5, Action.TRAIN), status_of(TAO5, Action.TRAIN))
    early = Artefacts(checkpoints=("yolov4_resnet18_epoch_010.hdf5", "yolov4_resnet18_epoch_020.hdf5"), epochs=80)
    verdict = judge(TAO5, Action.TRAIN, 0, reading, early)
    assert verdict.reason is Reason.ARTEFACT_MISSING
    assert "yolov4_resnet18_epoch_020.hdf5, is of epoch 20, and 80 were asked for" in verdict.message
    assert judge(TAO5, Action.TRAIN, 0, reading, dataclasses.replace(early, early_stopping=True)).ok
    pytorch = reading_of(log_of(PYT7, Action.TRAIN), status_of(PYT7, Action.TRAIN))
    unlinked = Artefacts(checkpoints=("model_epoch_001.pth",), latest=False, epochs=2)
    assert "no link to the newest checkpoint, model_epoch_001.pth" in judge(PYT7, Action.TRAIN, 0, pytorch, unlinked).message
    other = Artefacts(checkpoints=("rtdetr.ckpt", "notes.txt"), epochs=2)
    assert "no new checkpoint (*.pth) among rtdetr.ckpt, notes.txt" in judge(PYT7, Action.TRAIN, 0, pytorch, other).message


def test_of_3_and_4_the_files_decide() -> None:
    log, found = log_of(TAO4, Action.TRAIN), artefacts_of(TAO4, Action.TRAIN)
    assert judge(TAO4, Action.TRAIN, 255, reading_of(log), found).ok
    assert (
        judge(TAO4, Action.TRAIN, 0, reading_of("Epoch 2/2\nExecution status: FAIL\n"), found).reason is Reason.ENGINE_FAILED
    )
    assert judge(
        TAO4, Action.TRAIN, 0, reading_of("OOM when allocating tensor\n"), found
    ).ok  # TensorFlow found other memory
    lacking = Artefacts(checkpoints=(), epochs=2)
    oom = judge(TAO4, Action.TRAIN, 0, reading_of("OOM when allocating tensor\n"), lacking)
    assert oom.reason is Reason.GPU_OUT_OF_MEMORY
    assert judge(TAO4, Action.TRAIN, 0, reading_of(log), lacking).reason is Reason.ARTEFACT_MISSING
    assert judge(TAO4, Action.TRAIN, 1, reading_of(log), lacking).reason is Reason.ENGINE_FAILED


def test_without_a_look_at_the_files_the_words_decide() -> None:
    log = log_of(TAO4, Action.TRAIN)
    assert judge(TAO4, Action.TRAIN, None, reading_of(log), status_known=False).ok
    half = judge(TAO4, Action.TRAIN, None, reading_of("Epoch 1/2\n9/9 [===] - 1s 1s/step - loss: 2.5\n"), status_known=False)
    assert (half.reason, "no word of its end in the log" in half.message) == (Reason.STATUS_MISSING, True)
    assert judge(TAO5, Action.TRAIN, None, reading_of(log), status_known=False).ok
    assert judge(TAO5, Action.TRAIN, None, reading_of(status=status_of(TAO5, Action.EXPORT))).reason is Reason.STATUS_MISSING
    assert (
        judge(PYT5_0, Action.TRAIN, None, reading_of(status=status_of(PYT7, Action.TRAIN))).reason is Reason.STATUS_MISSING
    )


def test_signs_count_little_after_success() -> None:
    reading = reading_of("ParseError: nothing\n" + log_of(TAO5, Action.EXPORT), status_of(TAO5, Action.EXPORT))
    assert judge(TAO5, Action.EXPORT, 0, reading, Artefacts(output="m.onnx", output_size=5)).ok
    assert judge(TAO5, Action.EXPORT, 0, reading, Artefacts(output="m.onnx")).reason is Reason.ARTEFACT_MISSING
    full = reading_of("[Errno 28] No space left on device\n", status_of(TAO5, Action.EXPORT))
    assert judge(TAO5, Action.EXPORT, 0, full, Artefacts(output="m.onnx")).reason is Reason.DISK_FULL


def test_half_the_batch_is_another_try() -> None:
    reading = reading_of("Epoch 1/2\nOOM when allocating tensor with shape[8,512]\n")
    verdict = judge(TAO5, Action.TRAIN, 255, reading, halve_batch=True, pods="spec.pods.training")
    assert (verdict.reason, verdict.exit_code) == (Reason.GPU_OUT_OF_MEMORY, ExitCode.FAILED)
    assert verdict.message == (
        "The GPU's memory ran out: OOM when allocating tensor with shape[8,512]; "
        "train (tao5) after 0 of 2 epochs, exit code 255"
    )


def test_the_field_of_the_spec_is_named() -> None:
    reading = reading_of("Key 'num_epoch' not in 'Train'\n    full_key: train.num_epoch\n")
    verdict = judge(PYT7, Action.TRAIN, 1, reading)
    assert verdict.message == (
        "TAO refused the experiment spec or the command line: field train.num_epoch: Key 'num_epoch' not in 'Train'; "
        "train (pyt7), exit code 1"
    )


def test_the_remedy_speaks_of_the_steps_own_pods() -> None:
    verdict = judge(PYT7, Action.INFERENCE, 1, reading_of("Bus error\n"), pods="spec.pods.inference")
    assert "raise spec.pods.inference.sharedMemory" in verdict.remedy


def test_every_symptom_leads_somewhere_and_every_reason_has_words() -> None:
    assert set(_SYMPTOMS) | set(_ONLY_IF_FAILED) | {Symptom.INTERRUPTED} == set(Symptom)
    assert set(REASONS) == set(Reason)
    assert {reason: doc.exit_code for reason, doc in REASONS.items()} == CODES
    for doc in REASONS.values():
        assert doc.summary
        assert doc.remedy.endswith(".")


FEEDS = [
    ("feed", "Epoch 1/2\n9/9 [===] - 1s 1s/step - loss: 2.5\n"),
    ("feed", "OOM when allocating tensor with shape[8]\n"),
    ("feed", "Execution status: FAIL\n"),
    ("status", '{"status": "STARTED", "message": "Starting Yolo_V4 Training job"}\n'),
    ("status", '{"status": "FAILURE", "message": "OOM when allocating tensor with shape[9]"}\n'),
    ("csv", "epoch,loss,mAP\n1,2.5,0.5\n"),
]


@settings(deadline=None)
@given(st.permutations(["feed", "status", "csv"]), st.sampled_from([TAO4, TAO5, PYT7]), st.sampled_from([0, 1, 255, None]))
def test_the_order_of_log_status_and_table_does_not_matter(
    order: Sequence[str], dialect: Dialect, exit_code: int | None
) -> None:
    first, second = Reader(), Reader()
    for name, text in FEEDS:
        getattr(first, name)(text)
    for wanted in order:
        for name, text in FEEDS:
            if name == wanted:
                getattr(second, name)(text)
    assert first.reading == second.reading
    verdicts = [
        judge(dialect, Action.TRAIN, exit_code, reader.reading, Artefacts(checkpoints=())) for reader in (first, second)
    ]
    assert verdicts[0] == verdicts[1]
    assert not verdicts[0].ok


@settings(deadline=None)
@given(
    st.sampled_from(CASES),
    st.one_of(st.none(), st.sampled_from([0, 1, 2, 130, 137, 143, 255])),
    st.lists(
        st.sampled_from([*SIGNS, "Execution status: PASS", "Epoch 2/2", "Batch 1: Invalid loss, terminating training"])
    ),
    st.booleans(),
    st.booleans(),
)
def test_a_verdict_is_always_whole(
    case: tuple[Dialect, Action], exit_code: int | None, lines: list[str], finished: bool, left: bool
) -> None:
    dialect, action = case
    reading = reading_of("\n".join(lines), status_of(dialect, action) if finished else "")
    verdict = judge(
        dialect, action, exit_code, reading, artefacts_of(dialect, action) if left else Artefacts(checkpoints=())
    )
    assert verdict.ok == (verdict.reason is None) == (verdict.exit_code == ExitCode.DONE)
    assert verdict.ok or (verdict.message and verdict.remedy)
    if verdict.ok and dialect.trusted:
        assert finished
        assert exit_code in (0, None)


def test_progress_of_a_training() -> None:
    reading = reading_of(
        "Epoch 2/80\n9/9 [===] - 1s 1s/step - loss: 2.5\nclass_007     AP    0.5\n              mAP   0.25\nEpoch 3/80\n"
    )
    assert progress(reading, names={"class_007": "red apple"}) == Progress(
        done=2, total=80, unit="epochs", metrics={"mAP50": 0.25, "loss": 2.5, "AP50/red apple": 0.5}
    )


def test_progress_where_the_log_does_not_know_the_end() -> None:
    reading = reading_of("\rEpoch 3:  45%|███| 12/27 [00:05<00:06, train_loss=3.2]")
    assert progress(reading) is None
    assert progress(reading, epochs=72) == Progress(done=3, total=72, unit="epochs", metrics={"loss": 3.2})
    assert progress(reading_of()) is None


def test_progress_of_an_inference() -> None:
    reading = reading_of("\rPredicting DataLoader 0:  45%|███| 12/27 [00:05<00:06]")
    assert progress(reading, epochs=80) == Progress(done=12, total=27, unit="batches")
