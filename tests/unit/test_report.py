"""The report: what it says, what it never does, and that it can be made from any workspace a run may have."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from alrun.api import paths
from alrun.api.status import PruneRow
from alrun.api.step import ReportParams, RunRef, StepName, StepResult
from alrun.data import kitti
from alrun.data.boxes import Box
from alrun.steps import report
from alrun.steps.context import Context, StepError
from alrun.steps.report import chart, words
from alrun.steps.report.thumbnails import thumbnail
from alrun.steps.report.verdict import Answer, Point, verdict

from .step_runs import World

CLASSES = ["nut", "<b>bolt</b>"]
EVIL = "site&1/<script>alert(1)</script>é"


class Strict(HTMLParser):
    """Collects tags and addresses; every tag that was opened has to be closed."""

    VOID = frozenset({"meta", "img"})

    def __init__(self):
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in {"src", "href", "xlink:href", "action", "data"}]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def jpeg(width=320, height=240) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 30)).save(out, "JPEG")
    return out.getvalue()


@pytest.fixture
def run(tmp_path):
    """A workspace with as many cycles as asked for; makes the report of the last."""
    world = World(tmp_path)
    name = RunRef(namespace="orchard", name="apples & <i>pears</i>", uid="uid-1")

    def context(cycle: int, **params) -> Context:
        return world.context(ReportParams(**params), cycle, run=name)

    images, workspace = context(0).images, context(0).workspace

    def result(cycle: int, step: StepName, **fields) -> None:
        one = StepResult(step=step, cycle=cycle, input="i", digest=f"digest-{cycle}-{step}", **fields)
        workspace.write(paths.result(cycle, step), json.dumps(one.to_json()).encode())

    def make(made: int, picked: int = 2, **params) -> tuple[str, dict, StepResult]:
        dataset = {
            "classes": CLASSES,
            "classMapping": {"<mutter>": "nut"},
            "images": 50,
            "test": 10,
            "testBoxes": {"nut": 4, "<b>bolt</b>": 3},
            "problems": {"UnreadableImage": 1},
            "split": {"seed": 7, "groupBy": "^(?P<group>[^_]+)_", "fraction": 0.2},
        }
        workspace.write(paths.DATASET, json.dumps(dataset).encode())
        one = context(made - 1, **params)
        found = {"image": ["broken <1>.jpg"], "kind": ["UnreadableImage"], "detail": ["cut off"], "action": ["left out"]}
        one.write_table(paths.PROBLEMS, pa.table(found))
        for cycle in range(made):
            names = [f"{EVIL}{cycle}-{k}.jpg" for k in range(picked)]
            rows = {
                "image": names,
                "rank": list(range(picked)),
                "score": [0.5 / (k + 1) for k in range(picked)],
                "rule": ["Herding"] * picked,
                "why": [f"because <{k}>" for k in range(picked)],
            }
            one.write_table(paths.selection(cycle), pa.table(rows))
            one.write_table(paths.annotated(cycle), pa.table({"image": pa.array(names[:-1], pa.string())}))
            for name in names:
                images.write(name, jpeg())
                boxes = [Box("nut", 10, 10, 100, 90), Box("<b>bolt</b>", 50, 50, 90, 90)]
                workspace.write(f"{paths.labels(cycle)}/{name[:-4]}.txt", kitti.format_boxes(boxes))
            result(0, StepName.PREPARE)
            result(cycle, StepName.ANNOTATE, seconds=100.0)
            result(cycle, StepName.TRAIN, model="pvc://workspace/m.npz")
            metrics = {"mAP50": 0.3 + 0.02 * cycle, "mAP": 0.2, "AP50/nut": 0.4 + 0.01 * cycle, "AP50/<b>bolt</b>": 0.25}
            workspace.write(paths.evaluation(cycle), json.dumps({"metrics": metrics}).encode())
        done = report.run(one)
        return workspace.read(paths.REPORT).decode(), json.loads(workspace.read(report.DATA)), done

    make.context, make.images, make.workspace, make.result = context, images, workspace, result
    return make


def parsed(html: str) -> Strict:
    parser = Strict()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    return parser


def test_a_run_of_three_cycles(run):
    html, data, result = run(
        3,
        labels_budget={"images": 6, "annotatorSeconds": 7200},
        pod_seconds=3725.0,
        stop_reason="Plateau",
        stop_message="<x>",
    )
    seen = parsed(html)
    # twice +0.02, which is noise
    assert "<h2>Worth labelling more? Likely not.</h2>" in html
    assert "<dt>Best mAP50</dt><dd>0.340<small>cycle 2, 3 images</small></dd>" in html
    assert "<dt>Annotator time</dt><dd>5 min<small>" in html
    assert "<dt>Pod time</dt><dd>1 h 2 min<small>" in html
    assert '<tr class="best"><th scope="row">2 (best)</th><td class="text">Herding</td><td>3 ' in html
    assert '<td>6 <span class="soft">(+2)</span></td><td>0.340</td><td>0.200</td><td>1 min 40 s</td><td>—</td>' in html
    assert '<th scope="row" class="text">Budget: images</th><td>3 of 6<' in html
    assert "5 min of 2 h" in html
    assert "The run ended: <b>Plateau</b>: &lt;x&gt;" in html
    assert "20% of the images, drawn with seed 7 by whole groups" in html
    assert "</span>nut</th><td>3</td><td>4</td><td>0.420</td><td>+0.020</td>" in html
    assert "score 0.25, not labelled" in html
    assert "score 0.5, 2 boxes" in html
    assert 'aria-label="nut by cycle: 0.400, 0.410, 0.420"' in html
    assert "digest-1-annotate" in html
    assert "digest-0-prepare" in html
    assert seen.tags.count("img") == 6
    assert result.report == "pvc://work/runs/orchard/apples/report/index.html"
    assert result.message.startswith("Worth labelling more? Likely not. ")
    assert [cycle["images"] for cycle in data["cycles"]] == [1, 2, 3]
    assert data["cycles"][2]["boxes_by_class"] == {"nut": 1, "<b>bolt</b>": 1}
    assert "picture" not in data["cycles"][0]["picks"][0]


def test_nothing_is_fetched_from_anywhere(run):
    html, _, _ = run(2)
    seen = parsed(html)
    assert "http" not in html
    assert "url(" not in html
    assert "@import" not in html
    assert not {"script", "link", "iframe", "object"} & set(seen.tags)
    assert seen.addresses
    assert all(address.startswith("data:image/jpeg;base64,") for address in seen.addresses)


def test_names_from_the_data_are_text_and_nothing_else(run):
    html, _, _ = run(1)
    assert "<script>" not in html
    assert "<i>pears" not in html
    assert "<b>bolt</b>" not in html
    assert "broken <1>" not in html
    for text in (
        "<h1>apples &amp; &lt;i&gt;pears&lt;/i&gt;</h1>",
        "&lt;b&gt;bolt&lt;/b&gt;",
        "site&amp;1/&lt;script&gt;alert(1)&lt;/script&gt;é0-0.jpg",
        "because &lt;0&gt;",
        "broken &lt;1&gt;.jpg",
        "&lt;mutter&gt; → nut",
    ):
        assert text in html


def test_every_picture_and_drawing_says_what_it_shows(run):
    html, _, _ = run(2)
    assert len(re.findall(r'<img [^>]*alt="[^"]+"', html)) == 4
    assert html.count("<svg") == html.count('role="img" aria-label="') - html.count('class="meter"')
    assert '<html lang="en">' in html


def test_one_cycle(run):
    html, _, _ = run(1)
    parsed(html)
    assert "Too early to say" in html
    assert "One point is no curve" in html
    assert "The run goes on; this is the state after cycle 0." in html


def test_twenty_five_cycles_stay_readable(run):
    html, data, _ = run(25)
    assert parsed(html).tags.count("img") == 40  # two a cycle, of the last twenty
    assert len(data["cycles"]) == 25
    assert html.count('class="value"') == 2 * 2  # first and best, which is the last, on both charts
    assert html.count("<details open>") == 4  # three cycles, and the problems


def test_only_the_first_picks_are_shown(run):
    html, _, _ = run(1, picked=30)
    assert parsed(html).tags.count("img") == 24
    assert "Herding: 30 picked, 29 labelled; the first 24 are shown" in html


def test_an_image_that_went_away_leaves_a_gap(run):
    run(1)
    run.images.delete([f"{EVIL}0-0.jpg"])
    run.images.write(f"{EVIL}0-1.jpg", b"not a picture")
    report.run(run.context(0))
    html = run.workspace.read(paths.REPORT).decode()
    assert html.count('<span class="gone">no longer readable</span>') == 2


def test_times_and_digests_of_shards_come_from_the_operator(run):
    cycles = [{"cycle": 0, "startedAt": "2026-01-01T10:00:00Z", "finishedAt": "2026-01-01T10:07:30Z"}]
    cycles[0]["results"] = {"infer": "digest-of-shards"}
    html, _, _ = run(1, cycles=cycles)
    assert "<td>7 min 30 s</td></tr>" in html
    assert '<td class="text">infer</td><td class="text"><code>digest-of-shards</code></td>' in html


# training and compression

ROWS = [
    {"threshold": 0, "ratio": 1, "size": 3_059_000, "metric": 0.4},
    {"threshold": 0.3, "ratio": 0.8, "size": 2_450_000, "metric": 0.395},
    {"threshold": 0.7, "ratio": 0.25, "size": 999, "metric": 0.1},
]


def compression(cycle=1, **changes):
    return {
        "cycle": cycle,
        "tradeoff": ROWS,
        "chosen": 0.3,
        "model": "pvc://work/<small>.npz",
        "artifacts": {"onnx": "pvc://work/model.onnx"},
        "results": {step: f"digest-of-{step}" for step in ("prune", "retrain", "assess", "export")},
    } | changes


def assess(run, cycle, **metrics):
    run.workspace.write(paths.assessment(cycle), json.dumps({"metrics": metrics}).encode())


def section(html, name):
    found = re.search(rf'<section aria-labelledby="{name}">(.*?)</section>', html, re.DOTALL)
    return found and found[1]


def test_a_run_that_compresses_nothing(run):
    run.workspace.write(paths.result(0, "prune"), b"left over")
    html, data, _ = run(1)
    assert section(html, "compression") is None
    assert section(html, "training") is None  # no history either
    assert (data["compressions"], data["trainings"]) == ([], [])
    assert "<dt>Trainer</dt><dd>the embedded detector</dd>" in html


def test_what_compression_cost_and_gained(run):
    assess(run, 1, **{"mAP50": 0.3, "mAP": 0.21, "AP50/nut": 0.38, "AP50/<b>bolt</b>": 0.25, "mAP75": 0.1})
    html, data, _ = run(2, compression=compression())
    parsed(html)
    shown = section(html, "compression")
    assert '<tr><th scope="row">unpruned</th><td>100.0 %</td><td>3.1 MB</td><td>0.400</td><td>—</td></tr>' in shown
    assert (
        '<tr class="best"><th scope="row">0.3 (kept)</th><td>80.0 %</td><td>2.5 MB</td><td>0.395</td><td>-0.005</td></tr>'
    ) in shown
    assert '<tr><th scope="row">0.7</th><td>25.0 %</td><td>999 B</td><td>0.100</td><td>-0.300</td></tr>' in shown
    # the evaluation of cycle 1 beside the assessment; mAP75 is known of one model only
    assert re.findall(r'<th scope="row" class="text">([^<]*)</th><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td>', shown) == [
        ("mAP50", "0.320", "0.300", "-0.020"),
        ("mAP", "0.200", "0.210", "+0.010"),
        ("AP50/&lt;b&gt;bolt&lt;/b&gt;", "0.250", "0.250", "+0.000"),
        ("AP50/nut", "0.410", "0.380", "-0.030"),
    ]
    assert "<dt>Compressed model</dt><dd><code>pvc://work/&lt;small&gt;.npz</code></dd>" in shown
    assert "<dt>Exported: onnx</dt><dd><code>pvc://work/model.onnx</code></dd>" in shown
    assert "Model of cycle 1 <span>80.0 % of the parameters left</span>" in shown
    assert "Threshold kept" not in shown  # one model needs no overview
    assert '<td class="text">export</td><td class="text"><code>digest-of-export</code></td>' in html
    assert data["compressions"][0]["rows"][1] == ROWS[1]
    assert data["compressions"][0]["after"]["mAP50"] == 0.3


def test_no_pruned_model_was_good_enough(run):
    assess(run, 0, mAP50=0.9)  # of an attempt with other settings
    changes = {"chosen": None, "model": None, "artifacts": {}, "results": {"prune": "digest"}}
    html, _, _ = run(1, compression=compression(0, **changes))
    parsed(html)
    shown = section(html, "compression")
    assert "Model of cycle 0 <span>no pruned model was good enough</span>" in shown
    assert "(kept)" not in shown
    assert "On the sealed test set:" not in shown
    assert "Compressed model" not in shown


def test_only_exported(run):
    changes = {"tradeoff": [], "chosen": None, "model": None, "results": {"export": "digest"}}
    html, _, _ = run(1, compression=compression(0, **changes))
    parsed(html)
    shown = section(html, "compression")
    assert "Model of cycle 0 <span>exported as it was</span>" in shown
    assert "<table>" not in shown
    assert "<dt>Exported: onnx</dt>" in shown


def test_every_cycle_compressed(run):
    """What the operator no longer has in its status is in the workspace."""
    rows = [PruneRow.model_validate(row) for row in ROWS]
    run.result(0, StepName.PRUNE, tradeoff=rows, chosen=0.7, model="pvc://work/pruned.npz")
    run.result(0, StepName.RETRAIN, model="pvc://work/retrained.npz")
    run.result(0, StepName.EXPORT, artifacts={"onnx": "pvc://work/0.onnx"})
    run.result(1, StepName.PRUNE, tradeoff=rows)
    assess(run, 0, mAP50=0.25)
    assess(run, 2, mAP50=0.35)
    html, data, _ = run(4, compression=compression(2))
    parsed(html)
    shown = section(html, "compression")
    overview = shown[: shown.index("<details")]
    assert re.findall(r'<th scope="row">(\d)</th>((?:<td>.*?</td>)*)', overview) == [
        ("0", "<td>0.7</td><td>25.0 %</td><td>999 B</td><td>0.300</td><td>0.250</td><td>-0.050</td>"),
        ("1", "<td>none</td><td>—</td><td>—</td><td>0.320</td><td>—</td><td>—</td>"),
        ("2", "<td>0.3</td><td>80.0 %</td><td>2.5 MB</td><td>0.340</td><td>0.350</td><td>+0.010</td>"),
    ]
    assert [one["cycle"] for one in data["compressions"]] == [2, 1, 0]
    assert [one["model"] for one in data["compressions"]] == ["pvc://work/<small>.npz", None, "pvc://work/retrained.npz"]
    assert shown.count("<details open>") == 1


def test_how_training_went(run):
    history = [
        {"epoch": 1, "loss": 4.0, "learningRate": 0.1},
        {"epoch": 2, "loss": 2.0, "mAP50": 0.5},
        {"epoch": 3.5, "loss": 0.01234, "mAP50": 0.4},
    ]
    run.workspace.write(paths.history(0), "".join(json.dumps(line) + "\n" for line in history).encode())
    run.workspace.write(paths.history(1), b'{"epoch": 80, "mAP": 0.25}\n')
    run.workspace.write(paths.history(2), b"")
    html, data, _ = run(3, trainer="TAO rtdetr <6>")
    parsed(html)
    shown = section(html, "training")
    assert "Trained by TAO rtdetr &lt;6&gt;." in shown
    assert "<dt>Trainer</dt><dd>TAO rtdetr &lt;6&gt;</dd>" in html
    assert '<th scope="row">0</th><td>3.5</td><td>4</td><td>0.0123</td>' in shown
    assert "<td>mAP50 0.500</td><td>2</td></tr>" in shown
    assert 'points="2.0,2.0 42.0,11.0 82.0,19.9"' in shown
    assert '<th scope="row">1</th><td>80</td><td>—</td><td>—</td>' in shown
    assert "<td>mAP 0.250</td><td>80</td></tr>" in shown
    assert [one["cycle"] for one in data["trainings"]] == [0, 1]


def test_the_same_input_gives_the_same_page(run):
    first, _, one = run(2)
    second, _, other = run(2)
    assert first == second
    assert one == other


def test_without_a_prepared_data_set(run):
    with pytest.raises(StepError, match=r"index/dataset\.json does not exist"):
        report.run(run.context(0))


def test_a_cycle_that_labelled_nothing(run):
    html, _, _ = run(1, picked=1)
    parsed(html)
    assert "<dt>Labelled images</dt><dd>0<small>" in html


# verdict


def curve(*values):
    return [Point(k, 40 * (k + 1), 100 * (k + 1), value) for k, value in enumerate(values)]


@pytest.mark.parametrize(
    ("values", "answer"),
    [
        ([], Answer.TOO_EARLY),
        ([0.5], Answer.TOO_EARLY),
        ([0.5, 0.6], Answer.YES),
        ([0.5, 0.51], Answer.UNCLEAR),
        ([0.5, 0.4], Answer.UNCLEAR),
        ([0.5, 0.6, 0.61], Answer.UNCLEAR),
        ([0.5, 0.6, 0.61, 0.62], Answer.NO),
        ([0.5, 0.6, 0.5, 0.61], Answer.NO),  # back to where it was is no gain
        ([0.5, 0.51, 0.6], Answer.YES),
    ],
)
def test_verdict(values, answer):
    assert verdict(curve(*values), "mAP50").answer is answer


def test_verdict_says_what_it_rests_on():
    assert verdict(curve(0.4, 0.5, 0.56), "mAP50").reason == (
        "The last 40 labelled images took mAP50 from 0.500 (the best before) to 0.560, "
        "+0.150 for each 100 images (the batch before: +0.250)."
    )
    assert "no control arm" in verdict([], "mAP50").caution


# chart


@pytest.mark.parametrize(
    ("largest", "expected"),
    [
        (160, [0, 50, 100, 150, 200]),
        (1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.63, [0, 0.2, 0.4, 0.6, 0.8]),
        (0.1, [0, 0.02, 0.04, 0.06, 0.08, 0.1]),
        (7, [0, 2, 4, 6, 8]),
        (100000, [0, 20000, 40000, 60000, 80000, 100000]),
    ],
)
def test_ticks(largest, expected):
    assert chart.ticks(largest) == expected


@settings(deadline=None)
@given(st.floats(0.001, 1e9))
def test_ticks_reach_the_largest_value(largest):
    steps = chart.ticks(largest)
    assert steps[0] == 0
    assert steps[-1] >= largest * (1 - 1e-9)
    assert 2 <= len(steps) <= 7


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(0, 1)), max_size=30))
def test_every_dot_is_inside_its_frame(points):
    values = [chart.Value(at, value, "t", low=value / 2, high=(1 + value) / 2) for at, value in points]
    drawn = chart.curve(values[::2], values[1::2])
    assert (len(drawn.dots), len(drawn.others)) == (len(values[::2]), len(values[1::2]))
    for dot in drawn.dots + drawn.others:
        assert drawn.left <= dot.x <= drawn.right + 1e-6
        assert drawn.top - 1e-6 <= dot.high <= dot.y <= dot.low <= drawn.bottom
    assert all(dot.label == "" for dot in drawn.others)


def test_spark_leaves_out_what_is_unknown():
    assert chart.spark([0.0, None, 1.0]) == "2.0,20.0 82.0,2.0"
    assert chart.spark([]) == ""
    assert chart.spark([0.5]) == "2.0,11.0"


# pictures and numbers


def test_thumbnail_is_small_and_carries_the_boxes():
    uri = thumbnail(jpeg(640, 320), [Box("nut", 0, 0, 640, 320)], ["nut"])
    assert uri is not None
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
        assert image.size == (160, 80)
        red, green, blue = image.getpixel((0, 40))
        assert red > 200
        assert 40 < green < 110
        assert 40 < blue < 110


@pytest.mark.parametrize("data", [b"", b"text", jpeg()[:200]])
def test_what_is_no_picture_has_no_thumbnail(data):
    assert thumbnail(data, [], []) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "—"),
        (0, "0 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (3_600_000, "1,000 h"),
    ],
)
def test_duration(seconds, text):
    assert words.duration(seconds) == text
