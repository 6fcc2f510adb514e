"""Measures the operator against a real API server: latency, calls, memory, recovery.

    python bench/operator.py [--runs 200] [--cycles 2] [--seconds 0]

It starts an etcd and an API server of its own (no controllers, no scheduler, no node) and the operator as a process
of its own, with the same code and the same Lease as in a cluster. Steps are instant: a stub watches the Jobs and, for
each, makes the pod with its result and marks the Job complete, as fast as it can, or after `--seconds` on average.

All runs go on at once, and with instant steps none of them ever pauses: the figures are those of an operator, an API
server and a stub that together use every core of the machine. `--seconds 30` shows the latency at an ordinary load.

What is measured:
- finished -> next: from the answer to the write that completes a Job to the moment the watch tells of the run's next.
- status writes and API calls: the operator's own counters (/metrics). kopf's few calls are not among them.
- memory: resident set of the operator's process: after ten runs have warmed it up and ended, and at most while all
  runs are live. Finished Jobs are kept (cleanup.keepFinishedJobs), so the runs that have ended are part of both.
- recovery: from SIGKILL, with a new process started at once, to the next Job that is made.
"""

# ruff: noqa: E402  the path must be put right before anything is imported

from __future__ import annotations

import sys

sys.path[0] = __file__.rpartition("/bench/")[0]  # not this folder: this file would stand in for Python's own `operator`

import argparse
import asyncio
import base64
import os
import random
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(1, str(ROOT / "operator"))

from tests.model.world import result_of

from alrun.api import meta
from alrun.api.step import StepInput
from alrun.cluster.api import APPLY, MERGE
from alrun.cluster.client import Client
from alrun.cluster.errors import ApiError, Unavailable
from alrun.cluster.resources import JOBS, PODS, RUNS, Resource
from alrun.core.plan import JobRequest

KUBERNETES = Path(os.environ.get("ALRUN_K8S_BIN") or Path.home() / ".cache/alrun/bin/k8s-1.34.4/k8s")
NAMESPACE = "bench"
WARMING_RUNS = 10
"""Runs before anything is measured: code that is loaded at its first use is no cost of a run."""
KILLED_RUNS = 20
"""Runs of the second part, during which the operator is killed."""
NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False)


def main() -> int:
    """Run the benchmark; 0 where every target is met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--cycles", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.0, help="mean duration of a step; 0: instant")
    parser.add_argument("--keep", action="store_true", help="leave the logs in place")
    arguments = parser.parse_args()
    if not KUBERNETES.exists():
        sys.exit(f"{KUBERNETES} is not there; `make cluster` builds it, or set ALRUN_K8S_BIN")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    folder = Path(tempfile.mkdtemp(prefix="alrun-bench-"))
    plane = ControlPlane(folder)
    try:
        plane.start()
        return asyncio.run(Bench(plane, arguments.runs, arguments.cycles, arguments.seconds).run())
    finally:
        plane.stop()
        if arguments.keep:
            print(f"logs: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


class ControlPlane:
    """etcd and an API server on free ports of this machine, and processes beside them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kubeconfig = folder / "kubeconfig"
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start both; returns when the API server is ready."""
        etcd, peer, port = _free_port(), _free_port(), _free_port()
        folder, token = self.folder, secrets.token_hex(16)
        for name in ("etcd", "kube-apiserver"):  # the binary is all components, and looks at its own name
            (folder / name).symlink_to(KUBERNETES)
        (folder / "tokens.csv").write_text(f"{token},admin,admin,system:masters\n")
        subprocess.run(["openssl", "genrsa", "-out", folder / "sa.key", "2048"], check=True, capture_output=True)
        client, peers = f"http://127.0.0.1:{etcd}", f"http://127.0.0.1:{peer}"
        self.spawn(
            "etcd", folder / "etcd", f"--data-dir={folder}/data", "--unsafe-no-fsync", f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}", f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}", "--log-level=warn",
        )  # fmt: skip
        self.spawn(
            "kube-apiserver", folder / "kube-apiserver", f"--etcd-servers={client}", f"--cert-dir={folder}/certs",
            f"--secure-port={port}", "--bind-address=127.0.0.1", f"--service-account-key-file={folder}/sa.key",
            f"--service-account-signing-key-file={folder}/sa.key", "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.96.0.0/16", f"--token-auth-file={folder}/tokens.csv",
            "--authorization-mode=RBAC", "--shutdown-delay-duration=0s", "--disable-admission-plugins=ServiceAccount",
        )  # fmt: skip
        certificate = folder / "certs" / "apiserver.crt"
        _wait_for("the API server's certificate", certificate.exists)
        authority = base64.b64encode(certificate.read_bytes()).decode()
        cluster = {"server": f"https://127.0.0.1:{port}", "certificate-authority-data": authority}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "bench", "cluster": cluster}],
            "users": [{"name": "bench", "user": {"token": token}}],
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
            "current-context": "bench",
        }
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(yaml.safe_dump(config))

    def spawn(self, name: str, *command: str | Path, **environ: str) -> subprocess.Popen[bytes]:
        """Start a process whose output goes to a file of the folder."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [str(part) for part in command],
                stdout=log,
                stderr=log,
                env={**os.environ, **environ},
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def stop(self) -> None:
        """End every process that was started here."""
        for process in reversed(self._processes):
            process.kill()
            process.wait()


