"""AssumeRole, for stores that have none: a table of roles with the external id that each asks for.

LIGHTLY_STANDIN_ROLES holds JSON: `{"<role ARN>": {"externalId": …, "accessKeyId": …, "secretAccessKey": …,
"maxSessionDuration": 43200}}`. The keys are those of an account of the store; its session token is `none`.
"""

from __future__ import annotations

import hashlib
import json
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from xml.sax.saxutils import escape

VARIABLE = "LIGHTLY_STANDIN_ROLES"
TRUSTED_ACCOUNT = "916419735646"
"""Lightly's account at AWS, which customers' roles trust."""
_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
_KEYS = {"externalId", "accessKeyId", "secretAccessKey", "maxSessionDuration"}


@dataclass(frozen=True)
class Role:
    """A customer's role."""

    external_id: str
    access_key_id: str
    secret_access_key: str
    longest_session_s: int = 3600
    """As long as AWS lets a session last, unless the role says more."""


def roles(environ: Mapping[str, str]) -> dict[str, Role]:
    """The table.

    Raises:
        ValueError: an entry has other keys, or lacks one.
    """
    found = {}
    for arn, entry in json.loads(environ.get(VARIABLE) or "{}").items():
        if set(entry) - {"maxSessionDuration"} != _KEYS - {"maxSessionDuration"}:
            raise ValueError(f"{VARIABLE}: role {arn} must have {', '.join(sorted(_KEYS))}")
        duration = int(entry.get("maxSessionDuration", 3600))
        found[arn] = Role(entry["externalId"], entry["accessKeyId"], entry["secretAccessKey"], duration)
    return found


def answer(table: Mapping[str, Role], form: str) -> tuple[int, str]:
    """Status and XML for the form of a POST."""
    fields = {key: values[0] for key, values in urllib.parse.parse_qs(form).items()}
    arn = fields.get("RoleArn", "")
    if fields.get("Action") != "AssumeRole":
        return _error(400, "InvalidAction", f"Could not find operation {fields.get('Action')}")
    role = table.get(arn)
    if role is None or fields.get("ExternalId") != role.external_id:
        who = f"arn:aws:iam::{TRUSTED_ACCOUNT}:user/lightly"
        return _error(403, "AccessDenied", f"User: {who} is not authorized to perform: sts:AssumeRole on resource: {arn}")
    duration = fields.get("DurationSeconds", "3600")
    if not duration.isdigit() or int(duration) > role.longest_session_s:
        message = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
        return _error(400, "ValidationError", message)
    session = re.sub(r"[^\w+=,.@-]", "", fields.get("RoleSessionName", "session"))
    number = hashlib.sha256(arn.encode()).hexdigest()[:16].upper()
    assumed = arn.replace(":iam:", ":sts:").replace(":role/", ":assumed-role/") + f"/{session}"
    return 200, (
        f'<AssumeRoleResponse xmlns="{_NAMESPACE}"><AssumeRoleResult>'
        f"<AssumedRoleUser><AssumedRoleId>AROA{number}:{session}</AssumedRoleId><Arn>{escape(assumed)}</Arn></AssumedRoleUser>"
        f"<Credentials><AccessKeyId>{escape(role.access_key_id)}</AccessKeyId>"
        f"<SecretAccessKey>{escape(role.secret_access_key)}</SecretAccessKey>"
        "<SessionToken>none</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>"
        "</AssumeRoleResult><ResponseMetadata><RequestId>00000000-0000-0000-0000-000000000000</RequestId>"
        "</ResponseMetadata></AssumeRoleResponse>"
    )


def _error(status: int, code: str, message: str) -> tuple[int, str]:
    return status, (
        f'<ErrorResponse xmlns="{_NAMESPACE}"><Error><Type>Sender</Type><Code>{code}</Code>'
        f"<Message>{escape(message)}</Message></Error><RequestId>0</RequestId></ErrorResponse>"
    )
