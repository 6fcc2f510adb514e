"""Which store a URI stands for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from alrun.api.step import Store

from .folder import FolderStore
from .stores import BucketMissing, FileStore, StoreError


def open_store(store: Store, environ: Mapping[str, str]) -> FileStore:
    """The store that a step is told to use. Nothing is reached yet; the first call finds out.

    Raises:
        StoreDenied: the credentials that `store.credentials` names are not in `environ`.
        BucketMissing: a `pvc://` store whose claim is not mounted.
        StoreError: the URI is neither s3:// nor pvc://.
    """
    scheme, _, rest = store.uri.partition("://")
    place, _, path = rest.partition("/")
    if scheme == "s3" and place:
        from .s3 import S3Store, connect  # noqa: PLC0415 - boto3 costs 37 MB and 0.3 s

        return S3Store(connect(store, environ), place, path.strip("/"))
    if scheme == "pvc" and place:
        if store.mount is None or not Path(store.mount).is_dir():
            raise BucketMissing(
                "ClaimNotMounted",
                f"the claim of {store.uri} is not mounted at {store.mount}",
                "check that the PersistentVolumeClaim exists in the run's namespace",
            )
        return FolderStore(Path(store.mount), f"{scheme}://{place}").at(path.strip("/"))
    raise StoreError(
        "UnknownStore", f"{store.uri!r} is neither s3://bucket/… nor pvc://claim/…", "change the uri in the spec"
    )