@dataclass
class Operator:
    """The operator's process, as it would run in a pod."""

    plane: ControlPlane
    port: int = field(
        default_factory=lambda: _free_port()  # noqa: PLW0108  it is defined below
    )
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, or start it again under the same name, as a restarted container is."""
        self.process = self.plane.spawn(
            "operator", sys.executable, "-m", "alrun.controller",
            KUBECONFIG=str(self.plane.kubeconfig), PYTHONPATH=str(ROOT / "operator"), POD_NAME="bench-0",
            ALRUN_WORKER_IMAGE="example.org/worker:1", ALRUN_LEASE_NAMESPACE=NAMESPACE, ALRUN_HTTP_PORT=str(self.port),
        )  # fmt: skip

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def end(self) -> float:
        """SIGTERM; seconds until it is gone."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=30)
        return time.monotonic() - began

    def memory(self) -> float:
        """Resident set in MB."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1000

    def metrics(self) -> dict[str, float]:
        """Every sample of /metrics; counters by name, labels left out and summed."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        found: dict[str, float] = {}
        for line in lines:
            if not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                name = name.partition("{")[0]
                found[name] = found.get(name, 0.0) + float(value)
        return found

    def leads(self) -> bool:
        """Whether it holds the Lease."""
        try:
            return self.metrics().get("alrun_leader") == 1
        except OSError:
            return False


@dataclass
class Measured:
    """What was seen of the undisturbed runs; memory in MB, latencies in seconds."""

    counters: dict[str, float]
    jobs: int
    seconds: float
    fresh: float
    idle: float
    peak: float
    after: float
    latencies: list[float]


