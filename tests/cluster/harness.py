"""A real cluster as the tests see it: make a run, wait until something is so, break something.

Waiting is done on watches with a deadline: a test goes on in the moment in which what it waits for is so, and
what it waited for in vain is in the message, with the run's status and the operator's log.
"""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
import pyarrow
import pyarrow.parquet
import urllib3
import yaml
from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException
from localcluster import lightly, s3
from localcluster.cluster import BreakableCluster
from localcluster.install import NAMESPACE as OPERATOR_NAMESPACE
from localcluster.install import SELECTOR as OPERATOR_SELECTOR
from localcluster.kubectl import Kubectl
from localcluster.layouts import Layout
from localcluster.settings import ROOT
from localcluster.shell import SetUpError

GROUP, VERSION, PLURAL = "activelearning.dev", "v1alpha1", "activelearningruns"
BUCKET = "tests"
SECRET = "s3-access"
DATASET = "dataset"
Object = dict[str, Any]


class World:
    """The cluster under test, with the operator and a store with a data set in it."""

    def __init__(self, cluster: BreakableCluster, store: s3.S3, layout: Layout, images_per_shard: int) -> None:
        self.cluster = cluster
        self.kubectl = Kubectl(cluster.kubeconfig)
        self.store = store
        self.layout = layout
        self.images_per_shard = images_per_shard
        configuration = client.Configuration()
        config.load_kube_config(str(cluster.kubeconfig), client_configuration=configuration)
        configuration.retries = False
        self.api = client.ApiClient(configuration)
        self.core = client.CoreV1Api(self.api)
        self.batch = client.BatchV1Api(self.api)
        self.custom = client.CustomObjectsApi(self.api)
        self.leases = client.CoordinationV1Api(self.api)

    def leader(self) -> str:
        """Name of the operator's pod that holds the Lease."""
        return str(self.leases.read_namespaced_lease("alrun", OPERATOR_NAMESPACE).spec.holder_identity)

    def kill_operator(self, pod: str) -> bool:
        """SIGKILL to the operator in a pod, and the kubelet starts it again; False where it was not running."""
        statuses = self.core.read_namespaced_pod(pod, OPERATOR_NAMESPACE).status.container_statuses
        if not (statuses and statuses[0].state.running):
            return False
        try:
            self.cluster.kill_container(statuses[0].container_id.rpartition("/")[2])
        except SetUpError:  # it ended since
            return False
        return True

    def operators(self) -> list[client.V1Pod]:
        """The operator's pods."""
        return list(self.core.list_namespaced_pod(OPERATOR_NAMESPACE, label_selector=OPERATOR_SELECTOR).items)

    def operator_log(self) -> str:
        """End of what the operator's pods had to say."""
        try:
            return self.kubectl(
                "logs", f"--namespace={OPERATOR_NAMESPACE}", f"--selector={OPERATOR_SELECTOR}", "--tail=30", "--prefix"
            )
        except SetUpError as error:  # the node may be the very thing that a test has taken away
            return str(error)

    @contextmanager
    def bucket(self) -> Iterator[Any]:
        """A client of the store, from this machine."""
        with self.kubectl.forward(self.store.namespace, "service/s3", s3.PORT) as port:
            yield boto3.client(
                "s3",
                endpoint_url=f"http://127.0.0.1:{port}",
                region_name=s3.REGION,
                aws_access_key_id=self.store.access_key,
                aws_secret_access_key=self.store.secret_key,
            )

    def files(self, prefix: str, what: str = "Size") -> dict[str, Any]:
        """Files in the bucket below a prefix, with their sizes, or their ETags: digests of what is in them."""
        with self.bucket() as bucket:
            pages = bucket.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
            return {entry["Key"].removeprefix(prefix): entry[what] for page in pages for entry in page.get("Contents", [])}

    def remove(self, prefix: str) -> None:
        """Delete the files in the bucket below a prefix."""
        names = [prefix + name for name in self.files(prefix)]
        with self.bucket() as bucket:
            for start in range(0, len(names), 1000):
                chunk = [{"Key": name} for name in names[start : start + 1000]]
                bucket.delete_objects(Bucket=BUCKET, Delete={"Objects": chunk, "Quiet": True})

    def write(self, key: str, content: bytes) -> None:
        """Make a file of the bucket."""
        with self.bucket() as bucket:
            bucket.put_object(Bucket=BUCKET, Key=key, Body=content)

    def read(self, key: str) -> bytes:
        """One file of the bucket."""
        with self.bucket() as bucket:
            return bytes(bucket.get_object(Bucket=BUCKET, Key=key)["Body"].read())


