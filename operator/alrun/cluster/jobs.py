"""What is known of the Jobs of all runs: a slim view of each, kept up by the watch.

It may lag behind the cluster; decisions are built to bear that. Two things keep it from lagging needlessly:
Jobs that we made, or read one by one, are put in at once, and what the watch has seen deleted is remembered for
a while, so that a slower answer cannot bring it back.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from alrun.core.observed import JobView

from .api import Object
from .views import job_view, owner_run

Key = tuple[str, str]
"""Namespace and name of a run."""
_TOMBSTONES = 4096


@dataclass(frozen=True, slots=True)
class _Entry:
    view: JobView
    namespace: str
    run: Key | None


class JobCache:
    """Views of the Jobs with our label, by run. A `watch.Sink`."""

    def __init__(self, on_change: Callable[[Key], None] = lambda key: None) -> None:
        """Start empty; `on_change` is told the run whose Job appeared, changed or went."""
        self._on_change = on_change
        self._jobs: dict[str, _Entry] = {}
        self._by_run: dict[str, set[str]] = {}
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._seen: dict[str | None, set[str]] = {}  # uids met since a list began, by the namespace it is of

    def __len__(self) -> int:
        return len(self._jobs)

    def of_run(self, run_uid: str) -> tuple[JobView, ...]:
        """The Jobs of a run, oldest first."""
        views = [self._jobs[uid].view for uid in self._by_run.get(run_uid, ())]
        return tuple(sorted(views, key=lambda view: (view.created_at, view.name)))

    def put(self, obj: Object) -> JobView:
        """Take in a Job that was made or read outside the watch; nothing is announced.

        What the watch has told already is kept: the answer to our own call may reach us after the news of what
        became of the Job, and nothing would put that right again.
        """
        entry = _entry(obj)
        if entry.view.uid not in self._gone and entry.view.uid not in self._jobs:
            self._keep(entry)
        return entry.view

    def forget(self, uid: str) -> None:
        """Drop a Job of which a live read has shown that it is no more."""
        self._drop(uid)

    def begin(self, namespace: str | None) -> None:
        """See `watch.Sink`."""
        self._seen[namespace] = set()

    def page(self, namespace: str | None, objects: Sequence[Object]) -> None:
        """See `watch.Sink`."""
        for obj in objects:
            self.changed(obj)

    def end(self, namespace: str | None) -> None:
        """See `watch.Sink`. What was put in while the list was on its way is kept: the list may be older."""
        seen = self._seen.pop(namespace, set())
        inside = (uid for uid, entry in self._jobs.items() if namespace is None or entry.namespace == namespace)
        for uid in [uid for uid in inside if uid not in seen]:
            run = self._drop(uid)
            if run is not None:
                self._on_change(run)

    def changed(self, obj: Object) -> None:
        """See `watch.Sink`; announced only where the view differs from the one that is known."""
        entry = _entry(obj)
        before = self._jobs.get(entry.view.uid)
        self._keep(entry)
        if entry != before and entry.run is not None:
            self._on_change(entry.run)

    def deleted(self, obj: Object) -> None:
        """See `watch.Sink`."""
        entry = _entry(obj)
        self._drop(entry.view.uid)
        if entry.run is not None:
            self._on_change(entry.run)

    def _keep(self, entry: _Entry) -> None:
        uid = entry.view.uid
        self._jobs[uid] = entry
        self._by_run.setdefault(entry.view.run_uid, set()).add(uid)
        for seen in self._seen.values():
            seen.add(uid)

    def _drop(self, uid: str) -> Key | None:
        self._gone[uid] = None
        if len(self._gone) > _TOMBSTONES:
            self._gone.popitem(last=False)
        entry = self._jobs.pop(uid, None)
        if entry is None:
            return None
        siblings = self._by_run[entry.view.run_uid]
        siblings.discard(uid)
        if not siblings:
            del self._by_run[entry.view.run_uid]
        return entry.run


def _entry(obj: Object) -> _Entry:
    return _Entry(job_view(obj), obj["metadata"].get("namespace", ""), owner_run(obj))