class Bench:
    """The measurement."""

    def __init__(self, plane: ControlPlane, runs: int, cycles: int, seconds: float) -> None:
        self.plane, self.runs, self.cycles, self.seconds = plane, runs, cycles, seconds
        self.finished_at: dict[str, float] = {}
        self.latencies: list[float] = []
        self.jobs = self.applied = self.ended = 0
        self.paced = False  # the runs before and after those that are measured have instant steps
        self.first_after = asyncio.Event()
        self.room = asyncio.Semaphore(32)
        self.rng = random.Random(7)  # noqa: S311
        self.paused = asyncio.Event()
        self.paused.set()

    async def run(self) -> int:
        """Measure, print, judge."""
        async with await Client.connect(kubeconfig=str(self.plane.kubeconfig)) as api:
            await _prepare(api)
            operator = Operator(self.plane)
            operator.start()
            await _until("the operator leads", operator.leads)
            await asyncio.sleep(3)
            fresh = operator.memory()
            stub = asyncio.create_task(self._stub(api))
            counter = asyncio.create_task(self._count_ended(api))
            await self._apply_many(api, WARMING_RUNS)
            await _until("the warming runs end", lambda: self.ended == self.applied, 600)
            await asyncio.sleep(3)
            self.latencies.clear()
            idle, jobs, before = operator.memory(), self.jobs, operator.metrics()
            began = time.monotonic()
            self.paced = True
            await self._apply_many(api, self.runs)
            peak = await self._measure_memory(operator)
            took = time.monotonic() - began
            self.paced = False
            await asyncio.sleep(1)
            counters = {name: value - before.get(name, 0.0) for name, value in operator.metrics().items()}
            measured = Measured(counters, self.jobs - jobs, took, fresh, idle, peak, operator.memory(), list(self.latencies))
            jobs = self.jobs
            await self._apply_many(api, KILLED_RUNS)
            await _until("the runs are under way", lambda: self.jobs > jobs + 2 * KILLED_RUNS)
            recovery = await self._kill(operator)
            await _until("every run ends", lambda: self.ended == self.applied, 600)
            stopped = operator.end()
            for task in (stub, counter):
                task.cancel()
        return self._report(measured, recovery, stopped)

    def _report(self, measured: Measured, recovery: float, stopped: float) -> int:
        made = measured.counters["alrun_jobs_created_total"]
        writes = measured.counters["alrun_status_writes_total"]
        calls = measured.counters["alrun_api_calls_total"]
        p50, p99 = _quantile(measured.latencies, 0.5), _quantile(measured.latencies, 0.99)
        idle, peak, took = measured.idle, measured.peak, measured.seconds
        per_run = (peak - idle) * 1000 / self.runs
        rows: list[tuple[str, str, str, bool | None]] = [
            ("finished -> next, p50", f"{p50:.3f} s", "", None),
            ("finished -> next, p99", f"{p99:.3f} s", "< 1 s", p99 < 1),
            ("status writes per transition", f"{writes / made:.2f}", "<= 2", writes / made <= 2),
            ("API calls per transition", f"{calls / made:.1f}", "", None),
            ("API calls per run", f"{calls / self.runs:.0f}", "", None),
            ("memory after the start", f"{measured.fresh:.1f} MB", "", None),
            ("memory, no live runs", f"{idle:.1f} MB", "<= 100 MB", idle <= 100),
            (f"memory, {self.runs} runs live", f"{peak:.1f} MB", "", None),
            ("memory per run", f"{per_run:.1f} KB", "<= 25 KB", per_run <= 25),
            ("memory after the last run", f"{measured.after:.1f} MB", "", None),
            ("recovery after SIGKILL", f"{recovery:.1f} s", "< 10 s", recovery < 10),
            ("end after SIGTERM", f"{stopped:.1f} s", "< 10 s", stopped < 10),
        ]
        steps = "instant" if not self.seconds else f"of {self.seconds:g} s on average"
        rate = measured.jobs / took
        print(f"\n{self.runs} runs, {measured.jobs} steps {steps}, {took:.0f} s, {rate:.0f} steps/s, {os.cpu_count()} cores")
        for name, value, target, met in rows:
            print(f"  {name:<32}{value:>12}  {target:<10}{'' if met is None else 'met' if met else 'NOT met'}")
        return 0 if all(met is not False for *_, met in rows) else 1

    async def _measure_memory(self, operator: Operator) -> float:
        """The largest resident set until the runs have ended."""
        peak, tell_at = 0.0, 0.0
        while self.ended < self.applied:
            peak = max(peak, operator.memory())
            if time.monotonic() >= tell_at:
                print(f"{self.jobs} steps, {self.ended} of {self.applied} runs have ended", flush=True)
                tell_at = time.monotonic() + 15
            await asyncio.sleep(0.5)
        return peak

    async def _kill(self, operator: Operator) -> float:
        """Seconds from SIGKILL to the next Job, a new process started at once."""
        operator.kill()
        await asyncio.sleep(0.3)  # what the dead process asked for has been told by now
        began = time.monotonic() - 0.3
        self.finished_at.clear()  # what waits for the operator now is recovery, not latency
        self.first_after.clear()
        operator.start()
        await asyncio.wait_for(self.first_after.wait(), 120)
        return time.monotonic() - began

    async def _apply_many(self, api: Client, count: int) -> None:
        numbers = range(self.applied, self.applied + count)
        self.applied += count
        await asyncio.gather(*(self._apply(api, number) for number in numbers))

    async def _apply(self, api: Client, number: int) -> None:
        name = f"run-{number:04d}"
        body = {
            "apiVersion": meta.API_VERSION,
            "kind": meta.KIND,
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "dataset": {"uri": "s3://bench/data", "labels": {"path": "labels", "format": "KITTI"}},
                "workspace": {"uri": "s3://bench/out"},
                "loop": {"labelBudget": {"images": 100 * self.cycles}, "batch": {"count": 20}, "maxCycles": self.cycles},
            },
        }
        async with self.room:
            await api.call(
                "PATCH", RUNS.path(NAMESPACE, name), query={"fieldManager": "bench"}, body=body, content_type=APPLY
            )

    async def _count_ended(self, api: Client) -> None:
        while True:
            answer = await api.call("GET", RUNS.path(NAMESPACE), query={"limit": "1000"})
            phases = [(run.get("status") or {}).get("phase") for run in answer["items"]]
            if "Failed" in phases:
                broken = next(run for run in answer["items"] if run["status"]["phase"] == "Failed")
                raise RuntimeError(f"a run failed: {broken['status']['message']}")
            self.ended = phases.count("Succeeded")
            await asyncio.sleep(5)

    async def _stub(self, api: Client) -> None:
        """Finish every Job, as the Job controller and a node would."""
        since = (await api.call("GET", JOBS.path(NAMESPACE)))["metadata"]["resourceVersion"]
        tasks: set[asyncio.Task[None]] = set()
        while True:
            try:
                async for change in api.watch(JOBS.path(NAMESPACE), query={"resourceVersion": since}):
                    if change is None:
                        continue
                    job = change["object"]
                    since = job["metadata"]["resourceVersion"]
                    if change["type"] != "ADDED":
                        continue
                    self._seen(job)
                    task = asyncio.create_task(self._finish(api, job))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
            except Unavailable:
                await asyncio.sleep(0.1)

    def _seen(self, job: dict[str, Any]) -> None:
        at = time.monotonic()
        self.jobs += 1
        self.first_after.set()
        finished = self.finished_at.pop(job["metadata"]["labels"][meta.LABEL_RUN], None)
        if finished is not None:
            self.latencies.append(at - finished)

    async def _finish(self, api: Client, job: dict[str, Any]) -> None:
        if self.seconds and self.paced:
            await asyncio.sleep(self.rng.uniform(0.0, 2 * self.seconds))
        metadata, template = job["metadata"], job["spec"]["template"]
        text = template["metadata"]["annotations"][meta.ANNOTATION_INPUT]
        step_input = StepInput.model_validate_json(text)
        result = result_of(JobRequest(metadata["name"], 1, "Embedded", step_input)).model_dump_json(
            by_alias=True, exclude_none=True
        )
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        container = template["spec"]["containers"][0]
        name = f"{metadata['name']}-0"
        owner = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "name": metadata["name"],
            "uid": metadata["uid"],
            "controller": True,
        }
        pod = {
            "metadata": {
                "name": name,
                "labels": {**template["metadata"]["labels"], "batch.kubernetes.io/controller-uid": metadata["uid"]},
                "ownerReferences": [owner],
            },
            "spec": {"restartPolicy": "Never", "containers": [{"name": container["name"], "image": container["image"]}]},
        }
        ended = {
            "terminated": {"exitCode": 0, "reason": "Completed", "startedAt": stamp, "finishedAt": stamp, "message": result}
        }
        statuses = [
            {"name": container["name"], "image": "x", "imageID": "", "ready": False, "restartCount": 0, "state": ended}
        ]
        when = {"lastProbeTime": stamp, "lastTransitionTime": stamp, "status": "True"}
        complete = {
            "startTime": metadata["creationTimestamp"],
            "completionTime": stamp,
            "succeeded": 1,
            "active": 0,
            "ready": 0,
            "uncountedTerminatedPods": {},
            "conditions": [{"type": "SuccessCriteriaMet", **when}, {"type": "Complete", **when}],
            **({"completedIndexes": "0"} if job["spec"].get("completionMode") == "Indexed" else {}),
        }
        async with self.room:
            await api.call("POST", PODS.path(NAMESPACE), body=pod)
            status = {"phase": "Succeeded", "containerStatuses": statuses}
            await api.call("PATCH", PODS.path(NAMESPACE, name, "status"), body={"status": status}, content_type=MERGE)
            path = JOBS.path(NAMESPACE, metadata["name"], "status")
            run = metadata["labels"][meta.LABEL_RUN]
            self.finished_at[run] = float("inf")
            await api.call("PATCH", path, body={"status": complete}, content_type=MERGE)
        self.finished_at[run] = time.monotonic()


