"""The kinds of objects the operator touches, and where the API server keeps them."""

from __future__ import annotations

from dataclasses import dataclass

from alrun.api import meta


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of object, by group and version always: a bare plural is ambiguous as soon as another group has it."""

    group: str
    version: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str | None = None, name: str = "", subresource: str = "") -> str:
        """URL path of the collection or of one object; without a namespace, of all namespaces."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{root}{scope}/{self.plural}" + (f"/{name}" if name else "") + (f"/{subresource}" if subresource else "")


RUNS = Resource(meta.GROUP, meta.VERSION, meta.PLURAL)
JOBS = Resource("batch", "v1", "jobs")
PODS = Resource("", "v1", "pods")
CORE_EVENTS = Resource("", "v1", "events")
EVENTS = Resource("events.k8s.io", "v1", "events")
LEASES = Resource("coordination.k8s.io", "v1", "leases")
NODES = Resource("", "v1", "nodes", namespaced=False)
