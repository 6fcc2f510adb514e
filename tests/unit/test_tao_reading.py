"""Every line that TAO is known to write, with what is to be understood of it. Figures are those of real logs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alrun.engines.tao.actions import Action
from alrun.engines.tao.reading.epochs import EpochReading
from alrun.engines.tao.reading.lines import MAX_LINE, Lines, plain
from alrun.engines.tao.reading.reader import Reader, Reading, as_json
from alrun.engines.tao.reading.signs import Sign, Symptom

KERAS_LOG = """\
Using TensorFlow backend.
2022-01-18 02:35:26,737 [INFO] iva.yolo_v4.utils.spec_loader: Loading experiment spec at /yolov4/config.txt.
Epoch 9/80
1794/1794 [==============================] - 528s 294ms/step - loss: 87.1544
Epoch 10/80
1794/1794 [==============================] - 507s 283ms/step - loss: 84.2129
Producing predictions: 100%|████| 200/200 [00:56<00:00,  3.54it/s]
Start to calculate AP for each class
*******************************
electric_bicycleAP    0.66367
license_plate AP    0.88446
top left      AP    0.83912
              mAP   0.7651
*******************************
Validation loss: 41.868257820344645

Epoch 00010: saving model to /yolov4/result/weights/yolov4_resnet18_epoch_010.tlt
Epoch 11/80
"""
"""As v3.21.11 and 5.0 print it."""

TRAIN_STATUS = """\
{"date": "7/4/2023", "time": "9:5:7", "status": "STARTED", "verbosity": "INFO", "message": "Starting Yolo_V4 Training job"}
{"date": "7/4/2023", "time": "9:5:9", "status": "STARTED", "verbosity": "INFO", "message": "Starting Training Loop."}
{"epoch": 1, "max_epoch": 2, "time_per_epoch": "0:09:43.200000", "eta": "0:09:43.200000", "date": "7/4/2023", \
"time": "9:14:50", "status": "RUNNING", "verbosity": "INFO", "message": "Training loop in progress", "graphical": \
{"loss": "5318.88", "learning_rate": "1e-07", "mean average precision": "nan", "validation_loss": "nan"}, \
"kpi": {"mean average precision": "nan"}}
{"epoch": 2, "max_epoch": 2, "status": "RUNNING", "message": "Training loop in progress", "graphical": {"loss": "84.2", \
"learning_rate": "0.0001", "mean average precision": "0.7651", "validation_loss": "41.87"}, \
"kpi": {"mean average precision": "0.7651"}}
{"status": "RUNNING", "message": "Training loop complete.", "graphical": {"loss": "84.2"}, \
"kpi": {"mean average precision": "0.7651"}}
{"status": "SUCCESS", "verbosity": "INFO", "message": "YOLO_V4 training finished successfully."}
"""

RTDETR_STATUS = """\
{"date": "6/1/2026", "time": "1:2:3", "status": "STARTED", "verbosity": "INFO", "message": "Starting RT-DETR train."}
{"status": "STARTED", "message": "Starting Training Loop."}
{"status": "RUNNING", "message": "Eval metrics generated.", "kpi": {"val_mAP": "0.0106", "val_mAP50": "0.0364", \
"val_loss": 18.37}}
{"epoch": 0, "step": 40, "max_epoch": 2, "max_step": 120, "time_per_epoch": "0:00:30", "eta": "0:01:00", \
"status": "RUNNING", "message": "Training loop in progress", "kpi": {"val_mAP": "0.0106", "val_mAP50": "0.0364", \
"val_loss": 18.37}}
{"status": "RUNNING", "message": "Train metrics generated.", "kpi": {"train_loss": 20.5}}
{"epoch": 1, "step": 80, "max_epoch": 2, "max_step": 120, "status": "RUNNING", "message": "Training loop in progress", \
"kpi": {"train_loss": 20.5}}
{"status": "RUNNING", "message": "Train metrics generated.", "kpi": {"train_loss": 12.25}}
{"status": "RUNNING", "message": "Eval metrics generated.", "kpi": {"val_mAP": "0.41", "val_mAP50": "0.63", \
"val_loss": 9.5}}
{"epoch": 2, "step": 120, "max_epoch": 2, "max_step": 120, "status": "RUNNING", "message": "Training loop in progress", \
"kpi": {"val_mAP": "0.41", "val_mAP50": "0.63", "val_loss": 9.5}}
{"status": "RUNNING", "message": "Train metrics generated.", "kpi": {"train_loss": 8.0}}
{"status": "RUNNING", "message": "Train finished successfully.", "kpi": {"train_loss": 8.0}}
"""


def of_log(text: str) -> Reading:
    reader = Reader()
    reader.feed(text)
    return reader.reading


def of_status(*records: dict[str, Any] | str) -> Reading:
    reader = Reader()
    for record in records:
        reader.status(record if isinstance(record, str) else json.dumps(record) + "\n")
    return reader.reading


def of_csv(text: str) -> Reading:
    reader = Reader()
    reader.csv(text)
    return reader.reading


# ---- the log: TensorFlow 1


def test_keras_log_of_a_training() -> None:
    reading = of_log(KERAS_LOG)
    assert reading.epochs == (
        EpochReading(9, 80, loss=87.1544, complete=True),
        EpochReading(
            10,
            80,
            loss=84.2129,
            validation_loss=41.868257820344645,
            metrics={"mAP50": 0.7651},
            class_ap={"electric_bicycle": 0.66367, "license_plate": 0.88446, "top left": 0.83912},
            complete=True,
        ),
        EpochReading(11, 80),
    )
    assert (reading.action, reading.network) == (Action.TRAIN, "yolo_v4")
    assert (reading.done, reading.total, reading.unit, reading.total_epochs) == (10, 80, "epochs", 80)
    assert reading.metrics == {"mAP50": 0.7651}
    assert reading.class_ap == {"electric_bicycle": 0.66367, "license_plate": 0.88446, "top left": 0.83912}
    assert reading.checkpoints == {10: "/yolov4/result/weights/yolov4_resnet18_epoch_010.tlt"}
    assert reading.signs == ()
    assert not (reading.status_seen)
    assert not (reading.finished)
    assert not (reading.failed)
    assert not (reading.interrupted)


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("a             AP    1.0", "a", 1.0),
        ("thirteen_char AP    0.5", "thirteen_char", 0.5),
        ("fourteen_charsAP    0.25", "fourteen_chars", 0.25),
        ("a_class_of_thirty_characters__AP    1e-05", "a_class_of_thirty_characters__", 1e-05),
        ("traffic light AP    0.75", "traffic light", 0.75),
        ("heAP          AP    0.5", "heAP", 0.5),
        ("endsInAPAP    AP    0.5", "endsInAPAP", 0.5),
        ("very_long_nameAPAP    0.5", "very_long_nameAP", 0.5),
        ("m             AP    0.125", "m", 0.125),
        ("Äpfel         AP    0.5", "Äpfel", 0.5),
        ("AP            AP    0.5", "AP", 0.5),
    ],
)
def test_class_names_in_the_table(line: str, name: str, value: float) -> None:
    assert of_log(f"{line}\n              mAP   {value}\n").class_ap == {name: value}


def test_an_evaluation_has_no_epochs() -> None:
    reading = of_log(
        "Producing predictions:  50%|██████    | 100/200 [00:28<00:28,  3.54it/s]\r"
        "Producing predictions: 100%|██████████| 200/200 [00:56<00:00,  3.54it/s]\n"
        "Start to calculate AP for each class\n"
        "bottom_left   AP    0.90807\n"
        "              mAP   0.90779\n"
    )
    assert reading.epochs == ()
    assert (reading.action, reading.done, reading.total, reading.unit) == (Action.EVALUATE, 200, 200, "batches")
    assert (reading.metrics, reading.class_ap) == ({"mAP50": 0.90779}, {"bottom_left": 0.90807})


def test_bars_of_a_notebook_and_of_an_inference_without_a_name() -> None:
    assert of_log("Producing predictions: 100% 56/56 [00:10<00:00,  5.30it/s]\n").done == 56
    reading = of_log(" 44%|████▍     | 11/25 [00:05<00:06,  2.1it/s]")
    assert (reading.done, reading.total, reading.action) == (11, 25, None)
    assert of_log("100%|██████████| 97.8M/97.8M [00:01<00:00, 80MB/s]\n").done is None
    assert of_log("Downloading: 100%|██████████| 9/9 [00:01<00:00, 80MB/s]\n").done is None


def test_keras_without_a_terminal_and_with_one() -> None:
    lines = "Epoch 1/3\n  1/40 [........] - ETA: 5:00 - loss: 900.5\n 2/40 [>.......] - ETA: 1:00 - loss: 800.5\n"
    reading = of_log(lines)
    assert reading.epochs == (EpochReading(1, 3, loss=800.5),)
    assert (reading.done, reading.total) == (0, 3)
    drawn = "Epoch 1/3\n\b\b\b\r 1/40 [...] - ETA: 5:00 - loss: 900.5\b\b\b\b\r40/40 [===] - 9s 1ms/step - loss: 700.25\n"
    assert of_log(drawn).epochs == (EpochReading(1, 3, loss=700.25, complete=True),)


def test_classification_has_more_than_a_loss() -> None:
    reading = of_log(
        "Epoch 72/80\n"
        "71/71 [====================] - 9s 126ms/step - loss: 0.3371 - acc: 0.9738 - val_loss: 0.2588 - val_acc: 0.98\n"
    )
    assert reading.epochs == (EpochReading(72, 80, loss=0.3371, validation_loss=0.2588, complete=True),)


@pytest.mark.parametrize(
    "line",
    [
        "2022-03-09 15:17:29,992 [INFO] __main__: Pruning ratio (pruned model / original model): 0.26947645427472383",
        "2024-08-21 08:13:59,351 [TAO Toolkit] [INFO] nvidia_tao_tf1.cv.common.magnet_prune 224: "
        "Pruning ratio (pruned model / original model): 0.26947645427472383",
        "Pruning ratio (pruned model / original model): 0.26947645427472383",
    ],
)
def test_pruning_ratio(line: str) -> None:
    reading = of_log(line + "\n")
    assert (reading.pruning_ratio, reading.action) == (0.26947645427472383, Action.PRUNE)


def test_anchors() -> None:
    reading = of_log(
        "Start optimization iteration: 1\nCannot find: /data/labels/7.txt\nStart optimization iteration: 11\n"
        "Please use following anchor sizes in YOLO config:\n(21.07, 8.14)\n(16.10, 17.86)\n(157.33, 28.14)\n"
        "Execution status: PASS\n(1.00, 1.00)\n"
    )
    assert reading.anchors == ((21.07, 8.14), (16.10, 17.86), (157.33, 28.14))
    assert (reading.action, reading.execution) == (Action.KMEANS, "PASS")


def test_a_training_that_was_begun_anew_in_the_same_log() -> None:
    again = KERAS_LOG + "Epoch 10/80\n1794/1794 [=====] - 9s 1ms/step - loss: 80.5\n"
    reading = of_log(again)
    assert [epoch.epoch for epoch in reading.epochs] == [9, 10]
    assert reading.epochs[-1].loss == 80.5
    assert reading.checkpoints == {}


@pytest.mark.parametrize("word", ["PASS", "FAIL"])
@pytest.mark.parametrize("before", ["", "2026-06-01 01:02:03,456 [TAO Toolkit] [WARNING] root 335: ", "…it/s] "])
def test_execution_status(word: str, before: str) -> None:
    assert of_log(f"{before}Execution status: {word}\n").execution == word


def test_telemetry_says_nothing_of_the_work() -> None:
    reading = of_log(
        "Telemetry data couldn't be sent, but the command ran successfully.\n"
        "[WARNING]: Failed to initialize NVML: Driver/library version mismatch\n"
        "[Error]: [Errno 28] No space left on device\n"
    )
    assert reading == Reading()


@pytest.mark.parametrize(
    ("line", "action"),
    [
        ("2023-07-04 09:05:07,001 [TAO Toolkit] [INFO] __main__ 150: Training finished successfully.", Action.TRAIN),
        ("Train finished successfully.", Action.TRAIN),
        ("Evaluation finished successfully.", Action.EVALUATE),
        ("Inference finished successfully.", Action.INFERENCE),
        ("Pruning finished successfully.", Action.PRUNE),
        ("Export finished successfully.", Action.EXPORT),
    ],
)
def test_the_log_says_that_it_has_finished(line: str, action: Action) -> None:
    reading = of_log(line + "\n")
    assert (reading.action, reading.said_finished, reading.finished) == (action, True, False)


# ---- the log: PyTorch


def test_lightning_log() -> None:
    reading = of_log(
        "Sanity Checking DataLoader 0: 100%|██████████| 2/2 [00:00<00:00,  8.1it/s]\n"
        "\rEpoch 0:   4%|▎         | 1/27 [00:02<01:05,  0.4it/s, v_num=1, train_loss=31.4]"
        "\rEpoch 0: 100%|██████████| 27/27 [00:09<00:00,  2.9it/s, v_num=1, train_loss=20.5]"
        "\rValidation DataLoader 0: 100%|██████████| 5/5 [00:01<00:00,  4.9it/s]\n"
        "\n Validation mAP : 0.0106\n\n\n Validation mAP50 : 0.0364\n\n"
        "\rEpoch 1:  45%|████▌     | 12/27 [00:04<00:05,  2.9it/s, v_num=1, lr=0.0001, train_loss=3.2]"
    )
    assert reading.epochs == (
        EpochReading(1, None, loss=20.5, metrics={"mAP": 0.0106, "mAP50": 0.0364}, complete=True),
        EpochReading(2, None, loss=3.2, learning_rate=0.0001),
    )
    assert (reading.done, reading.total, reading.unit, reading.action) == (1, None, "epochs", Action.TRAIN)
    assert reading.metrics == {"mAP": 0.0106, "mAP50": 0.0364}


def test_the_losses_that_bars_have_shown_over_the_years() -> None:
    bar = "Epoch 3:  45%|████▌     | 12/27 [00:05<00:06, 2.30it/s, loss=3.5, v_num=0, train_loss_step=3.1{}]\n"
    assert of_log(bar.format("")).epochs[0].loss == 3.5
    assert of_log(bar.format(", train_loss_epoch=3.3")).epochs[0].loss == 3.3
    assert of_log("Epoch 3:  45%|…| 12/27 [.., train_loss=3.2]\n").epochs == (EpochReading(4, None, loss=3.2),)


def test_what_stands_behind_a_bar_on_the_same_line() -> None:
    reading = of_log(
        "\rEpoch 0: 100%|████| 2/2 [00:01<00:00, train_loss=2.5]\n\r[rank0]: something [in brackets]Validation mAP : 0.41\n"
    )
    assert reading.epochs == (EpochReading(1, None, loss=2.5, metrics={"mAP": 0.41}, complete=True),)


def test_coco_summary_and_its_exact_figures() -> None:
    summary = (
        " Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all | maxDets=100 ] = 0.414\n"
        " Average Precision  (AP) @[ IoU=0.50      | area=   all | maxDets=100 ] = 0.630\n"
        " Average Precision  (AP) @[ IoU=0.75      | area=   all | maxDets=100 ] = -1.000\n"
        " Average Precision  (AP) @[ IoU=0.50:0.95 | area= small | maxDets=100 ] = 0.111\n"
        " Average Recall     (AR) @[ IoU=0.50:0.95 | area=   all | maxDets=100 ] = 0.512\n"
    )
    assert of_log(summary).metrics == {"mAP": 0.414, "mAP50": 0.63}
    exact = of_log("Testing DataLoader 0: 100%|████| 5/5 [00:01<00:00]\n" + summary + "\n Test mAP : 0.41391\n")
    assert exact.metrics == {"mAP": 0.41391, "mAP50": 0.63}
    assert (exact.action, exact.done, exact.total) == (Action.EVALUATE, 5, 5)


def test_prediction_counts_batches() -> None:
    reading = of_log("\rPredicting DataLoader 0:  45%|████▌     | 12/27 [00:05<00:06,  2.3it/s]")
    assert (reading.action, reading.done, reading.total, reading.unit) == (Action.INFERENCE, 12, 27, "batches")


def test_the_script_in_a_traceback_tells_network_and_action() -> None:
    reading = of_log(
        'Traceback (most recent call last):\n  File "/usr/local/lib/python3.12/dist-packages/nvidia_tao_pytorch/cv/'
        'deformable_detr/scripts/evaluate.py", line 9, in main\n    run(cfg)\nRuntimeError: odd\n'
    )
    assert (reading.network, reading.action, reading.message) == ("deformable_detr", Action.EVALUATE, "RuntimeError: odd")


# ---- ranks, colours, rubbish


@pytest.mark.parametrize(
    ("line", "text", "rank"),
    [
        ("[1,0]<stdout>:Epoch 1/2", "Epoch 1/2", 0),
        ("[1,3]<stderr>: Epoch 1/2", "Epoch 1/2", 3),
        ("[rank2]: Traceback", "Traceback", 2),
        ("[default1]:[rank1]: Traceback", "Traceback", 1),
        ("\x1b[32mEpoch 1/2\x1b[0m", "Epoch 1/2", 0),
        ("\x1b]0;title\x07Epoch\x00 1/2", "Epoch 1/2", 0),
        ("2026-06-01 01:02:03,456 - [TAO Toolkit] - [INFO] - root 12: Epoch 1/2", "Epoch 1/2", 0),
        ("              mAP   0.5", "              mAP   0.5", 0),
        ("[12, 13] not a rank", "[12, 13] not a rank", 0),
    ],
)
def test_plain_lines(line: str, text: str, rank: int) -> None:
    assert plain(line) == (text, rank)


def test_of_interleaved_ranks_the_first_counts() -> None:
    reading = of_log(
        "[1,0]<stdout>:Epoch 4/9\n[1,1]<stdout>:Epoch 3/9\n[1,1]<stdout>: 9/9 [===] - 1s 1s/step - loss: 1.5\n"
        "[1,0]<stdout>: 9/9 [===] - 1s 1s/step - loss: 2.5\n[1,1]<stderr>:OOM when allocating tensor with shape[8,512]\n"
    )
    assert reading.epochs == (EpochReading(4, 9, loss=2.5, complete=True),)
    assert reading.signs == (Sign(Symptom.GPU_MEMORY, "OOM when allocating tensor with shape[8,512]"),)


def test_other_networks_are_passed_over() -> None:
    reading = of_log(
        "INFO:tensorflow:epoch = 0.0458, learning_rate = 1.26e-05, loss = 0.0509326, step = 113 (5.164 sec)\n"
        "Matching predictions to ground truth, class 2/7.: 100%|████| 11/11 [00:00<00:00, 10198.35it/s]\n"
        "Validation cost: 0.000439\nMean average_precision (in %): 0.0000\n| class name | average precision (in %) |\n"
        "Class               AP                  precision           recall              RPN_recall          \n"
        "car                 0.8837              0.0183              0.9506              0.9831\n"
        "mAP                 0.6911\n"
    )
    assert reading == Reading()


def test_detectnet_counts_from_zero() -> None:
    stamp = "2024-01-31 11:05:27,929 [TAO Toolkit] [INFO] nvidia_tao_tf1.cv.detectnet_v2.tfhooks.monitor_hook 149: "
    line = "Epoch {}/80: loss: {} learning rate: 1.25e-05 Time taken: 0:09:58 ETA: 13:07:22\n"
    reading = of_log(stamp + line.format(0, 0.06473) + stamp + line.format(1, 0.05) + stamp + line.format(80, 0.04))
    assert reading.epochs == (
        EpochReading(1, 80, loss=0.06473, learning_rate=1.25e-05, complete=True),
        EpochReading(2, 80, loss=0.05, learning_rate=1.25e-05),
    )


def test_long_lines_and_rubbish_cost_nothing() -> None:
    reader = Reader()
    for _ in range(64):
        reader.feed("x" * 65536)
    reader.status("{" * (4 << 20))
    assert len(Lines(5).feed("1234567\n")[0]) == 5
    assert len(reader._log.tail) == MAX_LINE
    reader.feed("\nEpoch 1/2\n")
    assert reader.reading.epochs == (EpochReading(1, 2),)


# ---- status.json


def test_status_of_a_training_with_tensorflow_1() -> None:
    reading = of_status(TRAIN_STATUS)
    assert reading.epochs == (
        EpochReading(1, 2, loss=5318.88, learning_rate=1e-07, not_finite=("validation_loss", "mAP50"), complete=True),
        EpochReading(2, 2, loss=84.2, validation_loss=41.87, learning_rate=0.0001, metrics={"mAP50": 0.7651}, complete=True),
    )
    assert (reading.action, reading.network) == (Action.TRAIN, "yolo_v4")
    assert (reading.done, reading.total, reading.unit) == (2, 2, "epochs")
    assert (reading.finished, reading.terminal, reading.finished_action) == (True, "SUCCESS", Action.TRAIN)
    assert (reading.started, reading.failed, reading.message) == (True, False, "YOLO_V4 training finished successfully.")
    assert (reading.metrics, reading.not_finite) == ({"mAP50": 0.7651}, ())


def test_status_of_a_training_with_pytorch_6_and_7() -> None:
    reading = of_status(RTDETR_STATUS)
    assert reading.epochs == (
        EpochReading(1, 3, loss=20.5, validation_loss=18.37, metrics={"mAP": 0.0106, "mAP50": 0.0364}, complete=True),
        EpochReading(2, 3, loss=12.25, complete=True),
        EpochReading(3, 3, loss=8.0, validation_loss=9.5, metrics={"mAP": 0.41, "mAP50": 0.63}, complete=True),
    )
    assert (reading.network, reading.action, reading.finished, reading.terminal) == ("rtdetr", Action.TRAIN, True, "RUNNING")
    assert (reading.done, reading.total) == (3, 3)


def test_a_validation_is_known_before_its_epoch_is_told() -> None:
    reader = Reader()
    reader.status("".join(RTDETR_STATUS.splitlines(keepends=True)[:8]))
    assert reader.reading.epochs[-1] == EpochReading(3, 3, validation_loss=9.5, metrics={"mAP": 0.41, "mAP50": 0.63})
    assert reader.reading.done == 2
    reader.status("".join(RTDETR_STATUS.splitlines(keepends=True)[8:]))
    assert reader.reading == of_status(RTDETR_STATUS)


def test_status_of_pytorch_5_counts_from_one() -> None:
    lines = [
        {"status": "STARTED", "message": "Starting DINO train."},
        *({"epoch": epoch, "max_epoch": 4, "status": "RUNNING", "message": "Training loop in progress"} for epoch in (1, 2)),
    ]
    reading = of_status(*lines, {"status": "SUCCESS", "message": "Training finished successfully"})
    assert [epoch.epoch for epoch in reading.epochs] == [1, 2]
    assert (reading.done, reading.total, reading.network) == (2, 4, "dino")
    reader = Reader()
    reader.feed(
        "Epoch 2: 100%|████| 9/9 [00:01<00:00, train_loss=2.5]\rEpoch 3: 100%|████| 9/9 [00:01<00:00, train_loss=1.5]"
    )
    reader.status("".join(json.dumps(line) + "\n" for line in lines))
    assert [(epoch.epoch, epoch.loss) for epoch in reader.reading.epochs] == [(3, 2.5), (4, 1.5)]


@pytest.mark.parametrize(
    ("message", "status", "action", "network"),
    [
        ("YOLO_V4 training finished successfully.", "SUCCESS", Action.TRAIN, "yolo_v4"),
        ("Evaluation finished successfully.", "SUCCESS", Action.EVALUATE, None),
        ("Inference finished successfully.", "SUCCESS", Action.INFERENCE, None),
        ("Pruning finished successfully.", "SUCCESS", Action.PRUNE, None),
        ("Export finished successfully.", "SUCCESS", Action.EXPORT, None),
        ("K-means finished successfully.", "SUCCESS", Action.KMEANS, None),
        ("Training finished successfully", "SUCCESS", Action.TRAIN, None),
        ("Evaluation finished successfully", "SUCCESS", Action.EVALUATE, None),
        ("Train finished successfully.", "RUNNING", Action.TRAIN, None),
        ("Evaluate finished successfully.", "RUNNING", Action.EVALUATE, None),
        ("Inference finished successfully.", "RUNNING", Action.INFERENCE, None),
        ("Export finished successfully.", "RUNNING", Action.EXPORT, None),
    ],
)
def test_terminal_lines(message: str, status: str, action: Action, network: str | None) -> None:
    reading = of_status({"status": status, "message": message})
    assert (reading.finished, reading.terminal, reading.finished_action) == (True, status, action)
    assert (reading.action, reading.network, reading.message) == (action, network, message)


@pytest.mark.parametrize(
    ("message", "action", "network"),
    [
        ("Starting Yolo_V4 Training job", Action.TRAIN, "yolo_v4"),
        ("Starting YOLOv4(-Tiny) evaluation.", Action.EVALUATE, "yolo_v4"),
        ("Starting YOLOv4(-Tiny) inference.", Action.INFERENCE, "yolo_v4"),
        ("Starting k-means.", Action.KMEANS, None),
        ("Starting Object Detection Dataset Convert.", None, None),
        ("Starting RT-DETR train.", Action.TRAIN, "rtdetr"),
        ("Starting DINO evaluate.", Action.EVALUATE, "dino"),
        ("Starting Deformable DETR inference.", Action.INFERENCE, "deformable_detr"),
        ("Starting Grounding DINO export.", Action.EXPORT, "grounding_dino"),
        ("Starting DetectNet_v2 Training job", Action.TRAIN, "detectnet_v2"),
    ],
)
def test_start_lines(message: str, action: Action | None, network: str | None) -> None:
    reading = of_status({"status": "STARTED", "verbosity": "INFO", "message": message})
    assert (reading.action, reading.network, reading.started, reading.finished) == (action, network, True, False)


def test_results_of_evaluate_prune_and_kmeans() -> None:
    assert of_status(
        {"status": "SUCCESS", "message": "Evaluation finished successfully.", "kpi": {"mAP": 0.90779}}
    ).metrics == {"mAP50": 0.90779}
    tested = {"status": "RUNNING", "message": "Test metrics generated.", "kpi": {"test_mAP": "0.41", "test_mAP50": "0.63"}}
    ended = {"status": "RUNNING", "message": "Evaluate finished successfully.", "kpi": tested["kpi"]}
    assert of_status(tested, ended).metrics == {"mAP": 0.41, "mAP50": 0.63}
    pruned = of_status(
        {"status": "RUNNING", "message": "Pruning ratio (pruned model / original model): 0.2694"},
        {
            "status": "SUCCESS",
            "message": "Pruning finished successfully.",
            "kpi": {"pruning_ratio": 0.2694, "size": 21.2, "param_count": 5.5},
        },
    )
    assert (pruned.pruning_ratio, pruned.size_mb, pruned.parameters_m) == (0.2694, 21.2, 5.5)
    anchors = {"k-means generated anchors": "['(21.07, 8.14)', '(16.10, 17.86)']"}
    clustered = of_status({"status": "SUCCESS", "message": "K-means finished successfully.", "kpi": anchors})
    assert clustered.anchors == ((21.07, 8.14), (16.10, 17.86))


@pytest.mark.parametrize(
    "message",
    [
        "Training was interrupted",
        "Evaluation was interrupted",
        "Inference was interrupted",
        "Pruning was interrupted",
        "Export was interrupted",
        "KMEANS was interrupted",
        "Dataset convert was interrupted",
        "User/System interruption: Train was interrupted",
    ],
)
def test_interruptions(message: str) -> None:
    reading = of_status({"status": "FAILURE", "verbosity": "INFO", "message": message})
    assert (reading.interrupted, reading.failed, reading.finished, reading.message) == (True, True, False, message)


def test_only_what_follows_the_last_start_counts() -> None:
    failed = {"status": "FAILURE", "message": "OOM when allocating tensor with shape[8,3,384,1248]"}
    reading = of_status({"status": "STARTED", "message": "Starting Yolo_V4 Training job"}, failed, TRAIN_STATUS)
    assert reading == of_status(TRAIN_STATUS)
    again = of_status(TRAIN_STATUS, {"status": "STARTED", "message": "Starting Yolo_V4 Training job"})
    assert (again.finished, again.epochs, again.message, again.started) == (False, (), "", True)


def test_without_start_lines_the_last_word_counts() -> None:
    pruned = {"status": "SUCCESS", "message": "Pruning finished successfully."}
    failed = {"status": "FAILURE", "message": "Invalid model: /m.tlt, please check the key used to load the model"}
    assert of_status(failed, pruned).finished
    assert not of_status(failed, pruned).failed
    assert not of_status(pruned, failed).finished
    assert of_status(pruned, failed).failed


def test_errors_that_the_logger_of_7_0_1_copies() -> None:
    error = {"status": "FAILURE", "message": "Failed to send telemetry: timeout"}
    copied = {"status": "RUNNING", "message": "\n Validation mAP : 0.12\n"}
    lines = RTDETR_STATUS.splitlines(keepends=True)
    assert of_status(*lines[:5], error, *lines[5:]).finished
    assert not of_status(*lines[:5], error, *lines[5:]).failed
    after = of_status(*lines, error, {"status": "RUNNING", "message": "Sending telemetry data."})
    assert (after.finished, after.failed, after.message) == (True, False, "Train finished successfully.")
    assert of_status(
        *lines, {"status": "FAILURE", "message": "File system error: [Errno 28] No space left on device"}
    ).failed
    assert of_status(lines[0], lines[3], copied, copied).epochs[1].metrics == {"mAP": 0.12}


def test_broken_lines_of_status() -> None:
    whole = '{"status": "SUCCESS", "message": "Export finished successfully."}'
    for text in (
        whole,  # no line feed: not written to the end, and readable all the same
        f'{{"date": "7/4/2023", "graphical": {{"loss": {whole}\n',
        f"{whole}{{\n",
        f"\0\0{whole}\n",
        f"null\n[1]\n17\n{{}}\n{whole}\n",
        f'{{"message": 5, "kpi": [], "graphical": 1, "epoch": "x", "max_epoch": null}}\n{whole}\n',
    ):
        assert of_status(text).finished, text
    assert not of_status(whole[:-1]).status_seen


@pytest.mark.parametrize("bad", [-1, 1e300, "nan", "1e9", True, None, [], "2.5", 2**70])
def test_numbers_of_epochs_that_are_none(bad: object) -> None:
    assert (
        of_status({"epoch": bad, "max_epoch": 4, "status": "RUNNING", "message": "Training loop in progress"}).epochs == ()
    )


# ---- the table


def test_csv_of_a_training() -> None:
    reading = of_csv(
        "epoch,AP_apple,AP_red apple,loss,lr,mAP,validation_loss\r\n"
        "1,nan,nan,5318.8814,1e-07,nan,nan\r\n"
        "2,0.69871,0.5,84.2129,0.0001,0.599355,41.868257820344645\r\n"
        "3,0.7,0.5"
    )
    assert reading.epochs == (
        EpochReading(
            1,
            loss=5318.8814,
            learning_rate=1e-07,
            not_finite=("validation_loss", "mAP50", "AP50/apple", "AP50/red apple"),
            complete=True,
        ),
        EpochReading(
            2,
            loss=84.2129,
            validation_loss=41.868257820344645,
            learning_rate=0.0001,
            metrics={"mAP50": 0.599355},
            class_ap={"apple": 0.69871, "red apple": 0.5},
            complete=True,
        ),
    )
    assert (reading.done, reading.total, reading.unit) == (2, None, "epochs")


@pytest.mark.parametrize(
    "text", ["", "\n", "a,b\n1,2\n", "epoch\nx\n-1\n0\n", '"epoch,loss\n1,2\n', "epoch,loss\n1\n", "\0"]
)
def test_tables_that_are_none(text: str) -> None:
    assert of_csv(text).epochs == ()


def test_three_sources_of_one_epoch() -> None:
    reader = Reader()
    reader.feed(KERAS_LOG)
    reader.status(
        '{"epoch": 10, "max_epoch": 80, "status": "RUNNING", "message": "Training loop in progress", "graphical": '
        '{"loss": "nan", "learning_rate": "0.0001", "mean average precision": "nan"}, "kpi": {}}\n'
    )
    reader.csv("epoch,AP_license_plate,loss,lr,mAP,validation_loss\n10,0.884461234,84.212912345,0.0001,0.765123,nan\n")
    epoch = reader.reading.epochs[1]
    assert (epoch.loss, epoch.learning_rate, epoch.validation_loss) == (84.212912345, 0.0001, 41.868257820344645)
    assert (epoch.metrics, epoch.not_finite) == ({"mAP50": 0.765123}, ())
    assert epoch.class_ap == {"electric_bicycle": 0.66367, "license_plate": 0.884461234, "top left": 0.83912}


def test_json() -> None:
    value = as_json(of_log("Epoch 1/2\n2/2 [===] - 1s 1s/step - loss: nan\nOOM when allocating tensor\n"))
    assert value == {
        "action": "train",
        "epochs": [{"epoch": 1, "total": 2, "notFinite": ["loss"], "complete": True}],
        "totalEpochs": 2,
        "done": 1,
        "total": 2,
        "unit": "epochs",
        "notFinite": ["loss"],
        "statusSeen": False,
        "started": False,
        "finished": False,
        "saidFinished": False,
        "failed": False,
        "interrupted": False,
        "signs": [{"symptom": "GpuMemory", "detail": "OOM when allocating tensor"}],
    }
    assert json.loads(json.dumps(value, allow_nan=False)) == value


# ---- properties

PIECES = (
    *KERAS_LOG.splitlines(keepends=True),
    "\rEpoch 3:  45%|████▌| 12/27 [00:05<00:06, train_loss=3.2]",
    "\n Validation mAP50 : 0.63\n",
    "\x1b[31mCUDA out of memory. Tried to allocate 2.00 GiB\x1b[0m\n",
    "[1,1]<stderr>:Key 'num_epoch' not in 'RTTrainExpConfig'\n    full_key: train.num_epoch\n",
    "Traceback (most recent call last):\n",
    '  File "/x/spec_loader.py", line 3, in load\n',
    "AssertionError: `batch_size` is odd\n",
    "Please use following anchor sizes in YOLO config:\n(21.07, 8.14)\n",
    "Execution status: FAIL\n",
)
STATUS_PIECES = (*TRAIN_STATUS.splitlines(keepends=True), *RTDETR_STATUS.splitlines(keepends=True), '{"status": "FAILURE"')


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=12), st.lists(st.sampled_from(STATUS_PIECES), max_size=8), st.data())
def test_chunks_do_not_matter(log: Sequence[str], status: Sequence[str], data: st.DataObject) -> None:
    whole, parts = Reader(), Reader()
    whole.feed("".join(log))
    whole.status("".join(status))
    for text, feed in (("".join(log), parts.feed), ("".join(status), parts.status)):
        cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
        for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
            feed(text[start:end])
            if data.draw(st.booleans()):
                assert isinstance(parts.reading, Reading)
    assert parts.reading == whole.reading


@settings(deadline=None)
@given(st.lists(st.one_of(st.text(), st.sampled_from(PIECES), st.sampled_from(STATUS_PIECES)), max_size=6), st.data())
def test_nothing_that_is_written_makes_it_fail(texts: Sequence[str], data: st.DataObject) -> None:
    reader = Reader()
    for text in texts:
        data.draw(st.sampled_from((reader.feed, reader.status, reader.csv)))(text)
    json.dumps(as_json(reader.reading), allow_nan=False)


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_bytes_of_any_kind(rubbish: bytes) -> None:
    reader = Reader()
    text = rubbish.decode("utf-8", errors="replace") + rubbish.decode("latin-1")
    for feed in (reader.feed, reader.status, reader.csv):
        feed(text)
    assert reader.reading.done is None or reader.reading.done >= 0
