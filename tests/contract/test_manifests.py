"""The API server and `alrun validate` judge the same manifests: same verdict, same field, both in words that help."""

from __future__ import annotations

import json
import re

import pytest

from alrun.api import meta
from alrun.api.manifest import Document, read
from alrun.api.validate import validate

from .api_server import Answer, ApiServer
from .conftest import RUNS
from .manifests import ONLY_OFFLINE, RIGHT, WRONG, Wrong, manifest

pytestmark = pytest.mark.xdist_group("api-server")  # it is started once

DRY_RUN = f"{RUNS}?dryRun=All&fieldValidation=Strict"


def _fields(answer: Answer) -> dict[str, str]:
    """Field -> message, of everything the API server complains about."""
    unknown = re.findall(r'unknown field "([^"]+)"', answer.body["message"])
    if unknown:
        return dict.fromkeys(unknown, answer.body["message"])
    # A field in a map is written map[field] by CEL and map.field by types and bounds.
    return {re.sub(r"\[([^]0-9][^]]*)]", r".\1", field): message for field, message in answer.complaints}


@pytest.mark.parametrize("case", WRONG, ids=lambda case: case.name)
def test_a_wrong_manifest_is_refused_alike(server: ApiServer, case: Wrong) -> None:
    wrong = manifest(case.changes)

    answer = server.request("POST", DRY_RUN, wrong)
    problems = [one for one in validate(json.dumps(wrong)).problems if one.severity == "error"]

    assert answer.code in {400, 422}, answer.body
    refused = _fields(answer)
    assert case.field in refused, answer.body["message"]
    assert (case.server or case.message) in refused[case.field]
    assert [one.field for one in problems] == [case.field]
    assert case.message in str(problems[0])
    if not case.server:  # a rule of ours: the words are the same too
        assert refused[case.field].endswith(f"; {problems[0].fix}")


@pytest.mark.parametrize("case", ONLY_OFFLINE, ids=lambda case: case.name)
def test_a_mistake_that_only_the_offline_check_sees(server: ApiServer, case: Wrong) -> None:
    assert server.request("POST", DRY_RUN, manifest(case.changes)).code == 201
    (problem,) = validate(json.dumps(manifest(case.changes))).problems
    assert (problem.severity, problem.field) == ("error", case.field)
    assert case.message in problem.message


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_manifest_is_taken_alike(server: ApiServer, name: str) -> None:
    right = manifest(RIGHT[name])

    answer = server.request("POST", DRY_RUN, right)

    assert answer.code == 201, answer.body["message"]
    assert [one for one in validate(json.dumps(right)).problems if one.severity == "error"] == []


SCALARS = """
1 -1 +1 010 0x1F 0b11 09 1_000 1.5 .5 5. 1e3 1E-2 -1.5e+2 0.0 -0 1:30 2026-01-01 2026-01-01T00:00:00Z
true True yes No on OFF y n null ~ Null text '1' "on" 1.2.3 1Gi 500m
"""


def test_scalars_are_read_as_kubectl_reads_them(server: ApiServer) -> None:
    scalars = SCALARS.split()
    lines = "".join(f"  - {scalar}\n" for scalar in scalars)
    text = f"apiVersion: {meta.API_VERSION}\nkind: {meta.KIND}\nmetadata: {{name: apples}}\nspec:\n  list:\n{lines}"
    shown = server.kubectl("create", "--dry-run=client", "--validate=false", "-o", "json", "-f", "-", stdin=text)
    assert shown.returncode == 0, shown.stderr
    (document,) = read(text)
    assert isinstance(document, Document)
    assert dict(zip(scalars, document.value["spec"]["list"], strict=True)) == dict(
        zip(scalars, json.loads(shown.stdout)["spec"]["list"], strict=True)
    )
