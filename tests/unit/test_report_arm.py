"""The report of a run with a comparison arm: the verdict, both curves, the balance of classes, the map of the pool."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from alrun.api import paths
from alrun.api.selection import Embeddings, EmbeddingSource
from alrun.api.spec import Batch
from alrun.api.step import MAX_TERMINATION_MESSAGE, SelectParams
from alrun.data.stores import FileNotFoundInStore
from alrun.learn.comparison import Comparison, Labels, Pair
from alrun.steps import report
from alrun.steps.context import StepError
from alrun.steps.report import space
from alrun.steps.report.balance import bars
from alrun.steps.report.figures import gather
from alrun.steps.report.judgement import CAUTION, judgement
from alrun.steps.report.plan import colour, plan
from alrun.steps.run import fitted

from .report_worlds import BATCH, CLASSES, POOL, ReportWorld
from .test_report import parsed


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> ReportWorld:
    """A run of four cycles. Nothing of it may be changed."""
    return ReportWorld(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def of_two_cycles(tmp_path_factory: pytest.TempPathFactory) -> ReportWorld:
    return ReportWorld(tmp_path_factory.mktemp("run"), cycles=2)


@pytest.fixture
def small(tmp_path: Path, of_two_cycles: ReportWorld) -> ReportWorld:
    """A run of two cycles, to be changed."""
    return of_two_cycles.copied(tmp_path)


def page(world: ReportWorld) -> str:
    return world.world.file(paths.REPORT).read_text()


# The arm


def test_the_verdict_is_in_the_result_on_the_page_and_beside_it(finished: ReportWorld) -> None:
    result = report.run(finished.report())
    assert result.control is not None
    control = result.control
    assert (control.verdict, control.metric) == ("NoDifference", "mAP50")
    assert control.low < 0 < control.high
    assert len(fitted(result).encode()) <= MAX_TERMINATION_MESSAGE
    text = html.unescape(page(finished))
    assert '<h2 id="control">Compared with random</h2>' in text
    assert all(sentence in text for sentence in control.message.split(". "))
    assert "Whether random images do as well is judged below." in text
    data = json.loads(finished.world.file(report.DATA).read_bytes())
    assert data["arm"]["result"] == control.to_json()
    assert [pair["cycle"] for pair in data["arm"]["pairs"]] == [1, 2, 3]
    differences = [pair["main"] - pair["control"] for pair in data["arm"]["pairs"]]
    assert control.difference == pytest.approx(np.mean(differences), abs=1e-6)
    assert report.run(finished.report()) == result


def test_the_figures_of_the_arm_are_those_of_the_status(finished: ReportWorld) -> None:
    """The operator counted them as the cycles went; the report finds them anew in the workspace."""
    arm = gather(finished.report()).arm
    assert arm is not None
    expected = [one.control for one in finished.status if one.control]
    assert [one.images for one in arm.cycles] == [one.images for one in expected] == [2 * BATCH, 3 * BATCH, 4 * BATCH]
    assert [one.boxes for one in arm.cycles] == [one.boxes for one in expected]
    assert [one.annotator_seconds for one in arm.cycles] == [one.annotator_seconds for one in expected]
    assert [one.metrics for one in arm.cycles] == [one.metrics for one in expected]
    values = [round(one.value, 6) for one in arm.control]
    assert values == [finished.status[0].metrics["mAP50"], *(one.metrics["mAP50"] for one in expected)]
    assert [round(one.value, 6) for one in arm.main] == [one.metrics["mAP50"] for one in finished.status]
    assert all(one.low <= one.value <= one.high for one in arm.main + arm.control)


def test_without_an_arm_there_is_nothing_to_compare(small: ReportWorld) -> None:
    result = report.run(small.report(control=None))
    assert result.control is None
    assert "Compared with random" not in page(small)
    assert "no control arm" in page(small)


def test_an_arm_that_has_not_come_so_far(small: ReportWorld) -> None:
    """What lies there of an earlier life of the run is not looked at, where the operator knows of none."""
    known = [one.model_copy(update={"control": None}).to_json() for one in small.status]
    result = report.run(small.report(cycles=known))
    assert result.control is None
    assert "No model of the comparison arm has been evaluated yet." in page(small)


def test_cycles_that_the_status_has_forgotten(small: ReportWorld) -> None:
    assert report.run(small.report(cycles=[])).control == report.run(small.report()).control


def test_a_test_set_of_a_few_groups(small: ReportWorld) -> None:
    table = small.context.read_table(paths.TEST_INDEX)
    groups = [f"shelf {number % 4}" for number in range(len(table))]
    small.context.write_table(paths.TEST_INDEX, table.set_column(1, "group", [groups]))
    assert report.run(small.report()).control is None
    assert "The test set has 4 groups of images: too few to tell a difference from chance." in page(small)


def test_detections_that_are_gone(small: ReportWorld) -> None:
    small.world.file(f"control/{paths.test_detections(1)}").unlink()
    with pytest.raises(FileNotFoundInStore, match=r"control/cycles/001/evaluate/detections.parquet does not exist"):
        report.run(small.report())


def test_detections_of_other_images(small: ReportWorld) -> None:
    table = small.context.read_table(paths.test_detections(1))
    small.context.write_table(paths.test_detections(1), table.set_column(0, "image", [["moved.jpg"] * len(table)]))
    with pytest.raises(StepError, match=r"speaks of 'moved\.jpg'") as error:
        report.run(small.report())
    assert (error.value.reason, error.value.remedy) == ("DetectionsUnusable", "retry the run from cycle 1, step evaluate")


# In words


def compared(low: float, high: float, needed: Labels | None, apart: tuple[int, ...] = ()) -> Comparison:
    return Comparison(
        pairs=(Pair(1, 900, 0.55, 0.5),),
        apart=apart,
        difference=0.05,
        low=low,
        high=high,
        best=0.6,
        used=Labels(200, 1000, 4000.0),
        needed=needed,
        reached=0.58,
        spent=Labels(300, 1400, 6000.0),
    )


def test_what_was_saved_in_words() -> None:
    status = judgement(compared(0.01, 0.09, Labels(252, 1140, 4720.5)), "mAP50")
    assert status.message == (
        "Better than random: mAP50 +0.050 at equal numbers of boxes, cycle 1 (95 % interval +0.010 to +0.090). For the "
        f"run's best mAP50 0.600 random needed 52 images more, 140 boxes more, 12 min more of annotation. {CAUTION}"
    )
    assert (status.saved_images, status.saved_boxes, status.saved_seconds) == (52, 140, 720.5)


def test_what_was_lost_in_words() -> None:
    status = judgement(compared(-0.09, -0.01, Labels(190, 1100, 3940.0), apart=(0, 2)), "mAP")
    assert status.verdict == "Worse"
    assert "; cycles 0, 2 could not be compared, as only one arm has so few boxes." in status.message
    assert "random needed 10 images fewer, 100 boxes more, 1 min less of annotation." in status.message


def test_more_than_random_was_given_in_words() -> None:
    status = judgement(compared(-0.01, 0.09, None), "mAP50")
    assert status.message.startswith("No difference from random that the test set could show: mAP50 +0.050 at equal")
    assert (
        "The run came to mAP50 0.600; random would need more than 300 images, 1,400 boxes and 1 h 40 min of annotation for "
        "that, with which its best was 0.580; the difference being within chance, so is this."
    ) in status.message
    assert (status.saved_images, status.saved_boxes, status.saved_seconds) == (None, None, None)


# Balance


def test_bars_add_up_to_what_is_labelled(finished: ReportWorld) -> None:
    figures = gather(finished.report())
    drawn = {(bar.arm, bar.cycle): bar for bar in bars(figures)}
    assert list(drawn) == [
        ("run", 0),
        ("run", 1),
        ("random", 1),
        ("run", 2),
        ("random", 2),
        ("run", 3),
        ("random", 3),
    ]
    for one in finished.status:
        assert drawn["run", one.cycle].boxes == one.boxes
        if one.control:
            assert drawn["random", one.cycle].boxes == one.control.boxes
    for bar in drawn.values():
        assert [part.name for part in bar.parts] == CLASSES
        assert sum(part.width for part in bar.parts) == pytest.approx(100)
        assert bar.parts[0].start == 0
        assert sum(part.boxes for part in bar.parts) == bar.boxes


def test_many_classes_share_a_part(finished: ReportWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alrun.steps.report.balance.CLASSES_SHOWN", 2)
    last = bars(gather(finished.report()))[-1]
    assert [part.name for part in last.parts] == ["apple", "pear", "2 other classes"]
    assert sum(part.boxes for part in last.parts) == last.boxes


# The map


def test_every_image_is_on_the_map_once(finished: ReportWorld) -> None:
    found = gather(finished.report()).space
    assert found is not None
    assert found.source == "the detector of the cycle before"
    assert (len(found.picked), len(found.others)) == (4 * BATCH, POOL - 4 * BATCH)
    assert found.cycles == [0, 1, 2, 3]
    assert all(0 <= value <= 1 for place in found.others for value in place)
    parsed(page_of(finished))
    titles = re.findall(r"<title>(bay [^<]*)</title>", html.unescape(page_of(finished)))
    assert len(titles) == 4 * BATCH
    assert all("farthest of" in title for title in titles)


def page_of(world: ReportWorld) -> str:
    report.run(world.report())
    return page(world)


def test_a_large_pool_is_sampled_and_what_was_picked_is_kept(finished: ReportWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "POINTS", 100)
    monkeypatch.setattr(space, "PICKS", 40)
    found = space.embedding_space(finished.report())
    assert found is not None
    assert (len(found.picked), len(found.others), found.images) == (40, 60, POOL)
    assert {one.cycle for one in found.picked} == {0, 1, 2, 3}
    assert space.embedding_space(finished.report()) == found


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (EmbeddingSource.CLASSICAL, "colours, edges and textures"),
        (EmbeddingSource.SELF_SUPERVISED, "a network that was trained on the pool itself"),
        (EmbeddingSource.FILE, "the embeddings of spec.selection.embeddings.path"),
    ],
)
def test_what_the_map_is_made_from(small: ReportWorld, source: EmbeddingSource, words: str) -> None:
    asked = SelectParams(batch=Batch(count=1), embeddings=Embeddings(source=source, path="vectors.parquet"))
    small.world.file(paths.selection_input(1)).write_text(json.dumps(small.world.input(asked, 1).to_json()))
    table = small.world.file(paths.POOL_EMBEDDINGS).read_bytes()
    small.world.file(paths.LEARNED_EMBEDDINGS).parent.mkdir()
    small.world.file(paths.LEARNED_EMBEDDINGS).write_bytes(table)
    small.world.put("vectors.parquet", table)
    found = space.embedding_space(small.report())
    assert found is not None
    assert found.source == words
    assert len(found.others) == POOL - 2 * BATCH


def test_embeddings_that_are_gone_leave_a_gap(small: ReportWorld) -> None:
    small.world.file(paths.POOL_EMBEDDINGS).unlink()
    small.world.file(paths.selection_input(1)).unlink()  # as a run of an earlier release: classical ones are meant
    assert "The pool, and what was picked from it" not in page_of(small)
    assert "the report has no map of the pool: " in small.world.log.getvalue()


def test_the_first_axis_is_the_one_along_which_images_differ_most() -> None:
    vectors = np.array([[0, 0, 5], [1, 0.1, 5], [2, 0, 5], [3, 0.1, 5]], np.float32)
    places, shares = space.plane(vectors)
    assert shares[0] > shares[1] > 0
    assert sum(shares) == pytest.approx(1)  # the third column never varies
    assert (places.min(axis=0), places.max(axis=0)) == (pytest.approx([0, 0]), pytest.approx([1, 1]))


@settings(deadline=None)
@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 4)), elements=st.integers(-3, 3)))
def test_any_embeddings_have_a_place(vectors: np.ndarray) -> None:
    places, shares = space.plane(vectors)
    assert places.shape == (len(vectors), 2)
    assert ((places >= 0) & (places <= 1)).all()
    assert all(0 <= share <= 1 + 1e-9 for share in shares)


def test_the_map_of_a_large_pool_keeps_the_page_small() -> None:
    rng = np.random.default_rng(3)
    picked = [
        space.Picked(*rng.random(2), number % 20, f"camera/{number:020d}.jpg", "w" * 60) for number in range(space.PICKS)
    ]
    others = [(float(x), float(y)) for x, y in rng.random((space.POINTS - space.PICKS, 2))]
    drawn = plan(space.Space("what it is made from", 10**6, others, picked, (0.5, 0.2)))
    assert len(drawn.others) < 12 * len(others)
    assert [len(batch.marks) for batch in drawn.batches] == [space.PICKS // 20] * 20
    assert all(0 <= mark.x <= drawn.width and 0 <= mark.y <= drawn.height for batch in drawn.batches for mark in batch.marks)


@pytest.mark.parametrize("of", [1, 2, 20])
def test_each_cycle_has_a_colour_of_its_own(of: int) -> None:
    assert len({colour(place, of) for place in range(of)}) == of
