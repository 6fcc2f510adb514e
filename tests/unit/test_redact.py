"""No planted secret survives in a shape that secrets are known to take in logs; ordinary text is left alone."""

from __future__ import annotations

import base64
import json
import string

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from alrun.core.redact import REDACTED, clean, head, redact, tail

PASSWORDS = st.text(
    alphabet=string.ascii_letters + string.digits + "!#$%^*()+,.;:?~|\\\"'{}[]<>@/= ", min_size=6, max_size=40
)
WORDS = st.text(alphabet=string.ascii_letters + string.digits + "!#$%^*()+,.;:?~|{}[]@/=-_", min_size=6, max_size=40)
KEY_BODY = st.text(alphabet=string.ascii_letters + string.digits, min_size=36, max_size=40)
NAMES = st.sampled_from(
    [
        "password",
        "PGPASSWORD",
        "db_passwd",
        "AWS_SECRET_ACCESS_KEY",
        "DATASET_AWS_SECRET_ACCESS_KEY",
        "WORKSPACE_AWS_SESSION_TOKEN",
        "aws_access_key_id",
        "secretAccessKey",
        "SecretAccessKey",
        "client_secret",
        "token",
        "LIGHTLY_TOKEN",
        "apiKey",
        "API-KEY",
        "ngc_api_key",
        "encryption_key",
        "private_key",
        "X-Amz-Signature",
        "X-Amz-Security-Token",
        "X-Amz-Credential",
        "sig",
        "auth",
    ]
)
JSON_LIKE = [
    lambda name, secret: json.dumps({name: secret, "next": 1}),
    lambda name, secret: json.dumps({"a": {name: secret}}, indent=2),
    lambda name, secret: json.dumps({"message": json.dumps({name: secret})}),
    lambda name, secret: json.dumps([json.dumps(json.dumps({name: secret}))]),
    lambda name, secret: repr({name: secret, "other": "x"}),
    lambda name, secret: f"{name}={json.dumps(secret)}",
    lambda name, secret: f"--{name} {json.dumps(secret)} --verbose",
]
BARE = [
    "{name}={secret}",
    "{name} = {secret}",
    "{name}: {secret}",
    "export {name}={secret}",
    "--{name}={secret}",
    "--{name} {secret} --verbose",
    "https://example.org/a?x=1&{name}={secret}&y=2",
    "failed with {name}={secret}",
    "<{name}>{secret}</{name}>",
]


@given(name=NAMES, secret=PASSWORDS, shape=st.sampled_from(JSON_LIKE))
@example(name="password", secret='a"b c', shape=JSON_LIKE[2])
def test_value_in_quotes_does_not_survive(name, secret, shape):
    # A secret is looked for by its longest run of plain characters: quoting changes the others.
    trace = max("".join(c if c.isalnum() else " " for c in secret).split(), key=len, default="")
    assume(len(trace) >= 5 and trace not in shape(name, "") + REDACTED)
    assert trace not in redact(shape(name, secret))


@given(name=NAMES, secret=WORDS, shape=st.sampled_from(BARE))
def test_bare_value_does_not_survive(name, secret, shape):
    assume(secret not in shape + REDACTED and secret not in name and "<" not in secret and not secret.startswith("-"))
    assert secret not in redact(shape.format(name=name, secret=secret))


@given(
    secret=KEY_BODY,
    shape=st.sampled_from(
        [
            "Authorization: Bearer {}",
            "authorization: Basic {}",
            "{{'Authorization': 'Bearer {}', 'Host': 'x'}}",
            "Authorization: AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature={}",
            "Cookie: a=b; session={}",
            "curl -H 'authorization: Bearer {}' https://x",
            "sent Bearer {} to the server",
            "https://user:{}@registry.example.org/v2/",
            "https://{}@github.com/x/y.git",
            "redis://:{}@cache:6379/0",
            "key nvapi-{}",
            "key hf_{}",
            "key ghp_{}",
            "key glpat-{}",
            "key sk-{}",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIi{}.sgn",
            "token IQoJb3JpZ2luX2VjE{}==",
            "-----BEGIN PRIVATE KEY-----\nMIIE\n{}\n-----END PRIVATE KEY-----",
            "-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n",
            "{}\nabc=\n-----END RSA PRIVATE KEY-----\nnext line",
        ]
    ),
)
def test_known_shape_does_not_survive(secret, shape):
    assert secret not in redact(shape.format(secret))


