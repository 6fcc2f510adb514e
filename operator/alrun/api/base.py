"""What every model of the resource shares.

Field names are written in Python's style and appear in Kubernetes' camelCase. Spec models refuse unknown
fields, so that a typing error is an error; status models pass over them, so that the operator can read a
status written by a newer or older release.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema
from pydantic.alias_generators import to_camel

DURATION_PATTERN = r"^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$"
"""Kubernetes' own durations (metav1.Duration), whole seconds; what CEL's `duration()` reads too."""
_DURATION = re.compile(DURATION_PATTERN[1:-1])


class Model(BaseModel):
    """An immutable piece of the spec; unknown fields are errors."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, allow_inf_nan=False
    )

    def to_json(self) -> dict[str, Any]:
        """The value as Kubernetes sees it: camelCase, unset optionals left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class TolerantModel(Model):
    """A piece of the status or of a message between releases; unknown fields are passed over."""

    model_config = ConfigDict(extra="ignore")


def parse_duration(value: Any) -> timedelta:
    """Read `72h`, `1h30m`, `90s`; a timedelta passes through.

    Raises:
        ValueError: the text is no duration of whole hours, minutes and seconds.
    """
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(value) if isinstance(value, str) and value else None
    if match is None:
        raise ValueError(f"{value!r} is no duration; write it like 90s, 15m, 72h or 1h30m")
    hours, minutes, seconds = (int(part[:-1]) if part else 0 for part in match.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)


def format_duration(value: timedelta) -> str:
    """Write a duration the way `parse_duration` reads it, parts of a second dropped."""
    total = int(value.total_seconds())
    parts = [(total // 3600, "h"), (total % 3600 // 60, "m"), (total % 60, "s")]
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "minLength": 2, "maxLength": 32}),
]


def parse_time(value: Any) -> datetime:
    """Read an RFC 3339 time as Kubernetes writes it; the result is in UTC."""
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    return datetime.fromisoformat(str(value).replace("Z", "+00:00")).astimezone(UTC)


def format_time(value: datetime) -> str:
    """Write a time as Kubernetes does: UTC, whole seconds."""
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


Time = Annotated[
    datetime,
    BeforeValidator(parse_time),
    PlainSerializer(format_time, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
