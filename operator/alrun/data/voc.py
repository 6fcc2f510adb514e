"""Pascal VOC labels: one XML file an image.

Pixels count from 1 and both corners are inside the box (VOC2012 development kit): a box over a whole image of width
W has xmin 1 and xmax W, which is [0, W] here. Tools that count from 0 are off by one pixel, less than anyone labels.
A box whose corners are the same pixel is a slip of the mouse, not an object, and counts as having no area.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable

from .boxes import Box
from .parsed import Parsed, number
from .problems import KEPT, Kind, LabelProblem

SUFFIX = ".xml"


def parse(data: bytes, name: str) -> Parsed:
    """Boxes of a label file; `name` stands in the messages.

    The file belongs to the image of its own name: a `<filename>` that disagrees is only noted, since such files are
    often renamed or moved after labelling. `difficult` becomes `occluded` 1.
    """
    parsed = Parsed()
    try:
        root = ET.fromstring(data)  # noqa: S314 - expat limits entity expansion since 2.4.1, Python 3.11 has a newer one
    except (ET.ParseError, ValueError, LookupError) as error:
        parsed.malformed(f"{name}: not XML: {error}")
        return parsed
    if root.tag != "annotation":
        parsed.malformed(f"{name}: the document is a <{root.tag}>, not an <annotation>")
        return parsed
    try:
        parsed.size = _size(root, name)
    except ValueError as error:
        parsed.problems.append(LabelProblem(Kind.SIZE_MISMATCH, str(error), KEPT))
    parsed.image = stated = (root.findtext("filename") or "").strip()
    if stated and not _same_stem(stated, name):
        parsed.problems.append(LabelProblem(Kind.NAME_MISMATCH, f"{name}: <filename> says {stated!r}", KEPT))
    for position, item in enumerate(root.iter("object"), start=1):
        where = f"{name} object {position}"
        try:
            _take(item, where, parsed)
        except ValueError as error:
            parsed.malformed(str(error))
    return parsed


def _take(item: ET.Element, where: str, parsed: Parsed) -> None:
    class_name = (item.findtext("name") or "").strip()
    if not class_name:
        raise ValueError(f"{where}: no <name>")
    edges = {}
    for edge in ("xmin", "ymin", "xmax", "ymax"):
        text = (item.findtext(f"bndbox/{edge}") or "").strip()
        if not text:
            raise ValueError(f"{where}: no <{edge}> in <bndbox>")
        edges[edge] = number(text, f"{where} <{edge}>")
    if edges["xmin"] == edges["xmax"] and edges["ymin"] == edges["ymax"]:
        point = f"{class_name} at the single pixel ({edges['xmin']:g}, {edges['ymin']:g})"
        parsed.problems.append(LabelProblem(Kind.DEGENERATE, f"{where}: {point}"))
        return
    truncated = min(max(_flag(item, "truncated", where), 0.0), 1.0)
    difficult = _flag(item, "difficult", where) != 0
    box = Box(
        class_name, edges["xmin"] - 1, edges["ymin"] - 1, edges["xmax"], edges["ymax"], truncated, occluded=int(difficult)
    )
    parsed.add(box, where)


def _flag(item: ET.Element, name: str, where: str) -> float:
    text = (item.findtext(name) or "").strip()
    if text.lower() in {"", "unspecified", "false"}:
        return 0.0
    return 1.0 if text.lower() == "true" else number(text, f"{where} <{name}>")


def _size(root: ET.Element, name: str) -> tuple[int, int] | None:
    texts = [(root.findtext(f"size/{side}") or "").strip() for side in ("width", "height")]
    if not all(texts):
        return None
    width, height = (int(number(text, f"{name} <size>")) for text in texts)
    return (width, height) if width > 0 and height > 0 else None


def _same_stem(stated: str, name: str) -> bool:
    """Whether a `<filename>`, with or without folders and ending, means the image of this label file."""
    image = stated.replace("\\", "/").rsplit("/", 1)[-1]
    own = name.rsplit("/", 1)[-1].rpartition(".")[0]
    return own in {image, image.rpartition(".")[0]}


def format_boxes(boxes: Iterable[Box], filename: str, width: int, height: int) -> bytes:
    """The label file of an image; coordinates that are not whole pixels are written as decimals."""
    root = ET.Element("annotation")
    ET.SubElement(root, "filename").text = filename
    size = ET.SubElement(root, "size")
    for side, value in (("width", width), ("height", height), ("depth", 3)):
        ET.SubElement(size, side).text = str(value)
    for box in boxes:
        item = ET.SubElement(root, "object")
        ET.SubElement(item, "name").text = box.class_name
        ET.SubElement(item, "truncated").text = _plain(box.truncated)
        ET.SubElement(item, "difficult").text = str(int(box.occluded > 0))
        corners = ET.SubElement(item, "bndbox")
        edges = (("xmin", box.x_min + 1), ("ymin", box.y_min + 1), ("xmax", box.x_max), ("ymax", box.y_max))
        for edge, position in edges:
            ET.SubElement(corners, edge).text = _plain(position)
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _plain(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
