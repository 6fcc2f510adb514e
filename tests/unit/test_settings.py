from __future__ import annotations

from pathlib import Path

import pytest

from alrun.controller.settings import Settings, SettingsError, read_settings

NOWHERE = Path("/nonexistent/namespace")
LEAST = {"ALRUN_WORKER_IMAGE": "example.org/worker:1", "ALRUN_LEASE_NAMESPACE": "alrun-system", "POD_NAME": "alrun-7"}


def test_the_least_that_must_be_set_and_every_default() -> None:
    assert read_settings(LEAST, NOWHERE) == Settings(
        worker_image="example.org/worker:1",
        image_pull_policy="IfNotPresent",
        namespaces=(),
        lease_namespace="alrun-system",
        lease_name="alrun",
        identity="alrun-7",
        http_port=8080,
        workers=8,
        resync=450,
        log_format="json",
        log_level="INFO",
    )


def test_everything_set() -> None:
    more = {
        "ALRUN_NAMESPACES": " team-b, team-a,,team-b ",
        "ALRUN_IMAGE_PULL_POLICY": "Always",
        "ALRUN_LEASE_NAME": "mine",
        "ALRUN_HTTP_PORT": "0",
        "ALRUN_WORKERS": "3",
        "ALRUN_RESYNC_SECONDS": "60",
        "ALRUN_LOG_FORMAT": "text",
        "ALRUN_LOG_LEVEL": "debug",
    }
    settings = read_settings(LEAST | more, NOWHERE)
    assert settings.namespaces == ("team-a", "team-b")
    assert (settings.http_port, settings.workers, settings.resync) == (0, 3, 60)
    assert (settings.log_format, settings.log_level, settings.lease_name) == ("text", "DEBUG", "mine")


def test_in_a_pod_the_lease_is_in_the_pods_own_namespace(tmp_path: Path) -> None:
    (tmp_path / "namespace").write_text("here\n")
    environ = {"ALRUN_WORKER_IMAGE": "w"}
    assert read_settings(environ, tmp_path / "namespace").lease_namespace == "here"


def test_without_a_pods_name_two_processes_are_told_apart() -> None:
    environ = {key: value for key, value in LEAST.items() if key != "POD_NAME"}
    assert read_settings(environ, NOWHERE).identity != read_settings(environ, NOWHERE).identity


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("ALRUN_WORKER_IMAGE", "", "an image for the steps' pods, like example.org/alrun-worker:1.0; it is not set"),
        ("ALRUN_WORKER_IMAGE", "two words", "'two words' found"),
        ("ALRUN_NAMESPACES", "a,B", "names of namespaces separated by commas, or empty for the whole cluster; 'a,B' found"),
        ("ALRUN_LEASE_NAMESPACE", "", "the name of the operator's namespace; it is not set"),
        ("ALRUN_LEASE_NAME", "My", "a name of at most 63 characters a-z, 0-9 and -; 'My' found"),
        ("ALRUN_HTTP_PORT", "http", "a port from 0 to 65535; 'http' found"),
        ("ALRUN_HTTP_PORT", "70000", "a port from 0 to 65535; '70000' found"),
        ("ALRUN_WORKERS", "0", "a number from 1 to 64; '0' found"),
        ("ALRUN_RESYNC_SECONDS", "5", "seconds from 10 to 3600; '5' found"),
        ("ALRUN_IMAGE_PULL_POLICY", "Sometimes", "IfNotPresent, Always or Never; 'Sometimes' found"),
        ("ALRUN_LOG_FORMAT", "xml", "json or text; 'xml' found"),
        ("ALRUN_LOG_LEVEL", "loud", "DEBUG, INFO, WARNING or ERROR; 'loud' found"),
    ],
)
def test_a_wrong_value_is_named(name: str, value: str, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(LEAST | {name: value}, NOWHERE)
    message = str(caught.value)
    assert message.startswith(f"{name} must be ")
    assert message.endswith(expected)


def test_all_wrong_values_are_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings({"ALRUN_HTTP_PORT": "x"}, NOWHERE)
    assert [part.split(" ")[0] for part in str(caught.value).split("; ")[::2]] == [
        "ALRUN_WORKER_IMAGE",
        "ALRUN_LEASE_NAMESPACE",
        "ALRUN_HTTP_PORT",
    ]
