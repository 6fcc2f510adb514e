"""`alrun validate`: every mistake at once, at its line, with what to do."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from alrun.api.advice import OFFLINE_RULES
from alrun.api.formats import FORMATS
from alrun.api.rules import RULES
from alrun.api.spec import RunSpec
from alrun.api.validate import Problem, validate
from alrun.api.walk import dotted, parse_path
from alrun.cli.app import run_app
from alrun.engines.engine import EngineError

from ..contract.manifests import DIVERSITY, ONLY_OFFLINE, RIGHT, TOKEN, UNCERTAIN, WRONG, Wrong, manifest

EXAMPLES = Path(__file__).parents[2] / "manifests" / "examples"


def _problems(changes: dict[str, Any]) -> list[Problem]:
    return list(validate(json.dumps(manifest(changes))).problems)


# -- The tables that the API server is asked about too -----------------------------------------------------------------


@pytest.mark.parametrize("case", [*WRONG, *ONLY_OFFLINE], ids=lambda case: case.name)
def test_a_wrong_manifest(case: Wrong) -> None:
    (problem,) = [one for one in validate(json.dumps(manifest(case.changes))).problems if one.severity == "error"]
    assert problem.field == case.field
    assert case.message in str(problem)
    assert problem.fix


def test_every_rule_is_broken_by_one_of_them() -> None:
    """A rule that nothing breaks may hold of everything, and nobody would see it."""
    said = "\n".join(str(one) for case in (*WRONG, *ONLY_OFFLINE) for one in _problems(dict(case.changes)))
    rules = (*RULES, *FORMATS.values(), *OFFLINE_RULES)
    assert [rule.message for rule in rules if f"{rule.message}, found" not in said and f"{rule.message}; " not in said] == []


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_manifest(name: str) -> None:
    report = validate(json.dumps(manifest(RIGHT[name])))
    assert (report.runs, [one for one in report.problems if one.severity == "error"]) == (1, [])


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_the_examples_are_right(path: Path) -> None:
    report = validate(path.read_text())
    assert (report.runs, report.problems) == (1, ())


# -- All at once, with lines -------------------------------------------------------------------------------------------

MANY = """\
# a run with many mistakes
apiVersion: activelearning.dev/v1alpha1
kind: ActiveLearningRun
metadata: {name: apples}
spec:
  dataset:
    url: s3://orchard/apples
    labels: {path: ../labels, format: kitti}
  workspace: {uri: gs://orchard/out}
  loop:
    batch:
      count: 0
    initialBatch: {count: 3, fraction: 0.2}
    labelBudget: {}
    maxCycles: "5"
  pods:
    training:
      tolerations:
        - operator: Exists
        - operator: Exists
          value: yes please
---
apiVersion: v1
kind: Secret
metadata: {name: not-ours}
---
apiVersion: activelearning.dev/v1
kind: ActiveLearningRun
spec: {}
"""


def test_every_mistake_is_found_at_its_line() -> None:
    report = validate(MANY)
    assert report.runs == 2
    assert [(one.line, one.run, one.field) for one in report.problems] == [
        (6, "apples", "spec.dataset.uri"),
        (7, "apples", "spec.dataset.url"),
        (8, "apples", "spec.dataset.labels.path"),
        (8, "apples", "spec.dataset.labels.format"),
        (9, "apples", "spec.workspace.uri"),
        (12, "apples", "spec.loop.batch.count"),
        (13, "apples", "spec.loop.initialBatch"),
        (14, "apples", "spec.loop.labelBudget"),
        (15, "apples", "spec.loop.maxCycles"),
        (21, "apples", "spec.pods.training.tolerations[1].value"),
        (27, "", "apiVersion"),
        (27, "", "metadata"),
        (29, "", "spec.dataset"),
        (29, "", "spec.workspace"),
        (29, "", "spec.loop"),
    ]


def test_a_problem_says_what_was_found_and_what_to_do() -> None:
    (problem,) = _problems({"spec.loop.maxCycles": "5"})
    assert str(problem) == 'spec.loop.maxCycles: must be a whole number, found "5"; write it without quotes'
    (problem,) = _problems({"spec.dataset.labels": None})
    assert str(problem) == (
        "spec.dataset.labels: is missing; add it: Ground truth: used for the test set, and by annotation.engine GroundTruth"
    )


def test_what_is_found_is_cut_to_a_line() -> None:
    (problem,) = _problems({"spec.dataset.groupBy": ["x" * 500]})
    assert len(problem.found) == 78


def test_items_of_a_list_are_looked_at() -> None:
    text = "apiVersion: v1\nkind: List\nitems:\n- " + json.dumps(manifest({"spec.seed": -1})) + "\n- kind: Secret\n"
    report = validate(text)
    assert (report.runs, [(one.line, one.field) for one in report.problems]) == (1, [(4, "spec.seed")])


@pytest.mark.parametrize(
    ("changes", "field", "fix"),
    [
        ({"kind": "Activelearningrun"}, "kind", "write kind: ActiveLearningRun"),
        ({"apiVersion": "activelearning.dev/v1"}, "apiVersion", "write apiVersion: activelearning.dev/v1alpha1"),
        ({"apiVersion": "v1"}, "apiVersion", "write apiVersion: activelearning.dev/v1alpha1"),
        ({"metadata": {}}, "metadata.name", "give the run a name"),
        ({"metadata.labels": {"team": 7}}, "metadata.labels.team", 'write it in quotes: "7"'),
        ({"metadata.namespace": "Orchard"}, "metadata.namespace", "rename it"),
        (
            {"spec.colour": "red"},
            "spec.colour",
            "delete it; the fields of spec are task, seed, suspend, dataset, workspace, ",
        ),
    ],
)
def test_the_head_is_looked_at(changes: dict[str, Any], field: str, fix: str) -> None:
    (problem,) = _problems(changes)
    assert problem.field == field
    assert problem.fix.startswith(fix)


def test_a_status_beside_the_spec_is_passed_over_as_by_the_api_server() -> None:
    assert _problems({"status": {"phase": "Whatever"}}) == []


def test_mistakes_in_one_place_do_not_hide_rules_in_another() -> None:
    fields = {
        one.field for one in _problems({"spec.seed": "x", "spec.loop.labelBudget": {}, "spec.dataset.classes": ["a", "a"]})
    }
    assert fields == {"spec.seed", "spec.loop.labelBudget", "spec.dataset.classes"}


# -- YAML as kubectl reads it ------------------------------------------------------------------------------------------


def _yaml(spec_lines: str) -> list[Problem]:
    head = "apiVersion: activelearning.dev/v1alpha1\nkind: ActiveLearningRun\nmetadata: {name: apples}\nspec:\n"
    body = "  workspace: {uri: s3://orchard/out}\n  loop: {labelBudget: {images: 500}}\n"
    return list(validate(head + body + spec_lines).problems)


DATASET = "  dataset: {uri: s3://orchard/apples, labels: {path: labels, format: KITTI}}\n"


@pytest.mark.parametrize(
    ("lines", "line", "message"),
    [
        (DATASET + "  seed: 1\n  seed: 2\n", 9, "spec.seed: is given twice; delete one of the two"),
        (DATASET + "  seed: [1\n", 9, "is no YAML: expected ',' or ']', but got '<stream end>'; correct the line"),
        (DATASET + "\tseed: 1\n", 8, "is no YAML: found character '\\t' that cannot start any token; correct the line"),
        (DATASET + "  seed: *nowhere\n", 8, "is no YAML: found undefined alias 'nowhere'; correct the line"),
        (DATASET + "  ? [1, 2]\n  : 3\n", 8, "is no YAML: a key that is a list or a map; correct the line"),
    ],
)
def test_what_is_no_yaml_is_told_with_its_line(lines: str, line: int, message: str) -> None:
    (problem,) = _yaml(lines)
    assert (problem.line, str(problem)) == (line, message)


def test_an_alias_that_grows_without_end_is_refused() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
    for before, name in zip("abcde", "bcdef", strict=True):
        bomb += f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    (problem,) = validate(bomb).problems
    assert problem.message == "is no YAML: more than 100000 values"


def test_anchors_and_merges_are_followed() -> None:
    lines = (
        DATASET.replace("labels: {", "labels: &l {")
        + "  pods:\n    default: &p {gpus: 1}\n    training: {<<: *p, deadline: 1h}\n"
    )
    assert _yaml(lines) == []


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("2026-01-01", True),  # a text: kubectl knows no dates
        ("1:30", True),  # a text: no numbers to the base 60
        ("'on'", True),
        ("on", False),  # true
        ("0.5", False),
        ("1e3", False),
    ],
)
def test_scalars_are_what_kubectl_takes_them_for(text: str, right: bool) -> None:
    problems = _yaml(DATASET.replace("labels, format", "labels, format") + f"  pods: {{training: {{image: {text}}}}}\n")
    assert (problems == []) is right


def test_numbers_are_what_kubectl_takes_them_for() -> None:
    assert _yaml(DATASET + "  inference: {scoreThreshold: 1e-2}\n") == []
    assert _yaml(DATASET + "  seed: 010\n") == []
    assert _yaml(DATASET + "  seed: 5.0\n") == []
    assert [one.field for one in _yaml(DATASET + "  seed: 1:30\n")] == ["spec.seed"]


def test_a_document_that_is_no_object() -> None:
    (problem,) = validate("- just\n- a list\n").problems
    assert str(problem) == 'must be a map of fields, found ["just", "a list"]; write `field: value` lines'


def test_empty_documents_are_nothing() -> None:
    assert validate("---\n---\n# only words\n").problems == ()


TAO: dict[str, Any] = {"spec.dataset.classes": ["Apple"], "spec.training.engine": "TAO"}
GPU_STEPS = ("training", "evaluation", "inference", "compression")

# -- Warnings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        (
            {"spec.loop.labelBudget.images": 50},
            "spec.loop.labelBudget.images",
            "allows 50 images, and the first batch alone has 100: it will be cut short",
        ),
        (
            {"spec.loop.maxCycles": 9, "spec.loop.initialBatch": {"count": 50}},
            "spec.loop.labelBudget.images",
            "allows 500 images, and 9 cycles ask for 850: it ends the run after 6",
        ),
        (
            {"spec.loop.batch": {"fraction": 0.3}, "spec.loop.initialBatch": {"fraction": 0.1}, "spec.loop.maxCycles": 5},
            "spec.loop.batch",
            "of the pool, 130% would be labelled in 5 cycles: the pool ends the run earlier",
        ),
        (
            {"spec.loop.stop.target": {"value": 0.995}},
            "spec.loop.stop.target.value",
            "is 0.995, which hardly any detector reaches",
        ),
        (
            {"spec.loop.stop.plateau": {"cycles": 5}},
            "spec.loop.stop.plateau.cycles",
            "asks for 5 cycles without gain after the first, and the run has 5 in all",
        ),
        (
            {"spec.dataset.groupBy": "[a-z]*"},
            "spec.dataset.groupBy",
            "matches the empty text, so that every image may fall into one group",
        ),
        (
            {"spec.dataset.groupBy": "^([a-z]+_?)+x"},
            "spec.dataset.groupBy",
            "has an unbounded repeat within another, which can take very long on paths that nearly match",
        ),
        (
            {"spec.pods.training": {"gpus": 1, "resources": {"limits": {"nvidia.com/gpu": 1}}}},
            "spec.pods.training.resources.limits",
            "asks for nvidia.com/gpu, which gpus: 1 asks for already",
        ),
        (
            {"spec.pods": {"training": {"gpus": 2, "gpuResource": "nvidia.com/mig-1g.10gb"}}},
            "spec.pods.training.gpus",
            "asks for 2 slices of a GPU (nvidia.com/mig-1g.10gb), which cannot work together in one program",
        ),
        (
            {"spec.pods": {"default": {"gpus": 2}, "inference": {"gpuResource": "nvidia.com/gpu.shared"}}},
            "spec.pods.inference.gpuResource",
            "asks for 2 shares of a GPU (nvidia.com/gpu.shared), which cannot work together in one program",
        ),
        (
            {**TAO, "spec.pods": {"training": {"gpus": 0}}},
            "spec.pods.training.gpus",
            "is 0, and TAO's programs do nothing without a GPU",
        ),
        (
            {**TAO, "spec.pods": {"default": {"gpus": 0}, "training": {"gpus": 1}}},
            "spec.pods.default.gpus",
            "is 0, and TAO's programs do nothing without a GPU",
        ),
        (
            {**TAO, "spec.training.tao": {"network": "yolo_v4", "version": "6.26.3", "anchors": {"kmeans": 9}}},
            "spec.training.tao.version",
            "is 6.26.3, and yolo_v4 was last released with 5.0.0, whose image runs in any later version",
        ),
        (
            {**TAO, "spec.training.tao": {"pretrained": {"path": "weights.pth"}}},
            "spec.training.tao.pretrained",
            "is fetched and not used: startFrom is Scratch, its default",
        ),
        (
            {
                **TAO,
                "spec.training.startFrom": "Resume",
                "spec.training.tao": {"network": "yolo_v4", "anchors": {"kmeans": 9, "everyCycle": True}},
            },
            "spec.training.tao.anchors.everyCycle",
            "changes the anchors in the middle of a training that startFrom: Resume goes on with",
        ),
        (
            {**TAO, "spec.training.tao": {"batchSize": 16}},
            "spec.training.tao.batchSize",
            "16: more than the 15 of the first batch's 100 images that are for validation",
        ),
        (
            {**TAO, "spec.loop.initialBatch": {"count": 8}, "spec.pods": {"training": {"gpus": 2}}},
            "spec.training.tao.batchSize",
            "4 on each of 2 GPUs: more than the 7 of the first batch's 8 images that are for training",
        ),
        (
            {"spec.selection.strategies": [DIVERSITY, UNCERTAIN | {"strategy": {"type": "WEIGHTS", "strength": 0}}]},
            "spec.selection.strategies[1].strategy.strength",
            "is 0, so that the strategy has no say",
        ),
        (
            {"spec.selection": {"combination": "Product", "strategies": [DIVERSITY]}},
            "spec.selection.combination",
            "makes no difference: there are no two strategies to combine",
        ),
        (
            {"spec.selection": {"combination": "Cumulative", "preset": "Entropy"}},
            "spec.selection.combination",
            "makes no difference: there are no two strategies to combine",
        ),
        (
            {"spec.inference.scoreThreshold": 0.2},
            "spec.selection.scoreThreshold",
            "is 0.05, and boxes below inference.scoreThreshold, 0.2, are never written",
        ),
        (
            {"spec.selection": {"embeddings": {"source": "SelfSupervised"}, "strategies": [UNCERTAIN]}},
            "spec.selection.embeddings",
            "has source SelfSupervised, and nothing that is asked for compares images by them",
        ),
        (
            {"spec.selection": {"embeddings": {"source": "Classical"}, "preset": "Random"}},
            "spec.selection.embeddings",
            "has source Classical, and nothing that is asked for compares images by them",
        ),
        (
            {"spec.selection": {"engine": "Lightly", "lightly": {**TOKEN, "server": "http://lightly.example.org"}}},
            "spec.selection.lightly.server",
            "is http://, over which the API token is sent readable by everyone on the way",
        ),
        (
            {**TAO, "spec.loop.control": "Random"},
            "spec.loop.control",
            "is Random: a second TAO model is trained in every cycle, which about doubles the GPU time",
        ),
        (
            {"spec.loop.control": "RandomShare", "spec.selection.preset": "Random"},
            "spec.loop.control",
            "is RandomShare, and the selection is random as well: there is nothing to compare",
        ),
        (
            {"spec.loop.control": "RandomShare", "spec.loop.batch.count": 20, "spec.loop.maxCycles": 4},
            "spec.loop.controlShare",
            "draws 4 of a batch's 20 images: too few for a model to be compared with",
        ),
    ],
)
def test_what_is_suspicious_is_a_warning(changes: dict[str, Any], field: str, message: str) -> None:
    (problem,) = _problems(changes)
    assert (problem.severity, problem.field, problem.message) == ("warning", field, message)
    assert problem.fix


@pytest.mark.parametrize("pattern", ["^(?P<group>[^_]+)_", "([a-z]+)-([0-9]+)", "(ab){2,5}c+", "[[a]x", "(?:a|b)+x"])
def test_ordinary_groups_raise_no_doubt(pattern: str) -> None:
    assert _problems({"spec.dataset.groupBy": pattern}) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"spec.pods": {"training": {"gpus": 2}, "inference": {"gpus": 1, "gpuResource": "nvidia.com/mig-1g.10gb"}}},
        {"spec.pods": {"default": {"gpus": 1, "gpuResource": "nvidia.com/gpu.shared"}, "reporting": {"gpus": 0}}},
        {"spec.pods": {"default": {"gpus": 0}, **{step: {"gpus": 1} for step in GPU_STEPS}}},
        {"spec.training.tao": {"network": "yolo_v4", "version": "5.0.0", "anchors": {"kmeans": 9}, "batchSize": 85}},
        {"spec.training.tao": {"batchSize": 15}},
    ],
)
def test_ordinary_settings_of_tao_raise_no_doubt(changes: dict[str, Any]) -> None:
    assert _problems({**TAO, **changes}) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"spec.selection": {"combination": "Product", "strategies": [DIVERSITY, UNCERTAIN]}},
        {"spec.selection": {"combination": "Cumulative", "preset": "Coral"}},
        {"spec.selection": {"scoreThreshold": 0.3, "embeddings": {"source": "SelfSupervised"}}},
        {
            "spec.selection": {
                "preset": "Entropy",
                "embeddings": {"source": "Classical"},
                "duplicates": {"by": "Embedding"},
            }
        },
        {
            "spec.selection": {
                "engine": "Lightly",
                "lightly": TOKEN,
                "preset": "Entropy",
                "embeddings": {"source": "Classical"},
            }
        },
        {"spec.loop.control": "Random"},
        {"spec.loop.control": "RandomShare", "spec.loop.controlShare": 0.05},
    ],
)
def test_ordinary_settings_of_selection_raise_no_doubt(changes: dict[str, Any]) -> None:
    assert _problems(changes) == []


def test_a_budget_that_fits_exactly_raises_no_doubt() -> None:
    assert _problems({"spec.loop.maxCycles": 5, "spec.loop.labelBudget": {"images": 500}}) == []


# -- What the engines refuse -------------------------------------------------------------------------------------------

REFUSAL = EngineError("spec.pods.training.labels[example.org/a]", "the label is taken", "Remove it.")


def test_what_an_engine_refuses_is_an_error_at_its_line() -> None:
    text = json.dumps(manifest({"spec.pods.training.labels": {"example.org/a": "b"}}), indent=1)
    (problem,) = validate(text, lambda _: [REFUSAL]).problems
    assert problem.severity == "error"
    assert "example.org/a" in text.splitlines()[problem.line - 1]
    assert str(problem) == "spec.pods.training.labels.example.org/a: the label is taken; remove it"


def test_no_engine_is_asked_about_a_spec_with_mistakes() -> None:
    def judge(spec: RunSpec) -> list[EngineError]:
        raise AssertionError(spec)

    (problem,) = validate(json.dumps(manifest({"spec.loop.maxCycles": 0})), judge).problems
    assert problem.field == "spec.loop.maxCycles"


@pytest.mark.parametrize(
    ("remedy", "fix"), [("State it.", "state it"), ("NVIDIA has another.", "NVIDIA has another"), ("", "")]
)
def test_a_remedy_goes_on_after_the_message(remedy: str, fix: str) -> None:
    (problem,) = validate(json.dumps(manifest({})), lambda _: [EngineError("spec.seed", "no", remedy)]).problems
    assert problem.fix == fix


@given(st.lists(st.from_regex(r"[a-z][a-zA-Z0-9]{0,8}", fullmatch=True) | st.integers(0, 99), min_size=1, max_size=6))
def test_a_path_is_read_as_it_is_written(parts: list[str | int]) -> None:
    assert parse_path(dotted(("spec", *parts))) == ("spec", *parts)


def test_keys_with_dots_are_in_brackets() -> None:
    assert parse_path("spec.training.tao.overrides[train.optim.lr]") == (
        "spec", "training", "tao", "overrides", "train.optim.lr",
    )  # fmt: skip


# -- The check and the models agree ------------------------------------------------------------------------------------

NAMES = st.sampled_from(["name", "count", "fraction", "value", "cycles", "path", "op", "images", "team"])
TEXTS = st.sampled_from(["", "a", "1h", "0s", "s3://a-b/c", "KITTI", "Random", "8Gi", "../a", "mAP", "é_", "/spec/x"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 3000) | st.floats(-2, 3, allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=4,
)
PLACES = st.sampled_from(sorted({case.field.partition("[")[0] for case in WRONG if case.field.startswith("spec.")}))


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(PLACES, VALUES, min_size=1, max_size=2))
def test_what_the_check_passes_the_models_read(changes: dict[str, Any]) -> None:
    try:
        wrong = manifest(changes)
    except (AttributeError, TypeError, KeyError):
        return  # one change took away what the other one changes
    errors = [one for one in validate(json.dumps(wrong)).problems if one.severity == "error"]
    try:
        RunSpec.model_validate(_without_nulls(wrong["spec"]))
    except ValidationError:
        assert errors
    # The other way round the check is stricter: the models know nothing of the rules.


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(child) for key, child in value.items() if child is not None}
    return value


# -- The command -------------------------------------------------------------------------------------------------------


def _write(folder: Path, name: str, changes: dict[str, Any]) -> str:
    path = folder / name
    path.write_text(json.dumps(manifest(changes)))
    return str(path)


def test_right_files_end_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [_write(tmp_path, "a.yaml", {}), _write(tmp_path, "b.yaml", {"spec.seed": 7})]
    assert run_app(["validate", *files]) == 0
    assert capsys.readouterr().out == "2 runs: no mistakes\n"


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        # the API server cannot tell: the version, and with it the key that is needed, stands in the image's tag
        ({"image": "nvcr.io/nvidia/tao/tao-toolkit:4.0.0-tf1.15.5"}, "keySecretRef"),
        ({"version": "5.0", "image": "nvcr.io/nvidia/tao/tao-toolkit:4.0.0-tf1.15.5"}, "version"),
        ({"image": "nvcr.io/nvidia/tao/tao-toolkit:5.0.0-pyt"}, "image"),
        ({"image": "example.org/tao:latest"}, "version"),
        ({"backbone": "resnet17"}, "backbone"),
        ({"overrides": {"training_config.batch_size": "4"}}, "overrides.training_config.batch_size"),
    ],
)
def test_what_tao_would_refuse_is_found_without_a_cluster(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: dict[str, Any], field: str
) -> None:
    yolo = {"network": "yolo_v4", "anchors": {"kmeans": 9}, **settings}
    file = _write(tmp_path, "a.yaml", {**TAO, "spec.training.tao": yolo})
    assert run_app(["validate", file]) == 1
    line, count = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{file}:1: error: spec.training.tao.{field}: ")
    assert count == "1 run: 1 error"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_the_engines_take_the_examples(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(["validate", str(path)]) == 0
    assert capsys.readouterr().out == "1 run: no mistakes\n"


def test_warnings_are_told_and_end_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = _write(tmp_path, "a.yaml", {"spec.loop.stop.target": {"value": 1}})
    assert run_app(["validate", file]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{file}:1: warning: spec.loop.stop.target.value: is 1, which hardly any detector reaches, found 1; "
        "lower it, or delete target",
        "1 run: 1 warning",
    ]


def test_mistakes_end_with_1_and_name_file_and_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    right, wrong = _write(tmp_path, "a.yaml", {}), tmp_path / "wrong.yaml"
    wrong.write_text(MANY)
    assert run_app(["validate", right, str(wrong)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith(f"{wrong}:7: error: spec.dataset.url: is no field")
    assert lines[-1] == "3 runs: 15 errors"


def test_json_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = _write(tmp_path, "a.yaml", {"spec.loop.maxCycles": 0})
    assert run_app(["validate", file, "-o", "json"]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "files": [{"file": file, "runs": 1}],
        "problems": [
            {
                "file": file,
                "severity": "error",
                "field": "spec.loop.maxCycles",
                "message": "must be at least 1",
                "fix": "raise it",
                "found": "0",
                "run": "apples",
                "line": 1,
            }
        ],
    }


def test_the_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(MANY))
    assert run_app(["validate", "-"]) == 1
    assert capsys.readouterr().out.startswith("<stdin>:6: error: spec.dataset.uri: is missing")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read (No such file or directory); check the name and the rights"),
        (b"caf\xe9: 1", "is no UTF-8 text (byte 3); save it as UTF-8"),
        (b"kind: Secret\napiVersion: v1\n", "no ActiveLearningRun in it; check `kind` and `apiVersion`, or the file's name"),
        (b"", "no ActiveLearningRun in it"),
    ],
)
def test_files_that_cannot_be_judged_end_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, message: str
) -> None:
    file = tmp_path / "x.yaml"
    if content is not None:
        file.write_bytes(content)
    assert run_app(["validate", str(file)]) == 2
    assert f"error: {file}: {message}" in capsys.readouterr().err


def test_a_folder_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(["validate", str(tmp_path)]) == 2
    assert f"{tmp_path}: is a folder; name the files, like {tmp_path}/*.yaml" in capsys.readouterr().err
