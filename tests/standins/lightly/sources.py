"""Where the Worker reads from: URLs that the platform signs, or folders that are mounted (local mode)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from .endings import RunEnd
from .platform import Answered, Api, fetch
from .relevant import matcher

IMAGES = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tiff", ".webp")
Reader = Callable[[], bytes]


class Source(Protocol):
    """What a run reads."""

    def images(self, relevant: str | None, first: int) -> dict[str, Reader]:
        """Images that are newer than a Unix time in seconds, by name; of a list of relevant files only those in it."""
        ...

    def below(self, folder: str) -> dict[str, Reader]:
        """JSON files below a folder in `.lightly/` but its schema.json, by their path below the folder."""
        ...

    def file(self, kind: str, name: str) -> bytes | None:
        """A file in `.lightly/<kind>/`, kind being predictions, metadata or embeddings; None: there is none."""
        ...


def _reader(url: str) -> Reader:
    return lambda: fetch(url)


class Remote:
    """By the platform, which lists and signs."""

    def __init__(self, api: Api, dataset: str) -> None:
        self._api = api
        self._path = f"/v1/datasets/{dataset}/datasource"

    def images(self, relevant: str | None, first: int) -> dict[str, Reader]:
        query = {"from": str(first), "to": str(int(time.time()) + 1)}
        if relevant:
            query["relevantFilenamesFileName"] = relevant
        return self._rows("/list", query)

    def below(self, folder: str) -> dict[str, Reader]:
        kind, _, task = folder.partition("/")
        return self._rows(f"/{kind}/list", {"taskName": task} if task else {})

    def file(self, kind: str, name: str) -> bytes | None:
        try:
            url = self._api.call("GET", f"{self._path}/{kind}/file", fileName=name)
        except Answered as error:
            if error.status == 404:
                return None
            raise
        return fetch(url)

    def _rows(self, path: str, query: Mapping[str, str]) -> dict[str, Reader]:
        rows: list[Any] = []
        more: dict[str, str] = {}
        while True:
            page = self._api.call("GET", self._path + path, **query, **more)
            rows += page["data"]
            if not page["hasMore"]:
                return {row["fileName"]: _reader(row["readUrl"]) for row in rows}
            more = {"cursor": page["cursor"]}


class Mounted:
    """Folders of the container."""

    def __init__(self, inputs: Path, lightly: Path) -> None:
        self._inputs = inputs
        self._lightly = lightly
        for folder in (inputs, lightly):
            if not folder.is_dir():
                raise RunEnd("FAILED", f"{folder} is not mounted, but the datasource is LOCAL")

    def images(self, relevant: str | None, first: int) -> dict[str, Reader]:
        fits = self._relevant(relevant) if relevant else lambda name: True
        found = {}
        for path in sorted(self._inputs.rglob("*")):
            name = path.relative_to(self._inputs).as_posix()
            fitting = path.suffix.lower() in IMAGES and not name.startswith(".lightly/") and fits(name)
            if fitting and path.is_file() and path.stat().st_mtime >= first:
                found[name] = path.read_bytes
        return found

    def below(self, folder: str) -> dict[str, Reader]:
        root = self._lightly / ".lightly" / folder
        names = {path.relative_to(root).as_posix(): path.read_bytes for path in sorted(root.rglob("*.json"))}
        names.pop("schema.json", None)
        return names

    def file(self, kind: str, name: str) -> bytes | None:
        path = self._lightly / ".lightly" / kind / name
        return path.read_bytes() if path.is_file() else None

    def _relevant(self, name: str) -> Callable[[str], bool]:
        path = self._lightly / name
        if not path.is_file():
            raise RunEnd("ABORTED", f"relevant_filenames_file: {name} does not exist in the Lightly datasource")
        try:
            return matcher(path.read_text())
        except ValueError as error:
            raise RunEnd("ABORTED", f"relevant_filenames_file: {name}: {error}") from error
