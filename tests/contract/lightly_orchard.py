"""A few images with predictions, metadata and embeddings in Lightly's folders, and a Worker in local mode beside them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lightly.api import ApiWorkflowClient
from lightly.openapi_generated.swagger_client.models import DatasetType, DatasourcePurpose
from PIL import Image

from tests.standins.lightly.server import TOKEN, Server, serve
from tests.standins.lightly.worker import run_worker

DIVERSITY = {"input": {"type": "EMBEDDINGS"}, "strategy": {"type": "DIVERSITY"}}
UNCERTAINTY = {
    "input": {"type": "SCORES", "task": "parts", "score": "uncertainty_entropy"},
    "strategy": {"type": "WEIGHTS"},
}


@contextmanager
def platform(monkeypatch: pytest.MonkeyPatch, environ: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A platform of its own for a test, which the real client finds as its only one."""
    monkeypatch.setenv("LIGHTLY_DID_VERSION_CHECK", "True")
    with serve(environ=environ) as running:
        monkeypatch.setenv("LIGHTLY_SERVER_LOCATION", running.url)
        yield running


@dataclass(frozen=True)
class Orchard:
    """The folders of a datasource, as a container mounts them."""

    root: Path

    @property
    def lightly(self) -> Path:
        return self.root / "lightly" / ".lightly"

    def grow(self, images: int = 12) -> list[str]:
        """Write images whose colours tell them apart; their names, sorted."""
        random = np.random.default_rng(7)
        names = [f"row{number % 3}/tree {number:02d}.png" for number in range(images)]
        for name in names:
            path = self.root / "input" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 255, (12, 16, 3), dtype=np.uint8)).resize((64, 48)).save(path)
        self.lightly.mkdir(parents=True, exist_ok=True)
        return sorted(names)

    def predict(self, scores: Mapping[str, Sequence[float]], *, categories: Sequence[str] = ("apple", "leaf")) -> None:
        """Write predictions: scores of an image's boxes, the first category's."""
        task = self.lightly / "predictions" / "parts"
        self.write("predictions/tasks.json", ["parts"])
        listed = [{"id": number, "name": name} for number, name in enumerate(categories)]
        self.write("predictions/parts/schema.json", {"task_type": "object-detection", "categories": listed})
        for image, values in scores.items():
            boxes = [{"category_id": 0, "bbox": [1.0, 2, 10, 20.5], "score": value} for value in values]
            path = (task / image).with_suffix(".json")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"file_name": image, "predictions": boxes}))

    def write(self, name: str, value: Any) -> None:
        """Write a JSON file below `.lightly/`."""
        path = self.lightly / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))

    def embed(self, points: Mapping[str, Sequence[float]], name: str = "embeddings.csv") -> None:
        """Write a CSV of embeddings."""
        size = len(next(iter(points.values())))
        lines = [",".join(["filenames", *(f"embedding_{number}" for number in range(size)), "labels"])]
        lines += [",".join([image, *(repr(float(value)) for value in values), "0"]) for image, values in points.items()]
        path = self.lightly / "embeddings" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")


class Site:
    """A client, a registered Worker, and where it runs."""

    def __init__(self, server: Server, orchard: Orchard, name: str = "orchard") -> None:
        self.server = server
        self.orchard = orchard
        self.client = ApiWorkflowClient(token=TOKEN)
        self.worker = self.client.register_compute_worker("press", ["here"])
        self.client.create_dataset(name, DatasetType.IMAGES)
        for purpose in (DatasourcePurpose.INPUT, DatasourcePurpose.LIGHTLY):
            self.client.set_local_config(purpose=purpose)

    def schedule(self, *strategies: Any, count: int = 3, selection: Any = None, lightly: Any = None, **worker: Any) -> str:
        """Schedule a run after which the Worker goes home."""
        wanted = selection or {"n_samples": count}
        config = {"datasource": {"process_all": True}, "shutdown_when_job_finished": True} | worker
        return str(
            self.client.schedule_compute_worker_run(
                worker_config=config,
                selection_config=wanted | {"strategies": list(strategies or [DIVERSITY])},
                lightly_config=lightly,
                runs_on=["here"],
            )
        )

    def environ(self, **more: str) -> dict[str, str]:
        """What the Worker's container has."""
        return {
            "LIGHTLY_TOKEN": TOKEN,
            "LIGHTLY_WORKER_ID": self.worker,
            "LIGHTLY_SERVER_LOCATION": self.server.url,
            "LIGHTLY_STANDIN_POLL_S": "0.02",
            "LIGHTLY_STANDIN_INPUT_MOUNT": f"{self.orchard.root}/input",
            "LIGHTLY_STANDIN_LIGHTLY_MOUNT": f"{self.orchard.root}/lightly",
            "LIGHTLY_STANDIN_OUTPUT_DIR": f"{self.orchard.root}/output",
        } | more

    def work(self, stop: threading.Event | None = None, **more: str) -> int:
        """Let the Worker work until it goes home; its exit code."""
        return run_worker(self.environ(**more), stop=stop)

    def done(self, *strategies: Any, **options: Any) -> tuple[str, str]:
        """Schedule a run and let the Worker do it: in which state it ends, with which message."""
        key = self.schedule(*strategies, **options)
        self.work()
        info = self.client.get_compute_worker_run_info(key)
        return str(info.state), str(info.message)

    def picks(self) -> list[str]:
        """What the newest run has selected, in the order in which it was picked."""
        run = self.client.get_compute_worker_runs(self.client.dataset_id)[-1]
        tag = self.client.get_compute_worker_run_tags(run.id)[0]
        return str(self.client.export_filenames_by_tag_id(tag.id)).split("\n")

    def states(self) -> list[str]:
        """All states of the newest run."""
        return list(self.server.state.runs.values())[-1].states