@given(st.binary(min_size=30, max_size=30))
def test_secret_half_of_an_aws_key_pair_does_not_survive_on_its_own(raw):
    secret = base64.b64encode(raw).decode()
    assume(any(c.isdigit() for c in secret) and any(c.isupper() for c in secret) and any(c.islower() for c in secret))
    assert redact(f"using {secret} now") == f"using {REDACTED} now"


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=300))
@example("password=a\rpassword=b")
def test_redacting_twice_changes_nothing(text):
    once = redact(text)
    assert redact(once) == once


@given(secret=KEY_BODY, name=NAMES)
def test_colours_do_not_hide_a_secret(secret, name):
    text = f"{name[:2]}\x1b[31m{name[2:]}\x1b[0m=\x1b[1m{secret[:9]}\x1b[22m{secret[9:]}"
    assert secret not in redact(text)
    assert secret[9:] not in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        'secret "orchard-s3" not found',
        "couldn't find key AWS_SECRET_ACCESS_KEY in Secret orchard/orchard-s3",
        "spec.dataset.storage.secretRef: Secret orchard-s3 is missing",
        'pods "a" is forbidden: exceeded quota: team, requested: requests.cpu=1, used: requests.cpu=4',
        "0/3 nodes are available: 1 Insufficient nvidia.com/gpu, 2 node(s) had untolerated taint {a/b: c}.",
        "epoch 3/50 loss 0.512 tokens=512 mAP50=0.62",
        "s3://orchard/minneapple_out/runs/orchard/Apples-2/cycles/001/train/model.npz",
        "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "commit 0123456789abcdef0123456789abcdef01234567",
        "keySecretRef: ngc",
        "Bearer of bad news; Basic training; authors: A. B.",
        'error looking up service account orchard/alrun: serviceaccount "alrun" not found',
        'Traceback (most recent call last):\n  File "/a/b.py", line 3, in f\nValueError: bad box',
    ],
)
def test_ordinary_text_is_left_alone(text):
    assert redact(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"password": "hunter2", "user": "a"}', '{"password": "[redacted]", "user": "a"}'),
        ("password=hunter2 user=a", "password=[redacted] user=a"),
        ('{"password": "cut o', '{"password": "[redacted]"'),
        ("Authorization: Bearer abc\nnext", "Authorization: [redacted]\nnext"),
        ("https://u:p@h/x", "https://[redacted]@h/x"),
        ("a\n-----BEGIN X-----\nq\n-----END X-----\nb", "a\n[redacted]\nb"),
        ("key AKIAIOSFODNN7EXAMPLE used", "key [redacted] used"),
        ("<SecretAccessKey>abc</SecretAccessKey>", "<SecretAccessKey>[redacted]</SecretAccessKey>"),
    ],
)
def test_only_the_secret_goes(text, expected):
    assert redact(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("10%\r50%\r100%\n", "100%\n"),
        ("10%\r100%\r\nnext\r\n", "100%\nnext\n"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\x00b\x07c\td", "abc\td"),
        ("trailing   \n", "trailing\n"),
        ("", ""),
        ("cut \x1b[3", "cut"),
        ("rtl \u202eevil", "rtl evil"),
    ],
)
def test_clean(text, expected):
    assert clean(text) == expected


def test_head_is_bounded_after_redaction():
    assert head("  short ", 10) == "short"
    assert head("x" * 20, 10) == "x" * 9 + "…"
    assert head("password=" + "x" * 5000 + " end", 1000) == "password=[redacted] end"


def test_tail_keeps_whole_lines():
    assert tail("one\ntwo\nthree\n", 100) == "one\ntwo\nthree"
    assert tail("one\ntwo\nthree\n", 10) == "…three"
    assert tail("x" * 50, 10) == "…" + "x" * 9


@given(st.text(max_size=200), st.integers(min_value=1, max_value=50))
def test_bounds_hold(text, limit):
    assert len(head(text, limit)) <= limit
    assert len(tail(text, limit)) <= limit
