"""What a user writes about the steps' pods."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from .base import Duration, Model
from .types import ImageName, Quantity, ResourceName, SecretName, SecretReference


class Resources(Model):
    """Requests and limits of a step's container."""

    requests: Annotated[dict[str, Quantity], Field(max_length=16)] = Field(default_factory=dict, description="Requests.")
    limits: Annotated[dict[str, Quantity], Field(max_length=16)] = Field(default_factory=dict, description="Limits.")


class Toleration(Model):
    """A taint that a step's pods tolerate."""

    key: Annotated[str, StringConstraints(max_length=316)] | None = Field(default=None, description="Key of the taint.")
    operator: Literal["Exists", "Equal"] = Field(default="Equal", description="Exists or Equal.")
    value: Annotated[str, StringConstraints(max_length=63)] | None = Field(default=None, description="Value of the taint.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(default=None, description="Effect.")
    toleration_seconds: Annotated[int, Field(ge=0)] | None = Field(default=None, description="How long, for NoExecute.")


class PatchOperation(Model):
    """One operation of a JSON patch (RFC 6902) on the step's pod template."""

    op: Literal["add", "replace", "remove"] = Field(description="Operation.")
    path: Annotated[str, StringConstraints(max_length=512, pattern=r"^/spec/.+$")] = Field(
        description="JSON pointer into the pod template, below /spec/."
    )
    value: Any = Field(default=None, description="New value, for add and replace.")


class PodSettings(Model):
    """What a step's pods need from the cluster."""

    image: ImageName | None = Field(
        default=None, description="Image instead of the installation's worker image; not that of TAO or a custom trainer."
    )
    service_account_name: SecretName | None = Field(
        default=None, description="Service account for the ambient cloud identity. Its token for the cluster is not mounted."
    )
    priority_class_name: SecretName | None = Field(default=None, description="Priority class.")
    scheduler_name: SecretName | None = Field(default=None, description="Scheduler.")
    runtime_class_name: SecretName | None = Field(default=None, description="Runtime class.")
    labels: Annotated[
        dict[
            Annotated[str, StringConstraints(max_length=317)],
            Annotated[str, StringConstraints(max_length=63)],
        ],
        Field(max_length=16),
    ] = Field(default_factory=dict, description="Labels of the Job and its pods, like kueue.x-k8s.io/queue-name.")
    gpus: Annotated[int, Field(ge=0, le=64)] | None = Field(default=None, description="GPUs for each pod.")
    gpu_resource: ResourceName | None = Field(
        default=None, description="Resource name of a GPU; nvidia.com/gpu when left out, nvidia.com/mig-1g.10gb for a slice."
    )
    shared_memory: Quantity | None = Field(default=None, description="Size of a memory-backed /dev/shm.")
    resources: Resources = Field(default_factory=Resources, description="Requests and limits.")
    node_selector: Annotated[
        dict[Annotated[str, StringConstraints(max_length=317)], Annotated[str, StringConstraints(max_length=63)]],
        Field(max_length=16),
    ] = Field(default_factory=dict, description="Labels that the node must have.")
    tolerations: Annotated[list[Toleration], Field(max_length=16)] = Field(
        default_factory=list, description="Taints that are tolerated."
    )
    image_pull_secrets: Annotated[list[SecretReference], Field(max_length=8)] = Field(
        default_factory=list, description="Secrets to pull the image with."
    )
    deadline: Duration | None = Field(default=None, description="How long the step may run, like 24h.")
    wait_deadline: Duration | None = Field(default=None, description="How long the step may wait to run, like 4h.")
    patch: Annotated[list[PatchOperation], Field(max_length=16)] = Field(
        default_factory=list, description="Last resort: changes to the pod template that have no field here."
    )


class Pods(Model):
    """Pod settings of all steps (`default`) and of single steps, laid over it field by field."""

    default: PodSettings | None = Field(default=None, description="All steps.")
    preparation: PodSettings | None = Field(
        default=None, description="The prepare, fetch, register and kmeans steps, and the comparison arm's draw."
    )
    embedding: PodSettings | None = Field(default=None, description="The embed step.")
    selection: PodSettings | None = Field(default=None, description="The select step.")
    annotation: PodSettings | None = Field(default=None, description="The annotate step.")
    training: PodSettings | None = Field(default=None, description="The train and retrain steps.")
    evaluation: PodSettings | None = Field(default=None, description="The evaluate and assess steps.")
    inference: PodSettings | None = Field(default=None, description="The infer step.")
    conversion: PodSettings | None = Field(default=None, description="The convert step.")
    reporting: PodSettings | None = Field(default=None, description="The report step.")
    compression: PodSettings | None = Field(default=None, description="The prune and export steps.")
