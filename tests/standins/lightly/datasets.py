"""Datasets, their datasources, tags and exports."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterable
from typing import Any

from . import bodies
from .buckets import Bucket
from .calls import NOTHING, Call, Reply, Routes, created
from .errors import ApiError, malformed, unknown
from .failures import of_dataset, wanted
from .relevant import matcher
from .state import Dataset, Sample, Tag

IMAGES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tiff", ".webp")
USER = "user-1"
_EMBEDDINGS = ".lightly/embeddings/"
_METADATA = ".lightly/metadata/"
_PREDICTIONS = ".lightly/predictions/"


def routes(route: Routes) -> None:
    """All of this module."""
    route("GET", "/v1/versions/pip/(?:minimum|latest)", public=True)(lambda call: Reply(value="1.2.19"))
    route("GET", "/v1/datasets")(lambda call: _listed(call, lambda name: True))
    route("GET", "/v1/datasets/query/name/{name}")(_by_name)
    route("POST", "/v1/datasets")(lambda call: created(call.state.create_dataset(call.parse(bodies.DatasetCreate)).id))
    route("GET", "/v1/datasets/{dataset}")(lambda call: Reply(value=_data(call.state.dataset(call["dataset"]))))
    route("DELETE", "/v1/datasets/{dataset}")(_delete)
    route("PUT", "/v1/datasets/{dataset}/datasource")(_set_datasource)
    route("GET", "/v1/datasets/{dataset}/datasource")(_datasource)
    route("GET", "/v1/datasets/{dataset}/datasource/all")(_datasources)
    route("GET", "/v1/datasets/{dataset}/datasource/verify", slow=True)(_verify)
    route("GET", "/v1/datasets/{dataset}/datasource/list", slow=True)(_inputs)
    route("GET", "/v1/datasets/{dataset}/datasource/predictions/list", slow=True)(_predictions)
    route("GET", "/v1/datasets/{dataset}/datasource/metadata/list", slow=True)(_metadata)
    route("GET", "/v1/datasets/{dataset}/datasource/predictions/file", slow=True)(lambda call: _file(call, _PREDICTIONS))
    route("GET", "/v1/datasets/{dataset}/datasource/metadata/file", slow=True)(lambda call: _file(call, _METADATA))
    route("GET", "/v1/datasets/{dataset}/datasource/embeddings/file", slow=True)(lambda call: _file(call, _EMBEDDINGS))
    route("GET", "/v1/datasets/{dataset}/datasource/readurlRedirect", public=True, slow=True)(_redirect)
    route("GET", "/v1/datasets/{dataset}/datasource/processedUntilTimestamp")(_processed_until)
    route("PUT", "/v1/datasets/{dataset}/datasource/processedUntilTimestamp")(_set_processed_until)
    route("GET", "/v1/datasets/{dataset}/mappings")(_mappings)
    route("GET", "/v1/datasets/{dataset}/samples/{sample}/readurlRedirect", public=True, slow=True)(_sample_redirect)
    route("GET", "/v1/datasets/{dataset}/tags")(_tags)
    route("GET", "/v1/datasets/{dataset}/tags/{tag}")(_tag)
    route("DELETE", "/v1/datasets/{dataset}/tags/{tag}")(_delete_tag)
    route("GET", "/v1/datasets/{dataset}/tags/{tag}/export/basic/filenames")(_export_names)
    route("GET", "/v1/datasets/{dataset}/tags/{tag}/export/LabelStudio/tasks")(_export_tasks)


def _listed(call: Call, fits: Any) -> Reply:
    shared = call.flag("shared")
    found = [] if shared else [_data(one) for one in call.state.datasets.values() if fits(one.name)]
    return Reply(value=call.page(found))


def _by_name(call: Call) -> Reply:
    wanted_name, exact = urllib.parse.unquote(call.parameters["name"]), call.flag("exact")
    if len(wanted_name) < 3:
        raise malformed("datasetName must have at least 3 characters")
    return _listed(call, lambda name: name == wanted_name if exact else wanted_name in name)


def _data(dataset: Dataset) -> dict[str, Any]:
    return {
        "id": dataset.id,
        "name": dataset.name,
        "userId": USER,
        "type": dataset.type,
        "nSamples": len(dataset.samples),
        "sizeInBytes": 0,
        "datasources": [source.id for source in dataset.datasources.values()],
        "createdAt": dataset.created,
        "lastModifiedAt": dataset.modified,
        "datasourceProcessedUntilTimestamp": dataset.processed_until,
    }


def _delete(call: Call) -> Reply:
    state, key = call.state, call["dataset"]
    state.dataset(key)
    if any(one.dataset == key and one.state == "LOCKED" for one in state.scheduled.values()):
        raise ApiError(400, "ILLEGAL_ACTION_RESOURCE_IN_USE", "a run is at work on the dataset")
    del state.datasets[key]
    for one in state.scheduled.values():
        if one.dataset == key and one.state == "OPEN":
            one.state = "CANCELED"
    return NOTHING


def _set_datasource(call: Call) -> Reply:
    dataset = call.state.dataset(call["dataset"])
    source = bodies.datasource(call.body)
    known = dataset.datasources.get(source.purpose)
    source.id = known.id if known else call.state.new_id()
    dataset.datasources[source.purpose] = source
    dataset.modified = call.state.now()
    return NOTHING


def _shown(source: bodies.Datasource) -> dict[str, Any]:
    shown = source.model_dump(by_alias=True, exclude_none=True)
    if "s3SecretAccessKey" in shown:
        shown["s3SecretAccessKey"] = "*****"
    return shown


def _datasource(call: Call) -> Reply:
    return Reply(value=_shown(call.state.dataset(call["dataset"]).datasource(call.text("purpose") or "INPUT_OUTPUT")))


def _datasources(call: Call) -> Reply:
    return Reply(value=[_shown(source) for source in call.state.dataset(call["dataset"]).datasources.values()])


def _verify(call: Call) -> Reply:
    with call.state.lock:
        dataset = call.state.dataset(call["dataset"])
        sources = [dataset.datasource("INPUT"), dataset.datasource("LIGHTLY")]
    found = []
    for source in {id(source): source for source in sources}.values():
        bucket = call.platform.buckets.open(source)
        found.append((source.purpose, bucket.verify()))
    writable = [can for purpose, can in found if purpose != "INPUT"]
    result: dict[str, Any] = {
        "canRead": all(can["canRead"] for _, can in found),
        "canList": all(can["canList"] for _, can in found),
        "canWrite": all(can["canWrite"] for can in writable),
        "canOverwrite": all(can["canOverwrite"] for can in writable),
    }
    errors = {key: f"{purpose}: {text}" for purpose, can in found for key, text in can.get("errors", {}).items()}
    if wanted([*call.platform.wishes, *of_dataset(dataset.name)], "datasource-rejected"):
        result["canList"] = False
        errors["canList"] = f"{sources[0].purpose}: AccessDenied"
    return Reply(value=result | ({"errors": errors} if errors else {}))


def _source(call: Call, purpose: str) -> bodies.Datasource:
    with call.state.lock:
        return call.state.dataset(call["dataset"]).datasource(purpose)


def _link(call: Call, bucket: Bucket, source: bodies.Datasource, name: str) -> str:
    if isinstance(source, bodies.S3DelegatedAccess):
        words = urllib.parse.urlencode({"path": name, "purpose": source.purpose})
        return call.signed(f"/v1/datasets/{call['dataset']}/datasource/readurlRedirect?{words}")
    return bucket.url(name)


def _redirect(call: Call) -> Reply:
    words = urllib.parse.urlencode({"path": call.needed("path"), "purpose": call.needed("purpose")})
    call.check_signature(f"{call.path}?{words}")
    bucket = call.platform.buckets.open(_source(call, call.needed("purpose")))
    return Reply(307, location=bucket.url(call.needed("path")))


def _rows(call: Call, names: Iterable[str], bucket: Bucket, source: bodies.Datasource, below: str = "") -> Reply:
    rows = [{"fileName": name.removeprefix(below), "readUrl": _link(call, bucket, source, name)} for name in sorted(names)]
    return Reply(value={"hasMore": False, "cursor": "end", "data": rows})


def _inputs(call: Call) -> Reply:
    source = _source(call, "INPUT")
    first, last = call.number("from", 0), call.number("to", 1 << 62)
    relevant = _relevant(call)
    bucket = call.platform.buckets.open(source)
    names = [
        entry.name
        for entry in bucket.files()
        if entry.name.lower().endswith(IMAGES)
        and not entry.name.startswith(".lightly/")
        and first <= entry.modified < last
        and relevant(entry.name)
    ]
    return _rows(call, names, bucket, source)


def _relevant(call: Call) -> Any:
    name = call.text("relevantFilenamesFileName")
    if name is None:
        return lambda path: True
    bucket = call.platform.buckets.open(_source(call, "LIGHTLY"))
    if not bucket.holds(name):
        raise ApiError(422, "DATASET_DATASOURCE_RELEVANT_FILENAMES_INVALID", f"{name} does not exist")
    try:
        return matcher(bucket.read(name).decode())
    except ValueError as error:
        raise ApiError(422, "DATASET_DATASOURCE_RELEVANT_FILENAMES_INVALID", f"{name}: {error}") from error


def _predictions(call: Call) -> Reply:
    return _beside(call, f"{_PREDICTIONS}{call.needed('taskName')}/")


def _metadata(call: Call) -> Reply:
    return _beside(call, _METADATA)


def _beside(call: Call, below: str) -> Reply:
    source = _source(call, "LIGHTLY")
    bucket = call.platform.buckets.open(source)
    names = (entry.name for entry in bucket.files(below) if entry.name.endswith(".json"))
    return _rows(call, (name for name in names if name != f"{below}schema.json"), bucket, source, below)


def _file(call: Call, below: str) -> Reply:
    source, name = _source(call, "LIGHTLY"), below + call.needed("fileName")
    bucket = call.platform.buckets.open(source)
    if not bucket.holds(name):
        raise unknown("NOT_FOUND", "file", name)
    return Reply(value=_link(call, bucket, source, name))


def _processed_until(call: Call) -> Reply:
    return Reply(value={"processedUntilTimestamp": call.state.dataset(call["dataset"]).processed_until})


def _set_processed_until(call: Call) -> Reply:
    body = call.parse(bodies.ProcessedUntil)
    call.state.dataset(call["dataset"]).processed_until = body.processed_until_timestamp
    return NOTHING


def _mappings(call: Call) -> Reply:
    field = call.needed("field")
    if field not in ("fileName", "_id"):
        raise malformed("query field: must be one of fileName, _id")
    samples = call.state.dataset(call["dataset"]).samples
    return Reply(value=call.page([one.name if field == "fileName" else one.id for one in samples]))


def tag_data(dataset: Dataset, tag: Tag) -> dict[str, Any]:
    """A tag as the API shows it."""
    return {
        "id": tag.id,
        "datasetId": dataset.id,
        "prevTagId": tag.parent,
        "name": tag.name,
        "bitMaskData": hex(sum(1 << place for place in tag.places)),
        "totSize": len(dataset.samples),
        "createdAt": tag.created,
        "lastModifiedAt": dataset.modified,
    } | ({"runId": tag.run} if tag.run else {})


def _tags(call: Call) -> Reply:
    dataset = call.state.dataset(call["dataset"])
    return Reply(value=[tag_data(dataset, tag) for tag in reversed(dataset.tags)])


def _tag(call: Call) -> Reply:
    dataset = call.state.dataset(call["dataset"])
    return Reply(value=tag_data(dataset, dataset.tag(call["tag"])))


def _delete_tag(call: Call) -> Reply:
    dataset = call.state.dataset(call["dataset"])
    tag = dataset.tag(call["tag"])
    if tag is dataset.tags[0]:
        raise ApiError(400, "TAG_UNDELETABLE_IS_INITIAL", "the initial-tag cannot be deleted")
    dataset.tags.remove(tag)
    return NOTHING


def _samples(call: Call) -> tuple[Dataset, list[Sample]]:
    dataset = call.state.dataset(call["dataset"])
    return dataset, [dataset.samples[place] for place in dataset.tag(call["tag"]).places]


def _sample_link(call: Call, dataset: Dataset, sample: Sample) -> str:
    source = dataset.datasource("INPUT")
    if isinstance(source, bodies.Local):
        root = (source.web_server_location or "http://localhost:3456").rstrip("/")
        return "/".join(part for part in (root, source.full_path.strip("/"), urllib.parse.quote(sample.name)) if part)
    return call.signed(f"/v1/datasets/{dataset.id}/samples/{sample.id}/readurlRedirect")


def _sample_redirect(call: Call) -> Reply:
    call.check_signature(call.path)
    with call.state.lock:
        dataset = call.state.dataset(call["dataset"])
        found = next((one for one in dataset.samples if one.id == call["sample"]), None)
        source = dataset.datasource("INPUT")
    if found is None:
        raise unknown("SAMPLE_UNKNOWN", "sample", call["sample"])
    bucket = call.platform.buckets.open(source)
    return Reply(307, location=bucket.url(found.name))


def _export_names(call: Call) -> Reply:
    dataset, samples = _samples(call)
    form = call.text("fileNameFormat") or "NAME"
    lines: list[str] = []
    for sample in call.page(samples):
        if form == "NAME":
            lines.append(sample.name)
        elif form == "REDIRECTED_READ_URL":
            lines.append(_sample_link(call, dataset, sample))
        elif form == "DATASOURCE_FULL":
            lines.append("/".join(filter(None, (dataset.datasource("INPUT").full_path.rstrip("/"), sample.name))))
        else:
            raise malformed("query fileNameFormat: must be one of NAME, DATASOURCE_FULL, REDIRECTED_READ_URL")
    return Reply(value="\n".join(lines))


def _export_tasks(call: Call) -> Reply:
    dataset, samples = _samples(call)
    numbered = list(enumerate(samples))
    return Reply(
        value=[
            {
                "id": number,
                "data": {
                    "image": _sample_link(call, dataset, sample),
                    "lightlyFileName": sample.name,
                    "lightlyMetaInfo": {
                        "id": sample.id,
                        "type": "IMAGE",
                        "datasetId": dataset.id,
                        "fileName": sample.name,
                        "customMetaData": sample.metadata,
                    },
                },
            }
            for number, sample in call.page(numbered)
        ]
    )
