"""prepare: look at every image once, check the labels, seal the test set, and write the index that all steps use."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from alrun.api import paths
from alrun.api.step import PrepareParams, StepName, StepResult
from alrun.data.problems import LEFT_OUT, DatasetError
from alrun.data.scan import Earlier, Scanned, ScanWriter, scan
from alrun.data.stores import Entry, FileNotFoundInStore
from alrun.data.survey import ImageFile, Layout, Survey, find_images, survey
from alrun.data.tables import TableWriter
from alrun.learn.features import DIMENSIONS, classical

from .context import Context, StepError

_STRING, _INT64, _INT32 = pa.string(), pa.int64(), pa.int32()
INDEX_SCHEMA = pa.schema(
    [("image", _STRING), ("size", _INT64), ("etag", _STRING), ("width", _INT32), ("height", _INT32), ("group", _STRING)]
)
_LOOKS = (
    ("embedding", pa.list_(pa.float32(), DIMENSIONS), paths.POOL_EMBEDDINGS),
    ("hash", pa.uint64(), paths.HASHES),
)
"""(what was found in each image of the pool, its type, where it goes)."""
PROBLEMS_SCHEMA = pa.schema([(name, _STRING) for name in ("image", "kind", "detail", "action")])


def run(context: Context) -> StepResult:
    """Prepare the data set.

    Raises:
        StepError: the data set cannot be used as it is.
    """
    params = context.params
    assert isinstance(params, PrepareParams)
    layout = Layout(
        params.labels_path,
        params.labels_format,
        context.input.dataset.images,
        params.classes,
        params.class_mapping,
        params.group_by,
        params.test_fraction,
        params.test_path,
        context.input.seed,
    )
    try:
        entries = find_images(context.images)
        writer = ScanWriter(context.scratch / "scan", context.workspace, paths.SCAN, DIMENSIONS)
        tables = context.scratch / "tables"
        tables.mkdir()
        found = survey(
            context.dataset,
            layout,
            _scanned(context, entries, writer),
            tables,
            sealed=_sealed(context, layout),
            progress=context.progress,
        )
    except DatasetError as error:
        raise StepError(error.reason, error.message, error.remedy) from error
    return _write(context, layout, found, writer)


def _scanned(context: Context, entries: Sequence[Entry], writer: ScanWriter) -> Iterator[Scanned]:
    """What was found in each image; kept in parts in the workspace on the way."""
    earlier = Earlier(context.workspace, paths.SCAN, context.scratch / "earlier", DIMENSIONS)
    context.progress(0, len(entries), "images")
    for done, one in enumerate(scan(context.images, entries, classical, earlier), start=1):
        writer.add(one)
        context.progress(done, len(entries), "images")
        yield one
    writer.finish()


def _split_rule(layout: Layout) -> dict[str, Any]:
    """What the test set is drawn by: where it is the same, an earlier test set stays sealed."""
    rule = {"seed": layout.seed, "groupBy": layout.group_by, "fraction": layout.test_fraction, "path": layout.test_path}
    return {name: value for name, value in rule.items() if value is not None}


def _sealed(context: Context, layout: Layout) -> list[str]:
    """The test set of an earlier preparation of this run: images that came later do not change it."""
    try:
        known = json.loads(context.workspace.read(paths.DATASET))
        if known.get("split") != _split_rule(layout):
            return []
        images: list[str] = context.read_table(paths.TEST_INDEX, ["image"])["image"].to_pylist()
    except FileNotFoundInStore:
        return []
    return images


def _write(context: Context, layout: Layout, found: Survey, writer: ScanWriter) -> StepResult:
    upload = context.workspace.upload
    local = context.scratch / "tables"
    _table(local / "index.parquet", INDEX_SCHEMA, map(_index_row, found.pool))
    upload(local / "index.parquet", paths.POOL_INDEX)
    _table(local / "index.parquet", INDEX_SCHEMA, map(_index_row, found.test))
    upload(local / "index.parquet", paths.TEST_INDEX)
    upload(found.pool_truth, paths.POOL_TRUTH)
    upload(found.test_truth, paths.TEST_TRUTH)
    pool = pa.array([one.image for one in found.pool], _STRING)
    for what, kind, path in _LOOKS:
        with TableWriter(local / "looks.parquet", pa.schema([("image", _STRING), (what, kind)])) as looks:
            for batch in writer.found(what, pool):
                looks.add_table(pa.Table.from_batches([batch]))
        upload(local / "looks.parquet", path)
    _table(local / "problems.parquet", PROBLEMS_SCHEMA, map(asdict, found.problems))
    upload(local / "problems.parquet", paths.PROBLEMS)
    summary = {
        "classes": found.classes.names,
        "classMapping": dict(layout.class_mapping),
        "images": len(found.pool),
        "test": len(found.test),
        "boxes": found.pool_boxes,
        "testBoxes": found.test_boxes,
        "problems": dict(sorted(Counter(str(one.kind) for one in found.problems).items())),
        "split": _split_rule(layout),
    }
    text = json.dumps(summary, ensure_ascii=False, indent=1).encode()
    context.workspace.write(paths.DATASET, text)
    dropped = len({one.image for one in found.problems if one.action == LEFT_OUT})
    return StepResult(
        step=StepName.PREPARE,
        cycle=context.input.cycle,
        input=context.input.digest(),
        digest=context.digest_of(text, _content(found.pool), _content(found.test), found.pool_truth, found.test_truth),
        message=f"{len(found.pool)} images to select from, {len(found.test)} sealed for testing, {dropped} left out; "
        f"classes {', '.join(found.classes.names)}",
        counts={
            "poolImages": len(found.pool),
            "testImages": len(found.test),
            "classes": len(found.classes.names),
            "dropped": dropped,
        },
    )


def _table(path: Path, schema: pa.Schema, rows: Iterable[dict[str, Any]]) -> None:
    with TableWriter(path, schema) as table:
        for row in rows:
            table.add(row)


def _index_row(one: ImageFile) -> dict[str, Any]:
    return {name: getattr(one, name) for name in INDEX_SCHEMA.names}


def _content(images: list[ImageFile]) -> bytes:
    """Digest of the images' names, bytes and groups; their etags do not count, since a copy has others."""
    total = hashlib.sha256()
    for one in images:
        total.update(json.dumps([one.image, one.content.hex(), one.width, one.height, one.group]).encode())
    return total.digest()