class Platform:
    """The stand-in of Lightly's platform, with the one token that it knows."""

    def __init__(self, world: World, running: lightly.Lightly, token: str) -> None:
        self.world = world
        self.token = token
        self.server = running.server
        self._running = running

    def secret(self, namespace: str) -> Object:
        """The Secret that examples call `lightly`."""
        metadata = {"name": "lightly", "namespace": namespace}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"token": self.token}}

    def state(self) -> Object:
        """What it remembers."""
        with self.world.kubectl.forward(self._running.namespace, f"service/{self._running.service}", lightly.PORT) as port:
            answer = urllib3.request("GET", f"http://127.0.0.1:{port}/state", fields={"token": self.token}, timeout=20)
        return dict(answer.json())

    def until(self, what: str, holds: Callable[[Object], bool], timeout: float = 60) -> Object:
        """Ask until it remembers what is wanted; all that it remembers then.

        Raises:
            AssertionError: it was not so in time.
        """
        end = time.monotonic() + timeout
        while not holds(state := self.state()):
            if time.monotonic() > end:
                raise AssertionError(f"the platform: waited for {what}; it remembers {json.dumps(state)[-3000:]}")
            time.sleep(0.5)
        return state


class Place:
    """A namespace of a test's own, with the Secret that its runs refer to."""

    def __init__(self, world: World, name: str, store: s3.S3 | None = None) -> None:
        self.world = world
        self.name = name
        self.store = store or world.store
        namespace = {"metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
        world.kubectl.apply({"apiVersion": "v1", "kind": "Namespace", **namespace}, self.store.secret(SECRET, name))

    def spec(self, changes: Mapping[str, Any] | None = None) -> Object:
        """A run that does everything a run does, on little data and with little training."""
        spec: Object = {
            "seed": 5,
            "dataset": {
                "uri": f"s3://{BUCKET}/{DATASET}",
                "images": self.world.layout.images,
                "labels": {"path": self.world.layout.labels, "format": self.world.layout.format},
                "storage": {"endpoint": self.store.endpoint, "region": s3.REGION, "secretRef": {"name": SECRET}},
            },
            "workspace": {"uri": f"s3://{BUCKET}/workspace"},
            "loop": {
                "initialBatch": {"count": 8},
                "batch": {"count": 4},
                "maxCycles": 2,
                "labelBudget": {"images": 100},
            },
            "training": {"embedded": {"iterations": 10, "batchSize": 4, "input": {"width": 64, "height": 64}}},
            "inference": {"imagesPerShard": self.world.images_per_shard},
            "pods": {"default": {"resources": {"requests": {"cpu": "20m", "memory": "64Mi"}}}},
            "retry": {"backoff": {"initial": "1s", "max": "2s"}},
        }
        return merged(spec, changes or {})

    def example(self, file: str, changes: Mapping[str, Any]) -> Object:
        """The run of one of manifests/examples/, on data and with means that there are here."""
        spec = yaml.safe_load((ROOT / "manifests" / "examples" / file).read_text())["spec"]
        here = self.spec()
        means = {
            "dataset": {"uri": here["dataset"]["uri"], "storage": None},
            "workspace": {"uri": here["workspace"]["uri"], "storage": None},
            "pods": {part: {"resources": None} for part in spec.get("pods", {})},
        }
        places = {
            "dataset": {"storage": here["dataset"]["storage"]},
            "workspace": {"storage": here["dataset"]["storage"]},
            "pods": {"default": {"resources": {"requests": {"cpu": "20m", "memory": "64Mi"}}}},
            "inference": {"imagesPerShard": self.world.images_per_shard},
            "retry": here["retry"],
        }
        return merged(merged(merged(spec, means), places), changes)

    def start(self, name: str, changes: Mapping[str, Any] | None = None) -> Run:
        """Apply a run that differs from the usual one in some things."""
        return self.apply(name, self.spec(changes))

    def apply(self, name: str, spec: Object) -> Run:
        """Apply a run."""
        manifest = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "ActiveLearningRun",
            "metadata": {"name": name, "namespace": self.name},
            "spec": spec,
        }
        self.world.custom.create_namespaced_custom_object(GROUP, VERSION, self.name, PLURAL, manifest)
        return Run(self.world, self.name, name)


