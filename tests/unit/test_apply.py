"""What a status looks like on its way to the API server."""

from __future__ import annotations

from alrun.cluster.apply import without_empty


def test_empty_maps_and_lists_are_not_named() -> None:
    status = {
        "cycle": 0,
        "message": "",
        "ending": [],
        "results": {},
        "cycles": [{"cycle": 0, "metrics": {}, "results": {"train": "1"}}, {"cycle": 1, "metrics": {"mAP50": 0.0}}],
        "step": {"progress": {"done": 0, "metrics": {}}},
    }

    assert without_empty(status) == {
        "cycle": 0,
        "message": "",
        "cycles": [{"cycle": 0, "results": {"train": "1"}}, {"cycle": 1, "metrics": {"mAP50": 0.0}}],
        "step": {"progress": {"done": 0}},
    }


def test_an_element_of_a_list_stays_though_it_is_empty() -> None:
    assert without_empty({"list": [{}, {"a": {}}]}) == {"list": [{}, {}]}
