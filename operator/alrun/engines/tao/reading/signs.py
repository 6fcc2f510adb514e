"""Signs: lines by which a log, or the message of a status line, gives away why TAO did not do its work.

A sign is evidence, not a verdict: TensorFlow says that memory could not be had and goes on with less, and a rank that
is ended says that it was interrupted where another one ran out of memory. `verdict` weighs them, and only where the
work was not done.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from alrun.core.redact import head

MAX_DETAIL = 400
MAX_SEARCHED = 2000
"""Characters of a line in which signs are looked for."""


class Symptom(StrEnum):
    """What a sign is a sign of."""

    GPU_MEMORY = "GpuMemory"
    LOSS = "Loss"
    KEY = "Key"
    GPU = "Gpu"
    GPU_TOO_NEW = "GpuTooNew"
    SHARED_MEMORY = "SharedMemory"
    GPU_LINK = "GpuLink"
    DISK = "Disk"
    DATA = "Data"
    CLASS_IDS = "ClassIds"
    WEIGHTS = "Weights"
    SPEC = "Spec"
    PERMISSION = "Permission"
    USER = "User"
    FILE = "File"
    KILLED = "Killed"
    INTERRUPTED = "Interrupted"


@dataclass(frozen=True, slots=True)
class Sign:
    """A symptom, and the words it was told by; `field` is the field of the experiment spec, where it is named."""

    symptom: Symptom
    detail: str
    field: str | None = None


_SPEC_SENTENCES = (
    # Assertions of yolo_v4's spec loader, and the field each speaks of where it does not say so itself.
    (r"Please specify target_class_mapping", "dataset_config.target_class_mapping"),
    (r"Please specify training data sources", "dataset_config.data_sources"),
    (r"Label format should be identical for all training data sources", "dataset_config.data_sources"),
    (r"Label format should be identical for all validation data sources", "dataset_config.validation_data_sources"),
    (r"Validation dataset specified by `validation_fold` requires", "dataset_config.validation_data_sources"),
    (r"`image_extension` should be specified in `dataset_config`", "dataset_config.image_extension"),
    (r"should (?:all )?be present in image_mean", "augmentation_config.image_mean"),
    (r"(?:RGB images can only support 8-bit|Grayscale images can only support|16-bit images can only be PNG)",
     "augmentation_config.output_depth"),
    (r"\bwidth must be (?:at least|multiple of) 32", "augmentation_config.output_width"),
    (r"\bheight must be (?:at least|multiple of) 32", "augmentation_config.output_height"),
    (r"\bbatch size must be positive", "training_config.batch_size_per_gpu"),
    (r"number of training batchs must be positive", "training_config.num_epochs"),
    (r"checkpoint interval must be positive", "training_config.checkpoint_interval"),
    (r"all loss weights must be non-negative", "yolov4_config.loss_loc_weight"),
    (r"Only `loss` is supported monitor", "training_config.early_stopping.monitor"),
    # Other words of TAO's that come from what the spec says.
    (r"Cannot parse the checkpoint path\. Did you rename it\?", "training_config.resume_model_path"),
    (r"not found in pretrained model\.|has incorrect shape in pretrained model\.", "training_config.pretrain_model_path"),
)  # fmt: skip
_SPEC_WORDS = re.compile(
    r"(?:^|Error: )`?(?P<field>[a-z][a-z0-9]*(?:_[a-z0-9]+)+|hue|jitter|saturation|exposure|patience)`? "
    r"(?:must be |should be |is not provided in spec file|is not support)"
)

# The order within a symptom is the order of worth: the detail of an earlier one is kept.
_PATTERNS: tuple[tuple[Symptom, str], ...] = (
    (Symptom.GPU_MEMORY, r"CUDA out of memory\. .*"),
    (Symptom.GPU_MEMORY, r"OOM when allocating .*"),
    (Symptom.GPU_MEMORY, r"Ran out of GPU memory, please lower the batch size"),
    (Symptom.GPU_MEMORY, r"CUDA out of memory.*|CUDA (?:driver )?error: out of memory|(?:torch|cuda)\.OutOfMemoryError.*"),
    (Symptom.GPU_MEMORY, r"CUDNN_STATUS_ALLOC_FAILED|CUBLAS_STATUS_ALLOC_FAILED|cudaErrorMemoryAllocation"),
    (Symptom.GPU_MEMORY, r"CUDA_ERROR_OUT_OF_MEMORY.*|Cuda failure 2 'out of memory'"),
    (Symptom.GPU_MEMORY, r"ResourceExhaustedError.*|Dst tensor is not initialized"),
    (Symptom.LOSS, r"(?:Batch \d+: )?Invalid loss, terminating training"),
    (Symptom.LOSS, r"Loss is (?:nan|inf)\b.*"),
    (Symptom.KEY, r"Invalid model: .*, please check the key used to load the model"),
    (Symptom.KEY, r"Invalid decryption\b.*|The key used to load the model is incorrect"),
    (Symptom.KEY, r"\b(?:fernet\.)?InvalidToken\b|[Dd]ecryption (?:has )?failed.*"),
    (Symptom.GPU_TOO_NEW, r"no kernel image is available for execution on the device"),
    (Symptom.GPU_TOO_NEW, r"with CUDA capability sm_\d+ is not compatible with the current PyTorch installation"),
    (Symptom.GPU, r"Checking for valid GPU ids and num_gpus\."),
    (Symptom.GPU, r"At least 1 GPU required to run any task\."),
    (Symptom.GPU, r"The number of GPUs \(.*\) must be the same as the number of GPU indices \(.*\) provided\."),
    (Symptom.GPU, r"No such file or directory: '?nvidia-smi'?|nvidia-smi: (?:command )?not found"),
    (Symptom.GPU, r"NVIDIA-SMI has failed because .*|Command '\['nvidia-smi', '-L'\]' returned non-zero exit status.*"),
    (Symptom.GPU, r"No CUDA GPUs are available|no CUDA-capable device is detected|CUDA_ERROR_NO_DEVICE"),
    (Symptom.GPU, r"Found no NVIDIA driver on your system|Failed to initialize NVML.*|No supported gpu backend found"),
    (Symptom.GPU, r"You requested gpu: .*But your machine only has.*|You requested gpu: \[.*"),
    (Symptom.GPU, r"CUDA driver version is insufficient for CUDA runtime version"),
    (Symptom.SHARED_MEMORY, r"DataLoader worker \(pid\(?s?\)? .*\) is killed by signal: Bus error.*"),
    (Symptom.SHARED_MEMORY, r"insufficient shared memory.*|creating shared memory segment /dev/shm.*"),
    (Symptom.SHARED_MEMORY, r"unable to (?:write to|open|mmap|allocate|resize) .*(?:/torch_|/dev/shm|/psm_).*"),
    (Symptom.SHARED_MEMORY, r"No space left on device.*(?:/torch_|/dev/shm|/psm_).*"),
    (Symptom.SHARED_MEMORY, r"\bBus error\b.*|Signals\.SIGBUS|Signal 7 \(SIGBUS\)"),
    (Symptom.GPU_LINK, r"Watchdog caught collective operation timeout.*"),
    (Symptom.GPU_LINK, r"\bnccl(?:System|Internal|Remote|UnhandledCuda)Error\b.*|NCCL error\b.*"),
    (Symptom.DISK, r"No space left on device.*|\[Errno 28\].*"),
    (Symptom.DISK, r"Disk quota exceeded.*|\[Errno 122\].*"),
    (Symptom.DATA, r"Dataset size \(\d+\) is smaller than the total batch size \(\d+\)\..*"),
    (Symptom.DATA, r"Must have more boxes than clusters"),
    (Symptom.DATA, r"num_samples should be a positive integer value, but got num_samples=0"),
    (Symptom.CLASS_IDS, r"Your annotation class ids are not contigous.*"),
    (Symptom.CLASS_IDS, r"CUDA error: device-side assert triggered|Assertion `t >= 0 && t < n_classes` failed"),
    (Symptom.WEIGHTS, r"Error\(s\) in loading state_dict for .*"),
    # Spec: what names a field, before what names a line, before what only says that it is wrong.
    (Symptom.SPEC, r'Message type "[\w.]+" has no field named "(?P<field>\w+)"'),
    (Symptom.SPEC, r'Message type "[\w.]+" should not have multiple "(?P<field>\w+)" fields'),
    (Symptom.SPEC, r'Enum type "[\w.]+" has no value (?:named|with number) \S+'),
    (Symptom.SPEC, r"Key '(?P<field>[^']+)' (?:is )?not in '[^']+'"),
    (Symptom.SPEC, r"Could not (?:override|append to config|delete from config)[.:]? '?(?P<field>[\w.]+)'?"),
    (Symptom.SPEC, r"Missing mandatory value: (?P<field>[\w.]+)"),
    (Symptom.SPEC, r"Value '.*' (?:of type '[^']*' )?could not be converted to "),
    (Symptom.SPEC, r"Invalid value '.*', expected one of "),
    (Symptom.SPEC, r"error: argument (?P<field>[^:]{1,100}): "),
    (
        Symptom.SPEC,
        r"error: (?:the following arguments are required|unrecognized arguments|ambiguous option): (?P<field>.{1,100})",
    ),
    (Symptom.SPEC, r"The subtask `[^`]*` requires the following argument: (?P<field>-e)/--experiment_spec_file"),
    (Symptom.SPEC, r"The indicated experiment spec file `[^`]*` doesn't exist!"),
    (Symptom.SPEC, r"Experiment spec file was not found at "),
    (Symptom.SPEC, r"Cannot find primary config '[^']*'"),
    (Symptom.SPEC, r"Schema validation error: |Configuration error: "),
    (Symptom.SPEC, r"Parameter validation error: |Feature not implemented: "),
    (Symptom.SPEC, r"ParseError: |yaml\.(?:scanner\.Scanner|parser\.Parser|composer\.Composer)Error"),
    (Symptom.SPEC, r"Error merging '[^']*' with schema|Cannot merge (?:Dict|List)Config with (?:Dict|List)Config"),
    (Symptom.SPEC, r"mismatched input .* expecting .*|Error parsing override '"),
    (Symptom.PERMISSION, r"\[Errno 13\] Permission denied.*|PermissionDenied(?:Error)?: .*"),
    (Symptom.USER, r"getpwuid\(\): uid not found: \d+"),
    (Symptom.FILE, r"(?:\[Errno 2\] )?No such file or directory: .*|Model not found: .*"),
    (Symptom.KILLED, r"died with <Signals\.SIGKILL: 9>|Signal 9 \(SIGKILL\)|is killed by signal: Killed.*"),
    (Symptom.INTERRUPTED, r"User/System interruption: .*"),
    (
        Symptom.INTERRUPTED,
        r"(?:Training|Evaluation|Inference|Pruning|Export|KMEANS|Dataset convert|Train|Evaluate) was interrupted\b",
    ),
    (Symptom.INTERRUPTED, r"Command was interrupted\b"),
    (Symptom.INTERRUPTED, r"KeyboardInterrupt|got signal: (?:2|15)\b|Received SIGTERM.*|Detected KeyboardInterrupt.*"),
)
_COMPILED = tuple((symptom, re.compile(pattern)) for symptom, pattern in _PATTERNS)
_SENTENCES = tuple((re.compile(pattern), field) for pattern, field in _SPEC_SENTENCES)
# A line without one of these has no sign; most lines of a log are told by it.
_WORDS = (
    "rror", "emory", "OOM ", "OutOfMemory", "nvalid", "Loss is", "interrupt", "Interrupt", "GPU", "gpu", "pace left",
    "quota", "Dst tensor", "ALLOC_FAILED", "decryption", "the key ", "InvalidToken", "nvidia-smi", "NVIDIA", "NVML",
    "CUDA", "Cuda failure", "Watchdog", "no kernel image", "Errno", "Dataset size", "boxes than clusters",
    "num_samples", "class ids", "n_classes", "Message type", "Enum type", "not in '", "Could not",
    "Missing mandatory", "could not be converted", "requires the following", "spec file", "primary config",
    "mismatched input", "Permission", "uid not found", "No such file", "not found", "signal", "Signal", "SIG",
    "must be ", "should be ", "lease specify", "can only", "requires the training", "present in image_mean",
    "not implemented", "in pretrained model", "supported monitor", "not support", "not provided", "checkpoint path",
    "Value '", "should have", "should not have", "DictConfig",
)  # fmt: skip
_TRACE_FILE = re.compile(r'File "(?P<path>[^"]*)", line \d+')
_EXCEPTION_WORDS = ("Error", "Exception", "KeyboardInterrupt", "SystemExit", "StopIteration", "NotFound")
_EXCEPTION = re.compile(
    r"(?<![\w.])(?P<name>(?:[A-Za-z_]\w{0,60}\.){0,8}(?:[A-Z]\w{0,60}(?:Error|Exception|NotFound)"
    r"|KeyboardInterrupt|SystemExit|StopIteration))(?::\s(?P<message>.*))?$"
)
_FULL_KEY = re.compile(r"full_key: (?P<field>[\w.\[\]]+)")
_SPEC_READERS = ("spec_loader.py", "spec_proto", "text_format.py", "hydra_runner.py")
_TELEMETRY = ("[WARNING]: ", "[Error]: ")
"""What went wrong with the telemetry, which is tried after every run, and of no matter."""
_REFUSALS = (
    "AssertionError",
    "ValueError",
    "TypeError",
    "NotImplementedError",
    "NameError",
    "SyntaxError",
    "FileNotFoundError",
)
"""What a program raises that takes exception to its spec: where it is read, or with a field of it in the message."""
_SPEC_PATH = re.compile(
    r"(?<![\w./])(?:experiment_config\.|cfg\.)?(?P<path>(?:dataset|model|train|evaluate|inference|export)(?:\.[a-z]\w{0,40}){1,4})(?![\w/(])"
)
_FILES = (".py", ".yaml", ".json", ".txt", ".pth", ".onnx")
_WRAPPERS = ("CalledProcessError", "ChildFailedError", "SystemExit")
_FIELD_IN_WORDS = re.compile(r"`(?P<quoted>\w+)`|\b(?P<bare>[a-z][a-z0-9]*(?:_[a-z0-9]+)+)\b")


def signs_in(text: str, *, ours: bool = False) -> Iterator[tuple[int, Sign]]:
    """The signs in one line, each with its worth: of two of one symptom the smaller number says more.

    Args:
        text: a plain line.
        ours: True: the line is known to speak of an error, like the message of a FAILURE; then a bare sentence of
            the spec loader is a sign too.
    """
    if not any(word in text for word in _WORDS):
        return
    text = text[:MAX_SEARCHED]
    seen: set[Symptom] = set()
    for rank, (symptom, pattern) in enumerate(_COMPILED):
        if symptom in seen or (symptom is Symptom.DISK and Symptom.SHARED_MEMORY in seen):
            continue
        if symptom in (Symptom.SPEC, Symptom.FILE) and seen:
            continue  # "Parameter validation error: Dataset size …": the cause is known better
        if found := pattern.search(text):
            seen.add(symptom)
            told = text if symptom is Symptom.SPEC else found[0]
            yield rank, Sign(symptom, head(told, MAX_DETAIL), _field_of(found))
    if Symptom.SPEC in seen or not seen:
        yield from _sentences(text, ours=ours)


def _field_of(found: re.Match[str]) -> str | None:
    field = found.groupdict().get("field")
    return head(field, 100) if field else None


def _sentences(text: str, *, ours: bool) -> Iterator[tuple[int, Sign]]:
    if not ours and "Error" not in text and "error" not in text:
        return
    for pattern, field in _SENTENCES:
        if pattern.search(text):
            yield -2, Sign(Symptom.SPEC, head(text, MAX_DETAIL), field)
            return
    if found := _SPEC_WORDS.search(text):
        yield -1, Sign(Symptom.SPEC, head(text, MAX_DETAIL), found["field"])


class SignBook:
    """The best sign of each symptom in a stream of lines, and the exception that was told last."""

    def __init__(self) -> None:
        self._best: dict[Symptom, tuple[int, Sign]] = {}
        self._in_spec_reader = False
        self._in_traceback = False
        self._key_lines = 0
        self.exception: str | None = None

    def note(self, text: str, *, ours: bool = False) -> None:
        """Look at a plain line; `ours` as for `signs_in`."""
        if text.startswith(_TELEMETRY):
            return
        if self._key_lines:
            self._complete_key(text)
        for rank, sign in signs_in(text, ours=ours):
            self.add(rank, sign)
            if sign.symptom is Symptom.SPEC:
                self._key_lines = 8  # OmegaConf names the whole path of a key a line or two later
        self._follow_traceback(text)

    def add(self, rank: int, sign: Sign) -> None:
        """Keep a sign unless one of the same symptom says more."""
        known = self._best.get(sign.symptom)
        if known is None or rank < known[0]:
            self._best[sign.symptom] = (rank, sign)

    def ranked(self) -> dict[Symptom, tuple[int, Sign]]:
        """The signs with their worth, for another book's `add`."""
        return dict(self._best)

    @property
    def signs(self) -> tuple[Sign, ...]:
        """One sign a symptom, in the order of the symptoms."""
        return tuple(self._best[symptom][1] for symptom in Symptom if symptom in self._best)

    def _complete_key(self, text: str) -> None:
        self._key_lines -= 1
        found = _FULL_KEY.search(text)
        known = self._best.get(Symptom.SPEC)
        if found and known:
            self._best[Symptom.SPEC] = (known[0], replace(known[1], field=head(found["field"], 100)))
            self._key_lines = 0

    def _follow_traceback(self, text: str) -> None:
        if "Traceback (most recent call last)" in text:
            self._in_spec_reader, self._in_traceback = False, True
        elif self._in_traceback and not text[:1].isspace():
            self._in_traceback = False  # frames are indented, and the exception, whatever its name, is not
            name, _, message = text[:MAX_SEARCHED].partition(": ")
            self._note_exception(name.rpartition(".")[2], message, text[:MAX_SEARCHED].strip())
        elif 'File "' in text and (found := _TRACE_FILE.search(text)):
            self._in_spec_reader = self._in_spec_reader or any(name in found["path"] for name in _SPEC_READERS)
        elif any(word in text for word in _EXCEPTION_WORDS) and (found := _EXCEPTION.search(text[:MAX_SEARCHED])):
            self._note_exception(found["name"].rpartition(".")[2], found["message"] or "", found[0].strip())

    def _note_exception(self, name: str, message: str, whole: str) -> None:
        if name in _WRAPPERS and self.exception is not None:
            return
        self.exception = head(whole, MAX_DETAIL)
        path = next((found["path"] for found in _SPEC_PATH.finditer(message) if not found[0].endswith(_FILES)), None)
        if name in _REFUSALS and (self._in_spec_reader or path):
            field = _FIELD_IN_WORDS.search(message)
            named = path or ((field["quoted"] or field["bare"]) if field else None)
            self.add(len(_PATTERNS), Sign(Symptom.SPEC, head(whole, MAX_DETAIL), named))
        self._in_spec_reader = False
