"""Text from elsewhere, made fit for a status, an Event or a person's screen: no secrets, no terminal tricks, bounded.

The shapes below are those in which credentials really get into logs and error messages: assignments, headers,
URLs, PEM blocks, and tokens that can be told by their looks. It takes away too much rather than too little. It is
the last line of defence: nothing of ours writes a secret to a log in the first place.
"""

from __future__ import annotations

import re

REDACTED = "[redacted]"

_ESCAPES = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # operating system commands: titles, links
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # control sequences: colours, cursor
    r"|\x1b[@-Z\\-_]?"
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")

_NAME = (
    r"(?:pass(?:word|wd|phrase|code)?|pwd|secret|token|credentials?|signature|sig|auth|authorization|cookie|bearer"
    r"|(?:api|access|account|private|encryption|signing|session|client|shared|master|ngc|storage)[_.-]?key)"
)
_END_OF_NAME = r"(?:[_.-]?(?:access[_.-]?key|id|key|value|data|b64|base64|string))*"
_ASSIGNMENT = re.compile(rf"{_NAME}{_END_OF_NAME}(?![A-Za-z0-9_-])\\*[\"']?[ \t]*(?:=>|:=|[:=])[ \t]*(?=\S)", re.IGNORECASE)
_FLAG = re.compile(rf"(?<![\w-])--?[A-Za-z0-9_.-]{{0,64}}?{_NAME}{_END_OF_NAME}[ \t]+(?![-\s])", re.IGNORECASE)
_QUOTE = re.compile(r"[bru]{0,2}(?P<escapes>\\*)(?P<mark>[\"'])", re.IGNORECASE)
_UP_TO_SPACE = re.compile(r"\S*")
_UP_TO_DELIMITER = re.compile(r"[^\s,;)\]}]*")
_ELEMENT = re.compile(rf"(<[A-Za-z0-9:_.-]{{0,64}}?{_NAME}{_END_OF_NAME}>)[^<]*", re.IGNORECASE)
_HEADER = re.compile(r"(\b(?:(?:proxy-)?authorization|(?:set-)?cookie)\b[\"']?\s*[:=]\s*)[^\n]*", re.IGNORECASE)
_SCHEME = re.compile(r"\b(Bearer|Basic|Digest|Token)(\s+)(?=[A-Za-z0-9+/=._~-]{16})\S+", re.IGNORECASE)
_USER_INFO = re.compile(r"(?<=://)[^\s/]+@")
_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]+-----.*?(?:-----END [A-Z0-9 ]+-----|\Z)", re.DOTALL)
# The end of a block whose start was cut off with the earlier lines of a log.
_PEM_TAIL = re.compile(r"\A\s*(?:[A-Za-z0-9+/=]*\n)*[^\n]*-----END [A-Z0-9 ]+-----")

_TOKENS = re.compile(
    r"""(?<![A-Za-z0-9])(?:
        (?:AKIA|ASIA|ABIA|ACCA|AGPA|AIDA|AIPA|ANPA|ANVA|AROA|ASCA)[A-Z0-9]{16}(?![A-Za-z0-9])  # AWS ids
      | (?:IQoJ|FwoG|FQoG)[A-Za-z0-9+/=_-]{20,}               # AWS session tokens
      | eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*)?  # JSON web tokens
      | gh[pousr]_[A-Za-z0-9]{20,} | github_pat_[A-Za-z0-9_]{20,} | glpat-[A-Za-z0-9_-]{16,}
      | nvapi-[A-Za-z0-9_-]{16,} | hf_[A-Za-z0-9]{16,} | sk-[A-Za-z0-9_-]{16,} | xox[abeoprs]-[A-Za-z0-9-]{10,}
      | AIza[A-Za-z0-9_-]{30,} | ya29\.[A-Za-z0-9_-]{20,} | dop_v1_[0-9a-f]{32,} | pypi-[A-Za-z0-9_-]{16,}
    )""",
    re.VERBOSE,
)
# The secret half of an AWS key pair: 40 characters of base64, with nothing else to tell it by. Digests are hex.
_SECRET_KEY = re.compile(
    r"(?<![A-Za-z0-9+/=_.-])(?=[^\s]{0,39}[A-Z])(?=[^\s]{0,39}[a-z])(?=[^\s]{0,39}[0-9])[A-Za-z0-9+/]{40}(?![A-Za-z0-9+/=_.-])"
)
_BLOB = re.compile(r"(?<![A-Za-z0-9+=_-])(?=[^\s]{0,79}[A-Z])(?=[^\s]{0,79}[0-9])[A-Za-z0-9+=_-]{80,}")


def redact(text: str) -> str:
    """The text without what looks like a secret, and as a terminal would have left it.

    Calling it again on its own result changes nothing.
    """
    text = clean(text)
    text = _PEM.sub(REDACTED, text)
    text = _PEM_TAIL.sub(REDACTED, text)
    text = _USER_INFO.sub(f"{REDACTED}@", text)
    text = _HEADER.sub(rf"\g<1>{REDACTED}", text)
    text = _without_values(text, _ASSIGNMENT)
    text = _without_values(text, _FLAG)
    text = _ELEMENT.sub(rf"\g<1>{REDACTED}", text)
    text = _SCHEME.sub(rf"\g<1>\g<2>{REDACTED}", text)
    for shape in (_TOKENS, _SECRET_KEY, _BLOB):
        text = shape.sub(REDACTED, text)
    return text


def clean(text: str) -> str:
    """The text without colours and control characters; of a line that was written over, what was seen last."""
    text = _ESCAPES.sub("", text)
    lines = []
    for line in text.split("\n"):
        shown = [part for part in line.split("\r") if part.strip()]
        lines.append(_CONTROLS.sub("", shown[-1]).rstrip() if shown else "")
    return "\n".join(lines)


def head(text: str, limit: int) -> str:
    """The text redacted, and cut to `limit` characters from its start."""
    text = redact(text).strip()
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def tail(text: str, limit: int) -> str:
    """The text redacted, and cut to the last whole lines of at most `limit` characters."""
    text = redact(text).strip()
    if len(text) <= limit:
        return text
    end = text[len(text) - limit + 1 :]
    whole = end.partition("\n")[2]
    return "…" + (whole or end)


def _without_values(text: str, before: re.Pattern[str]) -> str:
    """The text with each value that `before` ends at replaced; quotes around it stay."""
    parts, at = [], 0
    while (found := before.search(text, at)) is not None:
        quote = _QUOTE.match(text, found.end())
        marks = quote["escapes"] + quote["mark"] if quote else ""
        start = found.end()
        end = _end_of_quoted(text, quote) if quote else _end(_UP_TO_SPACE, text, start)
        parts += [text[at:start], marks, REDACTED, marks]
        at = end
    return "".join([*parts, text[at:]])


def _end_of_quoted(text: str, opening: re.Match[str]) -> int:
    """Where a quoted value ends. Quotes inside it are escaped once more than its own; one that was cut off, or
    whose end cannot be told, goes to the end of its line.
    """
    line_end = text.find("\n", opening.end())
    line_end = len(text) if line_end < 0 else line_end
    at = opening.end()
    while (at := text.find(opening["mark"], at, line_end)) >= 0:
        escapes = at - len(text[opening.end() : at].rstrip("\\")) - opening.end()
        if escapes == len(opening["escapes"]):
            return _end(_UP_TO_DELIMITER, text, at + 1)
        at += 1
    return line_end


def _end(pattern: re.Pattern[str], text: str, start: int) -> int:
    found = pattern.match(text, start)
    return found.end() if found else start