@dataclass(frozen=True)
class Run:
    """A run in the cluster."""

    world: World
    namespace: str
    name: str

    @property
    def root(self) -> str:
        """Its folder in the bucket."""
        return f"workspace/runs/{self.namespace}/{self.name}/"

    def get(self) -> Object:
        """The run as it is."""
        return dict(self.world.custom.get_namespaced_custom_object(GROUP, VERSION, self.namespace, PLURAL, self.name))

    def status(self) -> Object:
        """Its status; empty where there is none yet."""
        return dict(self.get().get("status", {}))

    def patch(self, change: Object) -> None:
        """A merge patch on the run."""
        self.world.kubectl(
            "patch", "alr", self.name, f"--namespace={self.namespace}", "--type=merge", f"--patch={json.dumps(change)}"
        )

    def table(self, path: str) -> pyarrow.Table:
        """A table of its folder."""
        return pyarrow.parquet.read_table(io.BytesIO(self.world.read(self.root + path)))

    def picks(self, cycle: int) -> list[str]:
        """Images that a cycle picked, in their order."""
        return [str(image) for image in self.table(f"cycles/{cycle:03d}/selection.parquet").column("image").to_pylist()]

    def delete(self) -> None:
        """Delete the run."""
        self.world.custom.delete_namespaced_custom_object(GROUP, VERSION, self.namespace, PLURAL, self.name)

    def until(self, what: str, holds: Callable[[Object], bool], timeout: float = 120) -> Object:
        """Wait until the status is as wanted; the status then.

        Raises:
            AssertionError: it was not so in time, or the run ended otherwise before.
        """
        status: Object = {}
        for status in self.changes(timeout):
            if holds(status):
                return status
            if status.get("phase") == "Failed":
                break
        raise AssertionError(
            f"{self.namespace}/{self.name}: waited for {what}; the status was {_text(status)}\n{self._story()}"
        )

    def changes(self, timeout: float) -> Iterator[Object]:
        """The status now and after every change, for at most so many seconds; an API server that is away is waited for."""
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0:
            try:
                run = self.get()
                yield dict(run.get("status", {}))
                stream = watch.Watch().stream(
                    self.world.custom.list_namespaced_custom_object,
                    GROUP,
                    VERSION,
                    self.namespace,
                    PLURAL,
                    field_selector=f"metadata.name={self.name}",
                    resource_version=run["metadata"]["resourceVersion"],
                    timeout_seconds=max(1, int(left)),
                )
                for event in stream:
                    yield dict(event["object"].get("status", {}))
            except (ApiException, urllib3.exceptions.HTTPError) as error:
                if getattr(error, "status", 0) == 404:
                    raise
                time.sleep(0.5)  # an API server that is down refuses at once: do not ask it a thousand times

    def phase(self, *wanted: str, timeout: float = 120) -> Object:
        """Wait for one of the phases."""
        return self.until(" or ".join(wanted), lambda status: status.get("phase") in wanted, timeout)

    def step(self, name: str, timeout: float = 120) -> Object:
        """Wait until a step runs: its pod has started."""

        def running(status: Object) -> bool:
            step = status.get("step") or {}
            return step.get("name") == name and bool(step.get("runningAt"))

        return self.until(f"step {name} running", running, timeout)

    def waits(self, reason: str, timeout: float = 60) -> Object:
        """Wait until the step waits for this reason; what is said of it."""

        def waiting(status: Object) -> bool:
            return ((status.get("step") or {}).get("waiting") or {}).get("reason") == reason

        return dict(self.until(f"waiting for {reason}", waiting, timeout)["step"]["waiting"])

    def fails(self, timeout: float = 120) -> Object:
        """Wait until the run has failed; what is said of it."""
        return dict(self.until("the run's failure", lambda status: status.get("phase") == "Failed", timeout)["failure"])

    def jobs(self) -> list[client.V1Job]:
        """Its Jobs."""
        selector = f"{GROUP}/run={self.name}"
        return list(self.world.batch.list_namespaced_job(self.namespace, label_selector=selector).items)

    def pods(self, job: str) -> list[client.V1Pod]:
        """Pods of a Job."""
        return list(self.world.core.list_namespaced_pod(self.namespace, label_selector=f"job-name={job}").items)

    def until_pod_runs(self, job: str, timeout: float = 60) -> client.V1Pod:
        """Wait until a pod of the Job runs."""
        stream = watch.Watch().stream(
            self.world.core.list_namespaced_pod,
            self.namespace,
            label_selector=f"job-name={job}",
            timeout_seconds=int(timeout),
        )
        for event in stream:
            if event["object"].status.phase == "Running":
                return event["object"]
        raise AssertionError(f"no pod of {job} ran within {timeout:.0f} s")

    def until_jobs_gone(self, job: str | None = None, timeout: float = 60) -> None:
        """Wait until the Job, or every Job of the run, is gone, its pods first: it is deleted in the foreground."""
        found = self.world.batch.list_namespaced_job(self.namespace, label_selector=f"{GROUP}/run={self.name}")
        left = {entry.metadata.name for entry in found.items if job is None or entry.metadata.name == job}
        if not left:
            return
        stream = watch.Watch().stream(
            self.world.batch.list_namespaced_job,
            self.namespace,
            label_selector=f"{GROUP}/run={self.name}",
            resource_version=found.metadata.resource_version,
            timeout_seconds=int(timeout),
        )
        for event in stream:
            if event["type"] == "DELETED":
                left.discard(event["object"].metadata.name)
            if not left:
                return
        raise AssertionError(f"after {timeout:.0f} s these Jobs are still there: {sorted(left)}\n{self._story()}")

    def events(self) -> list[Object]:
        """Events about the run."""
        found = self.world.kubectl.get("events.v1.events.k8s.io", f"--namespace={self.namespace}")["items"]
        return [event for event in found if event["regarding"].get("name") == self.name]

    def _story(self) -> str:
        pods = self.world.kubectl("get", "jobs,pods", f"--namespace={self.namespace}", "-o", "wide")
        step = (self.status().get("step") or {}).get("job")
        logs = ""
        if step:
            try:
                logs = self.world.kubectl(
                    "logs", f"job/{step}", f"--namespace={self.namespace}", "--tail=30", "--all-containers"
                )
            except Exception as error:  # the pod may be gone, and the story is told without it
                logs = str(error)
        return f"{pods}\n--- step\n{logs}\n--- operator\n{self.world.operator_log()}"


def timeless(status: Object) -> Object:
    """A status without what differs between two runs that went the same way: times, uids and costs, and the digest of
    the report, which shows them.
    """
    return dict(_without(status))


_TIMES = re.compile(r"^at$|(At|Time|Seconds|uid|Uid)$")


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _without(child)
            for key, child in value.items()
            if not (_TIMES.search(key) and key != "annotatorSeconds") and key not in {"progress", "waiting", "report"}
        }
    return [_without(child) for child in value] if isinstance(value, list) else value


def merged(base: Object, changes: Mapping[str, Any]) -> Object:
    """A merge patch laid over a value: None takes a field away."""
    result = {key: value for key, value in base.items() if not (key in changes and changes[key] is None)}
    for key, value in changes.items():
        if value is not None:
            old = result.get(key)
            result[key] = merged(old if isinstance(old, dict) else {}, value) if isinstance(value, Mapping) else value
    return result


def _text(status: Object) -> str:
    return json.dumps(
        {key: status.get(key) for key in ("phase", "message", "step", "failure", "stop", "cyclesDone")}, indent=1
    )
