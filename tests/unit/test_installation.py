"""manifests/: what is installed is whole, and has the rights it needs and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from alrun.api.spec import RunSpec

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "manifests"
FILES = sorted(MANIFESTS.rglob("*.yaml"))


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def rights(path: Path) -> set[tuple[str, str, str]]:
    """(group, resource, verb) of the role in a file."""
    role = next(document for document in documents(path) if document["kind"] in {"Role", "ClusterRole"})
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


CLUSTER = rights(MANIFESTS / "cluster" / "access.yaml")
NAMESPACED = rights(MANIFESTS / "namespaced" / "access" / "access.yaml")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(MANIFESTS)))
def test_every_file_is_yaml_of_kubernetes_kinds(path: Path) -> None:
    assert all({"apiVersion", "kind"} <= document.keys() for document in documents(path))


def test_every_file_is_installed_by_one_of_the_kustomizations() -> None:
    named = set()
    for path in MANIFESTS.rglob("kustomization.yaml"):
        for resource in documents(path)[0]["resources"]:
            target = (path.parent / resource).resolve()
            assert target.exists(), f"{path}: {resource}"
            named.add(target / "kustomization.yaml" if target.is_dir() else target)
    entries = {MANIFESTS / "kustomization.yaml", MANIFESTS / "namespaced" / "kustomization.yaml"}
    installed = {path for path in FILES if "examples" not in path.parts} - entries
    assert installed <= named


def test_the_operator_has_exactly_these_rights() -> None:
    assert {
        ("activelearning.dev", "activelearningruns", "get"),
        ("activelearning.dev", "activelearningruns", "list"),
        ("activelearning.dev", "activelearningruns", "watch"),
        ("activelearning.dev", "activelearningruns/status", "patch"),
        ("activelearning.dev", "activelearningruns/status", "update"),
        ("batch", "jobs", "get"),
        ("batch", "jobs", "list"),
        ("batch", "jobs", "watch"),
        ("batch", "jobs", "create"),
        ("batch", "jobs", "delete"),
        ("", "pods", "get"),
        ("", "pods", "list"),
        ("", "pods/log", "get"),
        ("", "events", "list"),
        ("events.k8s.io", "events", "get"),
        ("events.k8s.io", "events", "create"),
        ("events.k8s.io", "events", "patch"),
        ("", "nodes", "get"),
    } == CLUSTER


def test_in_namespaces_it_has_the_same_rights_but_for_nodes() -> None:
    assert CLUSTER - {("", "nodes", "get")} == NAMESPACED


def test_no_role_reads_secrets_or_has_a_wildcard() -> None:
    for path in FILES:
        for document in documents(path):
            for rule in document.get("rules", []):
                assert "secrets" not in rule["resources"], path
                assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]], path


def test_the_operator_is_a_restricted_pod_with_probes() -> None:
    (deployment,) = documents(MANIFESTS / "base" / "deployment.yaml")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["resources"]["limits"].keys() == {"memory"}


def test_selectors_match_the_pods() -> None:
    (deployment,) = documents(MANIFESTS / "base" / "deployment.yaml")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    (budget,) = documents(MANIFESTS / "base" / "availability.yaml")
    (policy,) = documents(MANIFESTS / "base" / "network-policy.yaml")
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert budget["spec"]["selector"]["matchLabels"] == labels
    assert policy["spec"]["podSelector"]["matchLabels"] == labels


def test_the_example_is_a_valid_run_with_a_budget_of_a_hundred_images() -> None:
    (example,) = documents(MANIFESTS / "examples" / "demo.yaml")
    spec = RunSpec.model_validate(example["spec"])
    first, batch = spec.loop.initial_batch, spec.loop.batch
    assert first is not None
    assert first.count is not None
    assert batch.count is not None
    assert first.count + (spec.loop.max_cycles - 1) * batch.count == spec.loop.label_budget.images == 100
