"""A selection made again: what is identical, what differs, and which file is to blame."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from alrun.api import paths
from alrun.api.selection import Duplicates
from alrun.api.spec import Batch
from alrun.api.step import Rule, StepName, StepResult
from alrun.cli.main import main
from alrun.core.strategies import DIVERSITY, UNCERTAINTY
from alrun.data.folder import FolderStore
from alrun.data.stores import FileNotFoundInStore
from alrun.steps import select
from alrun.steps.context import StepError
from alrun.steps.selecting.replay import Changed, OverlayStore, Replay, replay
from alrun.steps.selecting.writing import SCHEMA

from .cli_cluster import SPEC, Cluster, manifest, serve
from .selecting import CLASSICAL, POOL, embeddings, hashes, index, label, orchard, predictions, selection, strategy


@pytest.fixture
def world(tmp_path):
    return orchard(tmp_path / "world")


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def again(world, folder: Path, cycle: int = 0, *, control: bool = False) -> Replay:
    """The replay, which must leave workspace and data as they are."""
    before = files(world.root)
    folder.mkdir(exist_ok=True)
    root = FolderStore(world.file("."), "pvc://work/runs/orchard/apples")
    data = FolderStore(world.root / "data", "pvc://data")
    found = replay(root, lambda _: data, cycle, folder, io.StringIO(), control=control)
    assert files(world.root) == before
    return found


def full(make, world) -> None:
    """A second cycle that reads all that there is to read."""
    world.put("known.csv", "\n".join(["image,al_score", *(f"{image},{place / 30}" for place, image in enumerate(POOL))]))
    world.put("lists/known.txt", POOL[3])
    hashes(make(), [place * 0x0101010101010101 for place in range(30)])
    label(make(), POOL[:2])
    embeddings(make(), POOL, paths.inference_embeddings(0, 0))
    predictions(make(), [(place, 0.3 + place / 50, "pear") for place in range(20)])
    context = make(
        cycle=1,
        strategies=[DIVERSITY, UNCERTAINTY, strategy("SCORES", "WEIGHTS", score="al_score")],
        batch=Batch(count=6),
        class_shares={"pear": 0.5},
        no_object_share=0.2,
        random_share=0.2,
        duplicates=Duplicates(),
        table="known.csv",
        labelled_elsewhere="lists/known.txt",
        relevant=["*site?/*"],
    )
    select.run(context)


def test_a_selection_made_again_is_identical(world, tmp_path):
    world, make = world
    full(make, world)
    assert again(world, tmp_path / "replay", 1) == Replay(picks=6)
    assert again(world, tmp_path / "once more", 1).identical


def test_of_both_arms(world, tmp_path):
    world, make = world
    select.run(make(random_share=0.4, strategies=[DIVERSITY]))
    label(make(), [row["image"] for row in selection(make())])
    select.run(make(control=0, rule=Rule.DRAWN, strategies=[]))
    assert again(world, tmp_path / "main", 0) == Replay(picks=5)
    assert again(world, tmp_path / "arm", 0, control=True) == Replay(picks=2)
    arm = make(cycle=1, control=0, strategies=[DIVERSITY], embeddings=CLASSICAL)
    label(arm, POOL[4:6])
    select.run(arm)
    own = "control/cycles/000/annotate/images.parquet"
    assert own in json.loads(arm.workspace.read(paths.selection_sources(1)))
    assert again(world, tmp_path / "later", 1, control=True) == Replay(picks=5)
    label(arm, POOL[4:7])
    assert [one.name for one in again(world, tmp_path / "changed", 1, control=True).changed] == [own]


def rewrite(world, cycle: int, **changes: object) -> None:
    """Change the second pick that is recorded."""
    path = world.file(paths.selection(cycle))
    rows = pa.parquet.read_table(path).to_pylist()
    rows[1] |= changes
    pa.parquet.write_table(pa.Table.from_pylist(rows, SCHEMA), path)


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"image": "other.jpg"}, "pick 1: the image was 'other.jpg', and is {image!r} now"),
        ({"why": "a whim"}, "pick 1: the why of {image} was 'a whim', and is 'drawn at random with seed 3' now"),
        ({"rule": "Entropy"}, "pick 1: the rule of {image} was 'Entropy', and is 'Random' now"),
        ({"score": 0.5}, "pick 1: the score of {image} was 0.5, and is 0.9666666666666667 now"),
        (
            {"score": 0.9666666666666668},
            "pick 1: the score of {image} was 0.9666666666666668, and is 0.9666666666666667 now (another processor, or "
            "another release of a library, rounds the last digits differently)",
        ),
    ],
)
def test_the_first_difference_is_named(world, tmp_path, changes, difference):
    world, make = world
    select.run(make())
    image = selection(make())[1]["image"]
    rewrite(world, 0, **changes)
    found = again(world, tmp_path / "replay")
    assert found == Replay(picks=5, difference=difference.format(image=image))
    assert not found.identical


def test_another_number_of_picks(world, tmp_path):
    world, make = world
    select.run(make())
    table = pa.parquet.read_table(world.file(paths.selection(0)))
    pa.parquet.write_table(table.slice(0, 3), world.file(paths.selection(0)))
    found = again(world, tmp_path / "replay")
    assert found.difference == "there were 3 picks, and are 5 now; the first 3 agree"


def test_files_that_have_changed_or_are_gone(world, tmp_path):
    world, make = world
    full(make, world)
    pool, table, shard = paths.POOL_INDEX, "dataset:known.csv", paths.predictions(0, 0)
    recorded = json.loads(world.file(paths.selection_sources(1)).read_bytes())
    index(make(), [*POOL, "site9/added later.jpg"])  # prepared once more, with an image that was added later
    world.put("known.csv", "image,al_score\n")
    world.file(shard).unlink()
    found = again(world, tmp_path / "replay", 1)
    assert found.changed == [
        Changed(shard, recorded[shard], None),
        Changed(table, recorded[table], hashlib.sha256(b"image,al_score\n").hexdigest()),
        Changed(pool, recorded[pool], hashlib.sha256(world.file(pool).read_bytes()).hexdigest()),
    ]
    assert not found.identical
    assert found.difference is None


def test_a_file_that_the_step_did_not_read_then(world, tmp_path):
    world, make = world
    full(make, world)
    predictions(make(), [], shard=1)
    found = again(world, tmp_path / "replay", 1)
    digest = hashlib.sha256(world.file(paths.predictions(0, 1)).read_bytes()).hexdigest()
    assert found.changed == [Changed(paths.predictions(0, 1), None, digest)]


def worker(world, make) -> None:
    """A selection of the Lightly Worker, as it is recorded."""
    context = make(cycle=0)
    select.run(context)
    given = context.input.model_copy(update={"engine": "Lightly"})
    context.workspace.write(paths.selection_input(0), given.model_dump_json(by_alias=True).encode())
    result = StepResult(step=StepName.SELECT, input="i", digest="d", selection_run="f" * 24)
    context.workspace.write(paths.result(0, "select"), result.model_dump_json(by_alias=True).encode())


def test_who_picked_where_the_worker_did(world, tmp_path):
    world, make = world
    worker(world, make)
    found = again(world, tmp_path / "replay")
    assert found == Replay(picks=5, picked_by=f"the Lightly Worker in its run {'f' * 24}")
    assert not found.identical


def test_a_cycle_without_a_selection(world, tmp_path):
    with pytest.raises(StepError) as caught:
        again(world[0], tmp_path / "replay", 4)
    assert caught.value.reason == "NotRecorded"
    assert caught.value.message.startswith("there is no record of the selection of cycle 4: ")


def test_what_is_written_stays_above(tmp_path):
    under, over = FolderStore(tmp_path / "under", "pvc://a"), FolderStore(tmp_path / "over", "pvc://b")
    under.write_many([("a/1", b"one"), ("a/2", b"two"), ("b", b"b")])
    store = OverlayStore(under, over)
    store.write("a/2", b"second")
    store.at("a").write("3", b"three")
    (tmp_path / "local").write_bytes(b"four")
    store.upload(tmp_path / "local", "a/4")
    assert [entry.path for entry in store.list("a")] == ["a/1", "a/2", "a/3", "a/4"]
    assert [store.read(f"a/{number}") for number in (1, 2, 3, 4)] == [b"one", b"second", b"three", b"four"]
    assert store.exists("b")
    assert not store.exists("c")
    store.delete(["a/2", "b"])
    assert (store.read("a/2"), store.read("b")) == (b"two", b"b")
    (entry,) = [entry for entry in store.list("a") if entry.path == "a/4"]
    assert store.holds(entry, tmp_path / "local")
    assert not store.holds(replace(entry, etag="another"), tmp_path / "local")
    with pytest.raises(FileNotFoundInStore):
        store.download("c", tmp_path / "c")
    assert store.keep("b").read_bytes() == b"b"
    assert sorted(files(tmp_path / "under")) == ["a/1", "a/2", "b"]


# The command


def said(capsys) -> str:
    return capsys.readouterr().out.strip()


def test_the_command_offline(world, capsys):
    world, make = world
    full(make, world)
    where = ["--workspace", str(world.root / "work"), "--dataset", str(world.root / "data"), "-n", "orchard"]
    assert main(["replay", "apples", "--cycle", "1", *where]) == 0
    assert said(capsys) == "identical: the 6 picks of cycle 1 of apples, made again from the workspace"
    assert main(["replay", "apples", "--cycle", "1", *where, "-o", "json"]) == 0
    value = {"run": "apples", "cycle": 1, "identical": True, "picks": 6, "difference": None, "pickedBy": None, "changed": []}
    assert json.loads(said(capsys)) == value
    where[1] = str(world.file("."))  # the run's own folder
    rewrite(world, 1, why="a whim")
    assert main(["replay", "apples", "--cycle", "1", *where]) == 1
    assert said(capsys).startswith("the selection of cycle 1 of apples is not the same: pick 1: the why of ")
    world.put("known.csv", "")
    world.file(paths.predictions(0, 0)).unlink()
    assert main(["replay", "apples", "--cycle", "1", *where]) == 1
    first, *lines = said(capsys).split("\n")
    assert first == "the selection of cycle 1 of apples cannot be made again:"
    assert [line.split(maxsplit=1)[0] for line in lines] == [paths.predictions(0, 0), "dataset:known.csv"]
    assert " is missing, or is not read any more; its SHA-256 was " in lines[0]
    assert lines[1].endswith(f", and is {hashlib.sha256(b'').hexdigest()}")


def test_the_command_for_a_selection_of_the_worker(world, capsys):
    world, make = world
    worker(world, make)
    assert main(["replay", "apples", "--cycle", "0", "--workspace", str(world.file("."))]) == 2
    assert said(capsys) == (
        f"the Lightly Worker in its run {'f' * 24} picked the 5 images of cycle 0 of apples; only the Worker can repeat it. "
        "All files that it was given are as they were."
    )


STORAGE = {"endpoint": "https://s3.example.org", "secretRef": {"name": "s3"}}
KEYS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key"}


def test_the_command_finds_the_workspace_as_the_report_is_found(world, tmp_path, monkeypatch, capsys):
    world, make = world
    full(make, world)
    opened = []

    def opens(store, environ):
        opened.append((store.uri, store.endpoint, sorted(environ)))
        folder = {"s3://orchard/out": "work", "s3://orchard/apples": "data"}[store.uri]
        return FolderStore(world.root / folder, store.uri)

    monkeypatch.setattr("alrun.cli.replay._open", opens)
    cluster = Cluster()
    cluster.runs = {"apples": manifest(spec={**SPEC, "dataset": {**SPEC["dataset"], "storage": STORAGE}})}
    cluster.secrets = {"s3": KEYS}
    keys = ["REPORT_AWS_ACCESS_KEY_ID", "REPORT_AWS_SECRET_ACCESS_KEY"]
    with serve(cluster, tmp_path / "config"):
        command = ["replay", "apples", "--cycle", "1", "--kubeconfig", str(tmp_path / "config")]
        assert main(command) == 0
        assert main([*command, "--own-credentials", "--endpoint", "http://localhost:9000"]) == 0
        cluster.runs["apples"]["spec"]["workspace"] = {"uri": "pvc://claim/out"}
        assert main(command) == 2
    assert opened == [
        ("s3://orchard/out", "https://s3.example.org", keys),
        ("s3://orchard/apples", "https://s3.example.org", keys),
        ("s3://orchard/out", "http://localhost:9000", []),
        ("s3://orchard/apples", "http://localhost:9000", []),
    ]
    assert capsys.readouterr().err == (
        "error: the workspace of run orchard/apples is on a volume claim (pvc://claim/out), which only pods can reach; "
        "copy it to this machine, and name the folder with --workspace\n"
    )


def test_what_the_command_refuses(world, capsys):
    world, make = world
    full(make, world)
    place = ["--workspace", str(world.root / "work")]
    assert main(["replay", "apples", "--cycle", "1", *place, "-n", "elsewhere"]) == 2
    assert "there is no record of the selection of cycle 1: " in capsys.readouterr().err
    assert main(["replay", "apples", "--cycle", "1", *place, "-n", "orchard"]) == 2
    message = "error: --dataset pvc://data is neither a folder of this machine nor s3://bucket/…; name one\n"
    assert capsys.readouterr().err == message
    assert main(["replay", "apples", "--cycle", "0", "--workspace", "/nowhere"]) == 2
    assert main(["replay", "apples"]) == 2
