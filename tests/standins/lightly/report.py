"""What a run leaves to be read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def as_json(facts: Mapping[str, Any]) -> bytes:
    """The report for programs."""
    return json.dumps(facts, indent=1, sort_keys=True).encode()


def as_pdf(lines: Sequence[str]) -> bytes:
    """One page of text."""
    text = "\n".join(f"({line.translate(_ESCAPED)}) '" for line in lines)
    stream = f"BT /F1 11 Tf 14 TL 50 790 Td\n{text}\nET".encode("latin-1", "replace")
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R"
        b" /Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
    ]
    document = b"%PDF-1.4\n"
    places = []
    for number, content in enumerate(objects, 1):
        places.append(len(document))
        document += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    trailer = b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, len(document))
    return document + b"xref\n0 %d\n0000000000 65535 f \n%s%s" % (size, table, trailer)


_ESCAPED = str.maketrans({"\\": "\\\\", "(": "\\(", ")": "\\)"})
