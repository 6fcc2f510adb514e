"""What is taken out of logs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from alrun.steps.secrets import SHORTEST, Secrets

ENVIRON = {
    "DATASET_AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI",
    "WORKSPACE_AWS_SESSION_TOKEN": " wJalrXUtnFEMI/K7MDENG\n",
    "TAO_KEY": "nvidia_tlt",
    "NGC_CLI_API_KEY": "nvapi-of-a-test",
    "DATASET_AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "HOME": "/tmp/of-no-interest",
}


def test_values_of_secrets_are_taken_out_and_nothing_else() -> None:
    text = "key nvidia_tlt, wJalrXUtnFEMI/K7MDENG and wJalrXUtnFEMI as AKIAIOSFODNN7EXAMPLE in /tmp/of-no-interest"
    told = "key [redacted], [redacted] and [redacted] as AKIAIOSFODNN7EXAMPLE in /tmp/of-no-interest"
    secrets = Secrets.of(ENVIRON)
    assert secrets.redacted(text) == told
    assert secrets.redacted_bytes(text.encode() + b"\xff") == told.encode() + b"\xff"


def test_a_token_is_taken_out_of_urls() -> None:
    secrets = Secrets.of({"LIGHTLY_TOKEN": "a1b2+c3/d4"})
    told = secrets.redacted("GET /v1/tags?token=a1b2%2Bc3%2Fd4&x=1, a1b2+c3/d4")
    assert told == "GET /v1/tags?token=[redacted]&x=1, [redacted]"


def test_what_is_too_short_to_be_a_secret_stays() -> None:
    assert Secrets.of({"TAO_KEY": "a" * (SHORTEST - 1)}).values == ()
    assert Secrets.of({"TAO_KEY": ""}).redacted("as it was") == "as it was"


@given(
    st.lists(st.text(st.characters(exclude_characters="[]", exclude_categories=["Z", "C"]), min_size=6), max_size=3),
    st.data(),
)
def test_no_secret_is_left_in_a_text(values: list[str], data: st.DataObject) -> None:
    secrets = Secrets.of({f"{number}TAO_KEY": value for number, value in enumerate(values)})
    text = "".join(data.draw(st.lists(st.sampled_from([*values, " ", "epoch"]), max_size=8)))
    left = secrets.redacted(text).replace("[redacted]", " ")
    assert not [value for value in values if value in left]