async def _prepare(api: Client) -> None:
    async def ready() -> bool:
        try:
            await api.call("GET", NAMESPACES.path(name="default"))
        except ApiError:
            return False
        return True

    for _ in range(300):
        if await ready():
            break
        await asyncio.sleep(0.2)
    await api.call("POST", NAMESPACES.path(), body={"metadata": {"name": NAMESPACE}})
    crd = yaml.safe_load((ROOT / "crds" / "activelearningruns.yaml").read_text())
    await api.call("PATCH", CRDS.path(name=meta.CRD_NAME), query={"fieldManager": "bench"}, body=crd, content_type=APPLY)
    for _ in range(100):
        try:
            await api.call("GET", RUNS.path(NAMESPACE))
        except ApiError:
            await asyncio.sleep(0.2)


async def _until(what: str, holds: Callable[[], bool], seconds: float = 60.0) -> None:
    for _ in range(int(seconds / 0.2)):
        if await asyncio.to_thread(holds):
            return
        await asyncio.sleep(0.2)
    raise TimeoutError(f"waited {seconds:.0f} s in vain: {what}")


def _wait_for(what: str, holds: Callable[[], bool]) -> None:
    for _ in range(300):
        if holds():
            return
        time.sleep(0.1)
    raise TimeoutError(f"waited in vain for {what}")


def _quantile(values: list[float], share: float) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[round(share * 100) - 1]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
