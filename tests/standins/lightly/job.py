"""One run, from state to state."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import choosing, metadata, pixels, predictions, report, vectors
from .config import Config, Docker, Lightly, Selection
from .endings import Killed, RunEnd
from .failures import Wish, wanted
from .platform import Answered, Api, fetch
from .sources import Mounted, Reader, Remote, Source
from .states import ORDER

VERSION = "3.0.0"
"""Of the Worker."""
_CORRUPTION_THRESHOLD = 0.1
_log = logging.getLogger("lightly.worker")


@dataclass(frozen=True)
class Place:
    """Where the Worker runs.

    Attributes:
        inputs, lightly: mounts of the local mode.
        output: where files are left.
        beat: tells the platform that the Worker lives.
        stop: set when the container is stopped.
    """

    inputs: Path
    lightly: Path
    output: Path
    beat: Callable[[], None]
    stop: threading.Event


@dataclass
class Gathered:
    """What the run has learned so far."""

    datapool: dict[str, list[float]] = field(default_factory=dict)
    readers: dict[str, Reader] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    """Of readable images."""
    looks: dict[str, pixels.Look] = field(default_factory=dict)
    corrupt: list[str] = field(default_factory=list)
    fields: list[metadata.Field] = field(default_factory=list)
    custom: dict[str, dict[str, Any]] = field(default_factory=dict)
    tasks: dict[str, predictions.Task] = field(default_factory=dict)
    vectors: dict[str, Sequence[float] | NDArray[np.float32]] = field(default_factory=dict)
    """Embeddings, by image."""
    picks: list[str] = field(default_factory=list)


def _refuse_what_the_stand_in_lacks(selection: Selection) -> None:
    lacking = ["autoTasks"] if selection.auto_tasks else []
    lacking += ["targetRange" for entry in selection.strategies if entry.strategy.target_range is not None]
    lacking += [
        "embeddings of objects" for entry in selection.strategies if entry.input.type == "EMBEDDINGS" and entry.input.task
    ]
    if lacking:
        raise RunEnd("FAILED", f"{', '.join(lacking)}: the real Worker may have them, the stand-in has not")


class Job:
    """What a Worker does with a run that it has locked."""

    def __init__(self, api: Api, scheduled: Mapping[str, Any], place: Place, wishes: Sequence[Wish]) -> None:
        self._api = api
        self._dataset = str(scheduled["datasetId"])
        self._place = place
        self._wishes = wishes
        self._started = int(time.time())
        body = {
            "dockerVersion": VERSION,
            "datasetId": self._dataset,
            "scheduledId": scheduled["id"],
            "configId": scheduled["configId"],
            "creator": "USER_WORKER",
        }
        self.run = str(api.call("POST", "/v1/docker/runs", body)["id"])
        self._folder = place.output / self.run
        self._lines: list[str] = []
        self._got = Gathered()
        self._config_id = str(scheduled["configId"])
        self.config = Config.model_construct(worker_type="FULL")
        self._source: Source = Remote(api, self._dataset)

    @property
    def _docker(self) -> Docker:
        return self.config.docker or Docker()

    @property
    def _lightly(self) -> Lightly:
        return self.config.lightly or Lightly()

    @property
    def _selection(self) -> Selection:
        assert self.config.selection is not None  # the platform takes no other
        return self.config.selection

    def do(self) -> str:
        """Go through all states; the state in which the run ends.

        Raises:
            Killed: as wished: nobody is told.
        """
        try:
            for state in ORDER[1:-1]:
                if not self._skips(state):
                    self._enter(state)
                    getattr(self, f"_{state.lower()}", lambda: None)()
            self._tell("COMPLETED", f"selected {len(self._got.picks)} new samples")
        except RunEnd as end:
            self._say(f"{end.state}: {end.message}", "ERROR")
            self._leave_log()
            self._tell(end.state, end.message)
            return end.state
        except Exception as error:
            _log.exception("crashed")
            self._say(f"CRASHED: {error!r}", "CRITICAL")
            self._leave_log()
            self._tell("CRASHED", f"The Lightly Worker crashed: {error}")
            return "CRASHED"
        return "COMPLETED"

    def _skips(self, state: str) -> bool:
        return {
            "TRAINING": not self._docker.enable_training,
            "PRETAGGING": not self._docker.pretagging,
            "INITIALIZING_OBJECT_CROPS": True,
            "EMBEDDING_OBJECT_CROPS": True,
            "EMBEDDING_FULL_IMAGES": True,
            "COMPUTING_ACTIVE_LEARNING_SCORES": not self._got.tasks,
            "UPLOADING_REPORT": self._docker.upload_report is False,
            "UPLOADED_REPORT": self._docker.upload_report is False,
        }.get(state, False)

    def _enter(self, state: str) -> None:
        if self._place.stop.is_set():
            raise RunEnd("ABORTED", "the Lightly Worker was stopped")
        self._tell(state, state.replace("_", " ").capitalize())
        self._place.beat()
        if slow := wanted(self._wishes, "slow"):
            self._place.stop.wait(float(slow.value))
        if wanted(self._wishes, "killed", state):
            raise Killed
        while wanted(self._wishes, "stalled", state):
            if self._place.stop.wait(5):
                raise RunEnd("ABORTED", "the Lightly Worker was stopped")
            self._place.beat()
        for mode in ("failed", "aborted"):
            if wanted(self._wishes, mode, state):
                raise RunEnd(mode.upper(), f"the run {mode} in {state}, as it was asked to")
        if wanted(self._wishes, "crashed", state):
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    def _tell(self, state: str, message: str) -> None:
        now = int(time.time() * 1000)
        self._say(f"{state}: {message}")
        self._api.call("PUT", f"/v1/docker/runs/{self.run}", {"state": state, "message": message, "ts": now})

    def _say(self, text: str, level: str = "INFO") -> None:
        _log.info("run %s %s", self.run, text)
        self._lines.append(text)
        entry = {"ts": int(time.time() * 1000), "level": level, "group": "lightly-worker", "msg": text}
        self._api.call("PUT", f"/v1/docker/runs/{self.run}/logs", entry)

    # The states, in order.

    def _initializing(self) -> None:
        stored = self._api.call("GET", f"/v1/docker/worker/config/vX/{self._config_id}")
        self.config = Config.model_validate(stored["config"])
        try:
            self._api.call("POST", "/v1/docker/workerAuthorization", {"hashedTaskDescription": self.run})
        except Answered as error:
            raise RunEnd("FAILED", str(error)) from error
        _refuse_what_the_stand_in_lacks(self._selection)
        inputs, lightly = (
            self._api.call("GET", f"/v1/datasets/{self._dataset}/datasource", purpose=purpose)
            for purpose in ("INPUT", "LIGHTLY")
        )
        if (inputs["type"] == "LOCAL") != (lightly["type"] == "LOCAL"):
            raise RunEnd("FAILED", "either both datasources are LOCAL, or none is")
        if inputs["type"] == "LOCAL":
            self._source = Mounted(self._place.inputs / inputs["fullPath"], self._place.lightly / lightly["fullPath"])
        elif not (self._docker.datasource and self._docker.datasource.bypass_verify):
            self._verify()

    def _verify(self) -> None:
        try:
            can = self._api.call("GET", f"/v1/datasets/{self._dataset}/datasource/verify")
        except Answered as error:
            raise RunEnd("FAILED", f"Datasource verification failed: {error}") from error
        lacking = [name for name in ("canList", "canRead", "canWrite", "canOverwrite") if not can[name]]
        if lacking:
            why = "; ".join(f"{name}: {text}" for name, text in can.get("errors", {}).items())
            raise RunEnd("FAILED", f"Datasource verification failed: not {', '.join(lacking)}: {why}")

    def _loading_dataset(self) -> None:
        docker, got = self._docker, self._got
        known = self._api.call("GET", f"/worker/v1/datasets/{self._dataset}/datapool")
        got.datapool = {sample["fileName"]: sample["embedding"] for sample in known["samples"]}
        if got.datapool and not docker.use_datapool:
            text = f"dataset {known['name']!r} holds {len(got.datapool)} samples, but the datapool is disabled"
            raise RunEnd("ABORTED", f"{text}: use an empty dataset or set use_datapool to True")
        everything = docker.datasource is not None and docker.datasource.process_all
        first = 0 if everything else self._processed_until()
        try:
            got.readers = self._source.images(docker.relevant_filenames_file, first)
        except Answered as error:
            raise RunEnd("FAILED", f"the input datasource cannot be listed: {error}") from error
        got.names = sorted(got.readers)
        if not set(got.names) - set(got.datapool):
            raise RunEnd("ABORTED", "there are no new samples in the input datasource")
        self._say(f"{len(got.names)} images, {len(got.datapool)} samples in the datapool")

    def _processed_until(self) -> int:
        path = f"/v1/datasets/{self._dataset}/datasource/processedUntilTimestamp"
        return int(self._api.call("GET", path)["processedUntilTimestamp"])

    def _loading_metadata(self) -> None:
        self._got.fields, self._got.custom = metadata.load(self._source, [*self._got.names, *self._gone()])

    def _loading_prediction(self) -> None:
        entries = self._selection.strategies
        names = sorted({entry.input.task for entry in entries if entry.input.task and entry.input.type != "EMBEDDINGS"})
        self._got.tasks = predictions.load(self._source, names, self._got.names, self._gone())
        for task in self._got.tasks.values():
            for image, reason in task.skipped.items():
                self._say(f"prediction of {image} is skipped: {reason}", "WARNING")
            self._say(f"task {task.name!r}: {len(task.of)} images have predictions")

    def _checking_corruptness(self) -> None:
        got = self._got
        with ThreadPoolExecutor(4) as pool:
            looks = list(pool.map(lambda name: pixels.look(got.readers[name]()), got.names))
        got.looks = {name: one for name, one in zip(got.names, looks, strict=True) if one is not None}
        got.corrupt = [name for name in got.names if name not in got.looks]
        check = self._docker.corruptness_check
        threshold = check.corruption_threshold if check is not None else None
        if not got.looks:
            raise RunEnd("ABORTED", f"All {len(got.names)} images have been flagged as corrupt.")
        if len(got.corrupt) > (_CORRUPTION_THRESHOLD if threshold is None else threshold) * len(got.names):
            raise RunEnd("ABORTED", f"{len(got.corrupt)} of {len(got.names)} images are corrupt, first {got.corrupt[0]}")
        got.names = list(got.looks)

    def _embedding(self) -> None:
        got, name = self._got, self._docker.embeddings
        if name is None:
            made = pixels.embeddings([got.looks[image] for image in got.names])
            got.vectors = dict(zip(got.names, made, strict=True))
            return
        data = self._source.file("embeddings", name)
        if data is None:
            raise RunEnd("ABORTED", f".lightly/embeddings/{name} does not exist")
        model = self._lightly.model
        dimensions = (model.num_ftrs if model is not None else None) or vectors.USUAL_DIMENSIONS
        got.vectors = dict(vectors.parse(data, name, dimensions, got.names))
        if self._docker.normalize_embeddings:
            rows = ((image, np.array(vector, np.float32)) for image, vector in got.vectors.items())
            got.vectors = {image: row / max(float(np.linalg.norm(row)), 1e-12) for image, row in rows}

    def _sampling(self) -> None:
        got = self._got
        # Those of the datapool are as they were remembered, unless the user's file has them anew.
        of = {
            name: np.array(got.vectors.get(name, got.datapool.get(name)), np.float32) for name in (*got.names, *self._gone())
        }
        if len({one.shape for one in of.values()}) > 1:
            raise RunEnd("ABORTED", "embeddings of the datapool have another number of dimensions than those of this run")
        images = sorted(of)
        empty = dict.fromkeys(next(iter(got.looks.values())).metadata, 0)
        known = choosing.Known(
            images,
            np.stack([of[image] for image in images]),
            np.array([image not in got.datapool for image in images]),
            got.tasks,
            got.fields,
            got.custom,
            [got.looks[image].metadata if image in got.looks else empty for image in images],
            self._queries,
        )
        picks = choosing.choose(known, self._selection, self._lightly.seed or 0)
        got.picks = [images[place] for place in picks]
        self._say(f"selected {len(got.picks)} of {int(known.open.sum())} images")

    def _gone(self) -> list[str]:
        """Images that were selected before and are not among the inputs."""
        return sorted(set(self._got.datapool) - set(self._got.names))

    def _queries(self, dataset: str, tag: str) -> NDArray[np.float32]:
        try:
            samples = self._api.call("GET", f"/worker/v1/datasets/{dataset}/datapool", tagName=tag)["samples"]
        except Answered as error:
            raise RunEnd("FAILED", f"tag {tag!r} of dataset {dataset}: {error}") from error
        return np.array([sample["embedding"] for sample in samples], dtype=np.float32)

    def _uploading_dataset(self) -> None:
        got, docker = self._got, self._docker
        samples = [
            {
                "fileName": name,
                "metaData": {"lightly": got.looks[name].metadata, **got.custom.get(name, {})},
                "embedding": np.asarray(got.vectors[name], np.float64).tolist(),
            }
            for name in got.picks
        ]
        self._api.call("POST", f"/worker/v1/runs/{self.run}/selection", {"samples": samples})
        if docker.datasource is None or docker.datasource.enable_datapool_update is not False:
            path = f"/v1/datasets/{self._dataset}/datasource/processedUntilTimestamp"
            self._api.call("PUT", path, {"processedUntilTimestamp": self._started})

    def _uploading_artifacts(self) -> None:
        got = self._got
        facts = {
            "worker_version": VERSION,
            "n_inputs": len(got.readers),
            "n_corrupt": len(got.corrupt),
            "n_datapool": len(got.datapool),
            "n_selected": len(got.picks),
            "selected": got.picks,
            "selection": self._selection.model_dump(by_alias=True, exclude_none=True),
        }
        check = {"corrupt_files": got.corrupt, "n_files": len(got.readers)}
        self._leave("corruptness_check_information.json", "CORRUPTNESS_CHECK_INFORMATION", report.as_json(check))
        if self._docker.upload_report is not False:
            lines = ["Lightly Worker (stand-in)", *(f"{key}: {value}" for key, value in facts.items() if key[:2] == "n_")]
            self._leave("report.pdf", "REPORT_PDF", report.as_pdf(lines))
            self._leave("report.json", "REPORT_JSON", report.as_json(facts))
            self._leave("report_v2.json", "REPORT_V2_JSON", report.as_json(facts))
        self._leave_log()

    def _leave_log(self) -> None:
        self._leave("log.txt", "LOG", "".join(f"{line}\n" for line in self._lines).encode())

    def _leave(self, name: str, kind: str, content: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / name).write_bytes(content)
        path = f"/v1/docker/runs/{self.run}/artifacts"
        made = self._api.call("POST", path, {"fileName": name, "type": kind, "storageLocation": "LIGHTLY"})
        fetch(made["signedWriteUrl"], "PUT", content)
        self._api.call("PUT", f"{path}/{made['artifactId']}/confirmUpload")
