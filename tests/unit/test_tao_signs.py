"""The words by which TAO, TensorFlow, PyTorch, protobuf, hydra and the kernel say what is wrong."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alrun.engines.tao.reading.reader import Reader
from alrun.engines.tao.reading.signs import MAX_DETAIL, Sign, Symptom


def signs(log: str) -> tuple[Sign, ...]:
    reader = Reader()
    reader.feed(log)
    return reader.reading.signs


TORCH_OOM = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 15.77 GiB of which 1.09 GiB is free."
)
TF_OOM = (
    "OOM when allocating tensor with shape[8,512,39,12] and type float on "
    "/job:localhost/replica:0/task:0/device:GPU:0 by allocator GPU_0_bfc"
)


@pytest.mark.parametrize(
    ("line", "symptom", "detail", "field"),
    [
        (f"torch.OutOfMemoryError: {TORCH_OOM}", Symptom.GPU_MEMORY, TORCH_OOM, None),
        (f"[rank0]: torch.cuda.OutOfMemoryError: {TORCH_OOM}", Symptom.GPU_MEMORY, TORCH_OOM, None),
        (f"tensorflow.python.framework.errors_impl.ResourceExhaustedError: {TF_OOM}", Symptom.GPU_MEMORY, TF_OOM, None),
        (
            "Ran out of GPU memory, please lower the batch size, use a smaller input resolution, use a smaller backbone, or "
            "enable model parallelism for supported TLT architectures (see TLT documentation).",
            Symptom.GPU_MEMORY,
            "Ran out of GPU memory, please lower the batch size",
            None,
        ),
        ("RuntimeError: CUDA error: out of memory", Symptom.GPU_MEMORY, "CUDA error: out of memory", None),
        ("RuntimeError: cuDNN error: CUDNN_STATUS_ALLOC_FAILED", Symptom.GPU_MEMORY, "CUDNN_STATUS_ALLOC_FAILED", None),
        (
            "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
            Symptom.GPU_MEMORY,
            "CUBLAS_STATUS_ALLOC_FAILED",
            None,
        ),
        ("Batch 17: Invalid loss, terminating training", Symptom.LOSS, "Batch 17: Invalid loss, terminating training", None),
        ("Loss is nan, stopping training", Symptom.LOSS, "Loss is nan, stopping training", None),
        (
            "ValueError: Invalid model: /alrun/models/model.tlt, please check the key used to load the model",
            Symptom.KEY,
            "Invalid model: /alrun/models/model.tlt, please check the key used to load the model",
            None,
        ),
        (
            "Invalid decryption. Unable to open file. The key used to load the model is incorrect.",
            Symptom.KEY,
            "Invalid decryption. Unable to open file. The key used to load the model is incorrect.",
            None,
        ),
        (
            "AssertionError: Checking for valid GPU ids and num_gpus.",
            Symptom.GPU,
            "Checking for valid GPU ids and num_gpus.",
            None,
        ),
        (
            "FileNotFoundError: [Errno 2] No such file or directory: 'nvidia-smi'",
            Symptom.GPU,
            "No such file or directory: 'nvidia-smi'",
            None,
        ),
        ("RuntimeError: No CUDA GPUs are available", Symptom.GPU, "No CUDA GPUs are available", None),
        (
            "RuntimeError: CUDA error: no kernel image is available for execution on the device",
            Symptom.GPU_TOO_NEW,
            "no kernel image is available for execution on the device",
            None,
        ),
        (
            "RuntimeError: DataLoader worker (pid 812) is killed by signal: Bus error. It is possible that dataloader's "
            "workers are out of shared memory.",
            Symptom.SHARED_MEMORY,
            "DataLoader worker (pid 812) is killed by signal: Bus error. It is possible that dataloader's "
            "workers are out of shared memory.",
            None,
        ),
        ("Bus error (core dumped)", Symptom.SHARED_MEMORY, "Bus error (core dumped)", None),
        (
            "RuntimeError: unable to write to file </torch_77_123>: No space left on device (28)",
            Symptom.SHARED_MEMORY,
            "unable to write to file </torch_77_123>: No space left on device (28)",
            None,
        ),
        (
            "OSError: [Errno 28] No space left on device: '/alrun/out/train/weights/a.hdf5'",
            Symptom.DISK,
            "[Errno 28] No space left on device: '/alrun/out/train/weights/a.hdf5'",
            None,
        ),
        (
            "[rank1]:[E1105] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=33271, OpType=ALLREDUCE)",
            Symptom.GPU_LINK,
            "Watchdog caught collective operation timeout: WorkNCCL(SeqNum=33271, OpType=ALLREDUCE)",
            None,
        ),
        (
            "ValueError: dataset.train_data_sources is not given",
            Symptom.SPEC,
            "ValueError: dataset.train_data_sources is not given",
            "dataset.train_data_sources",
        ),
        (
            "AssertionError: Checkpoint interval 3 > epochs 2.Please set experiment_config.train.checkpoint_interval",
            Symptom.SPEC,
            "AssertionError: Checkpoint interval 3 > epochs 2.Please set experiment_config.train.checkpoint_interval",
            "train.checkpoint_interval",
        ),
        (
            "RuntimeError: Error(s) in loading state_dict for RTDETR: size mismatch for class_embed.0.weight",
            Symptom.WEIGHTS,
            "Error(s) in loading state_dict for RTDETR: size mismatch for class_embed.0.weight",
            None,
        ),
        ("Error merging 'train.yaml' with schema", Symptom.SPEC, "Error merging 'train.yaml' with schema", None),
        ("Cannot merge DictConfig with ListConfig", Symptom.SPEC, "Cannot merge DictConfig with ListConfig", None),
        ("OSError: [Errno 122] Disk quota exceeded", Symptom.DISK, "[Errno 122] Disk quota exceeded", None),
        (
            "ValueError: Dataset size (3) is smaller than the total batch size (8). Not enough data for train.",
            Symptom.DATA,
            "Dataset size (3) is smaller than the total batch size (8). Not enough data for train.",
            None,
        ),
        ("AssertionError: Must have more boxes than clusters", Symptom.DATA, "Must have more boxes than clusters", None),
        (
            "ValueError: Your annotation class ids are not contigous. Detected max id 7",
            Symptom.CLASS_IDS,
            "Your annotation class ids are not contigous. Detected max id 7",
            None,
        ),
        (
            "RuntimeError: CUDA error: device-side assert triggered",
            Symptom.CLASS_IDS,
            "CUDA error: device-side assert triggered",
            None,
        ),
        (
            'google.protobuf.text_format.ParseError: 1:2 : Message type "TrainingConfig" has no field named "num_epoch".',
            Symptom.SPEC,
            'google.protobuf.text_format.ParseError: 1:2 : Message type "TrainingConfig" has no field named "num_epoch".',
            "num_epoch",
        ),
        (
            'google.protobuf.text_format.ParseError: 3:8 : \'type: "L1"\': Enum type "RegularizerConfig.Type" has no value '
            "named L9.",
            Symptom.SPEC,
            'google.protobuf.text_format.ParseError: 3:8 : \'type: "L1"\': Enum type "RegularizerConfig.Type" has no value '
            "named L9.",
            None,
        ),
        (
            "google.protobuf.text_format.ParseError: 5:13 : Couldn't parse integer: eight",
            Symptom.SPEC,
            "google.protobuf.text_format.ParseError: 5:13 : Couldn't parse integer: eight",
            None,
        ),
        (
            "Key 'num_epoch' not in 'RTTrainExpConfig'",
            Symptom.SPEC,
            "Key 'num_epoch' not in 'RTTrainExpConfig'",
            "num_epoch",
        ),
        ("Key 'x' is not in struct 'y'", None, "", None),
        (
            "yolo_v4 inference: error: argument -t/--threshold: invalid float value: 'x'",
            Symptom.SPEC,
            "yolo_v4 inference: error: argument -t/--threshold: invalid float value: 'x'",
            "-t/--threshold",
        ),
        (
            "yolo_v4: error: unrecognized arguments: -o /alrun/out",
            Symptom.SPEC,
            "yolo_v4: error: unrecognized arguments: -o /alrun/out",
            "-o /alrun/out",
        ),
        (
            "ERROR: The subtask `train` requires the following argument: -e/--experiment_spec_file",
            Symptom.SPEC,
            "ERROR: The subtask `train` requires the following argument: -e/--experiment_spec_file",
            "-e",
        ),
        (
            "ERROR: The indicated experiment spec file `/alrun/specs/train.yaml` doesn't exist!",
            Symptom.SPEC,
            "ERROR: The indicated experiment spec file `/alrun/specs/train.yaml` doesn't exist!",
            None,
        ),
        (
            "AssertionError: width must be multiple of 32",
            Symptom.SPEC,
            "AssertionError: width must be multiple of 32",
            "augmentation_config.output_width",
        ),
        (
            "AssertionError: mosaic_min_ratio must be within (0, 0.5)",
            Symptom.SPEC,
            "AssertionError: mosaic_min_ratio must be within (0, 0.5)",
            "mosaic_min_ratio",
        ),
        (
            "AssertionError: `small_anchor_shape` is not provided in spec file.",
            Symptom.SPEC,
            "AssertionError: `small_anchor_shape` is not provided in spec file.",
            "small_anchor_shape",
        ),
        (
            "ValueError: Cannot parse the checkpoint path. Did you rename it?",
            Symptom.SPEC,
            "ValueError: Cannot parse the checkpoint path. Did you rename it?",
            "training_config.resume_model_path",
        ),
        (
            "PermissionError: [Errno 13] Permission denied: '/workspace/cal.bin'",
            Symptom.PERMISSION,
            "[Errno 13] Permission denied: '/workspace/cal.bin'",
            None,
        ),
        ("KeyError: 'getpwuid(): uid not found: 65532'", Symptom.USER, "getpwuid(): uid not found: 65532", None),
        (
            "FileNotFoundError: [Errno 2] No such file or directory: '/data/labels'",
            Symptom.FILE,
            "[Errno 2] No such file or directory: '/data/labels'",
            None,
        ),
        (
            "subprocess.CalledProcessError: Command 'x' died with <Signals.SIGKILL: 9>.",
            Symptom.KILLED,
            "died with <Signals.SIGKILL: 9>",
            None,
        ),
        ("Command was interrupted.", Symptom.INTERRUPTED, "Command was interrupted", None),
        ("Training was interrupted.", Symptom.INTERRUPTED, "Training was interrupted", None),
        (
            "torch.distributed.elastic.multiprocessing.api.SignalException: Process 1 got signal: 15",
            Symptom.INTERRUPTED,
            "got signal: 15",
            None,
        ),
    ],
)
def test_words(line: str, symptom: Symptom | None, detail: str, field: str | None) -> None:
    assert signs(line + "\n") == (() if symptom is None else (Sign(symptom, detail, field),))


@pytest.mark.parametrize(
    "line",
    [
        # TensorFlow goes on after these.
        "W tensorflow/core/common_runtime/bfc_allocator.cc:239] Allocator (GPU_0_bfc) ran out of memory trying to allocate "
        "2.29GiB with freed_by_count=0. The caller indicates that this is not a failure, but may mean that there could be "
        "performance gains if more memory were available.",
        "2022-01-18 02:35:26,737 [INFO] iva.yolo_v4.utils.spec_loader: Loading experiment spec at /yolov4/config.txt.",
        "1794/1794 [==============================] - 583s 325ms/step - loss: 5318.8814",
        "Telemetry data couldn't be sent, but the command ran successfully.",
        "GPU available: True (cuda), used: True",
        "The batch size should be chosen with care",
        "WARNING: image size must be known in advance",
    ],
)
def test_words_that_mean_nothing(line: str) -> None:
    assert signs(line + "\n") == ()


def test_the_sign_that_says_more_is_kept() -> None:
    vague, exact = "failed to allocate 10.91G from device: CUDA_ERROR_OUT_OF_MEMORY: out of memory", TF_OOM
    for log in (f"{vague}\n{exact}\n{exact}x\n", f"{exact}\n{vague}\n"):
        assert signs(log) == (Sign(Symptom.GPU_MEMORY, TF_OOM),)


def test_the_whole_path_of_a_key_follows_its_name() -> None:
    log = (
        "Error merging 'train.yaml' with schema\nKey 'num_epoch' not in 'RTTrainExpConfig'\n"
        "    full_key: train.num_epoch\n    reference_type=RTTrainExpConfig\n    object_type=RTTrainExpConfig\n"
    )
    assert signs(log) == (Sign(Symptom.SPEC, "Key 'num_epoch' not in 'RTTrainExpConfig'", "train.num_epoch"),)
    value = "Value 'many' of type 'str' could not be converted to Integer\n    full_key: train.num_epochs\n"
    assert signs(value) == (
        Sign(Symptom.SPEC, "Value 'many' of type 'str' could not be converted to Integer", "train.num_epochs"),
    )


def test_an_assertion_of_the_spec_loader_is_about_the_spec() -> None:
    def trace(file: str) -> str:
        return (
            "Traceback (most recent call last):\n"
            '  File "/usr/local/bin/yolo_v4", line 8, in <module>\n    sys.exit(main())\n'
            f'  File "/opt/nvidia_tao_tf1/cv/yolo_v4/{file}", line 210, in load_experiment_spec\n    assert x, "…"\n'
            "AssertionError: some_new_field has an odd value\n"
        )

    assert signs(trace("utils/spec_loader.py")) == (
        Sign(Symptom.SPEC, "AssertionError: some_new_field has an odd value", "some_new_field"),
    )
    assert signs(trace("models/yolov4_model.py")) == ()
    gone = "FileNotFoundError: [Errno 2] No such file or directory: 'none.txt'"
    lost = trace("utils/spec_loader.py").replace("AssertionError: some_new_field has an odd value", gone)
    assert signs(lost)[0] == Sign(Symptom.SPEC, gone)


def test_the_message_of_a_failure_is_searched_too() -> None:
    for message, sign in (
        (
            "width must be multiple of 32",
            Sign(Symptom.SPEC, "width must be multiple of 32", "augmentation_config.output_width"),
        ),
        (
            "Configuration error: Key 'a' not in 'B'\n    full_key: model.a\n    object_type=B",
            Sign(Symptom.SPEC, "Configuration error: Key 'a' not in 'B'", "model.a"),
        ),
        (
            "Parameter validation error: Dataset size (3) is smaller than the total batch size (4). Not enough data.",
            Sign(Symptom.DATA, "Dataset size (3) is smaller than the total batch size (4). Not enough data."),
        ),
        ("Schema validation error: {'a': 1}", Sign(Symptom.SPEC, "Schema validation error: {'a': 1}")),
        ("Feature not implemented: fp8", Sign(Symptom.SPEC, "Feature not implemented: fp8")),
        ("File system error: [Errno 28] No space left on device", Sign(Symptom.DISK, "[Errno 28] No space left on device")),
    ):
        reader = Reader()
        reader.status(json.dumps({"status": "FAILURE", "message": message}) + "\n")
        assert reader.reading.signs == (sign,), message


def test_secrets_stay_out_and_details_are_short() -> None:
    (sign,) = signs("ERROR: error: argument -k/--key: --key=nvapi-0123456789abcdef0123 " + "x" * 1000 + "\n")
    assert "0123456789abcdef" not in sign.detail
    assert len(sign.detail) <= MAX_DETAIL


def test_the_last_exception_is_told_without_its_wrappers() -> None:
    reader = Reader()
    reader.feed(
        "ValueError: the first\nRuntimeError: the cause\n"
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n"
        "subprocess.CalledProcessError: Command 'x' returned non-zero exit status 1.\n"
    )
    assert reader.reading.message == "RuntimeError: the cause"


def test_an_exception_of_any_name_ends_a_traceback() -> None:
    reader = Reader()
    reader.feed(
        '[rank0]: Traceback (most recent call last):\n[rank0]:   File "x.py", line 1, in f\n[rank0]:     g()\n'
        "[rank0]: tao.Crash: in the 17th moon\nExecution status: FAIL\n"
    )
    assert reader.reading.message == "tao.Crash: in the 17th moon"


@settings(deadline=None)
@given(st.lists(st.sampled_from(["CUDA out of memory", "full_key: a.b", "Error: ", "a" * 500, "'", 'File "', " ", "\n"])))
def test_any_mixture_of_words(words: list[str]) -> None:
    found = signs("".join(words))
    assert len({sign.symptom for sign in found}) == len(found)
