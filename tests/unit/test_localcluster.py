"""The parts of localcluster/ that decide something without a cluster."""

from __future__ import annotations

import ipaddress
import json
import tarfile
from pathlib import Path

import pytest
import yaml
from localcluster import archive, images, layouts, settings, standins, usage
from localcluster.shell import SetUpError, run, wait_until

from alrun.api.spec import RunSpec
from alrun.engines.tao.dialects import dialect_of, image_for


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize(
    ("label_format", "files", "images", "labels"),
    [
        ("voc", ["JPEGImages/a.jpg", "Annotations/a.xml", "ImageSets/Main/test.txt"], "JPEGImages", "Annotations"),
        ("kitti", ["image_2/a.png", "label_2/a.txt"], "image_2", "label_2"),
        ("KITTI", ["images/x/a.png", "labels/x/a.txt"], "images", "labels"),
        ("yolo", ["images/a.JPG", "labels/a.txt", "data.yaml"], "images", "labels"),
        ("coco", ["images/a.jpg", "annotations.json"], "images", "annotations.json"),
        ("coco", ["a.jpg", "_annotations.coco.json"], ".", "_annotations.coco.json"),
    ],
)
def test_a_common_layout_is_found(tmp_path: Path, label_format: str, files: list[str], images: str, labels: str) -> None:
    touch(tmp_path, *files)

    layout = layouts.find(tmp_path, label_format)

    assert layout == layouts.Layout(label_format.upper(), images, labels)
    wanted = [name for name in files if not name.startswith("ImageSets")]
    assert [path.relative_to(tmp_path).as_posix() for path in layouts.files(tmp_path, layout)] == sorted(wanted)


def test_an_unknown_layout_says_what_was_expected_and_found(tmp_path: Path) -> None:
    touch(tmp_path, "pictures/a.jpg", "readme.txt")

    with pytest.raises(SetUpError, match=r"JPEGImages/ with Annotations .* It has: pictures/, readme\.txt"):
        layouts.find(tmp_path, "voc")


@pytest.mark.parametrize(
    ("folder", "label_format", "words"), [("nowhere", "voc", "is no folder"), (".", "csv", "voc, kitti, yolo, coco")]
)
def test_a_wrong_folder_or_format_is_named(tmp_path: Path, folder: str, label_format: str, words: str) -> None:
    with pytest.raises(SetUpError, match=words):
        layouts.find(tmp_path / folder, label_format)


def test_the_addresses_of_a_cluster_do_not_overlap() -> None:
    instance = settings.Instance("demo")
    network = ipaddress.ip_network(instance.network)
    parts = [ipaddress.ip_network(text) for text in (instance.pods, instance.services, f"{instance.prefix}.255.0/30")]

    assert all(part.subnet_of(network) for part in parts)
    assert not any(one.overlaps(other) for one in parts for other in parts if one is not other)
    assert {ipaddress.ip_address(instance.host_address), ipaddress.ip_address(instance.node_address)} <= set(
        parts[2].hosts()
    )


def test_demo_and_test_clusters_have_addresses_of_their_own() -> None:
    one, other = settings.Instance("demo"), settings.Instance("test")

    assert not ipaddress.ip_network(one.network).overlaps(ipaddress.ip_network(other.network))
    assert one.link != other.link
    assert one.state != other.state


@pytest.mark.parametrize("name", ["Demo", "a/b", "..", "x" * 21, "a b", "é"])
def test_a_name_that_makes_no_file_or_link_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("ALRUN_CLUSTER", name)

    with pytest.raises(ValueError, match="ALRUN_CLUSTER"):
        settings.instance()


def test_an_image_of_one_program(tmp_path: Path) -> None:
    program = tmp_path / "hello"
    program.write_bytes(b"#!")
    archive.write_image(tmp_path / "image.tar", "localhost/hello:1", {"bin/hello": program}, entrypoint=["/bin/hello"])

    with tarfile.open(tmp_path / "image.tar") as image:
        (manifest,) = json.load(image.extractfile("manifest.json"))  # type: ignore[arg-type]
        config = json.load(image.extractfile(manifest["Config"]))  # type: ignore[arg-type]
        with tarfile.open(fileobj=image.extractfile(manifest["Layers"][0])) as layer:
            assert layer.getnames() == ["bin/hello"]
            assert layer.getmember("bin/hello").mode == 0o755
    assert manifest["RepoTags"] == ["localhost/hello:1"]
    assert config["config"] == {"Entrypoint": ["/bin/hello"], "User": "65532:65532"}


def test_a_program_that_fails_shows_the_end_of_what_it_said() -> None:
    with pytest.raises(SetUpError, match=r"ended with 3:\nno such luck"):
        run("sh", "-c", "echo no such luck >&2; exit 3")


def test_waiting_in_vain_shows_the_logs(tmp_path: Path) -> None:
    log = tmp_path / "thing.log"
    log.write_text("the reason\n")

    with pytest.raises(SetUpError, match=r"the thing is up: not so after 0 s\n--- end of .*thing.log:\nthe reason"):
        wait_until("the thing is up", lambda: False, 0, [log])


def test_a_cluster_in_use_is_not_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "CACHE", tmp_path)
    demo = settings.Instance("demo")

    with usage.in_use(demo), usage.in_use(demo), pytest.raises(SetUpError, match="demo is in use"), usage.unused(demo):
        raise AssertionError("removed under somebody else's hands")

    with usage.unused(demo), usage.unused(settings.Instance("test")):
        pass


def test_the_tag_of_an_image_is_that_of_its_files_and_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "ROOT", tmp_path)
    touch(tmp_path, "a/one.py", "a/__pycache__/one.pyc")
    files = images.files_below(tmp_path / "a")
    before = images.digest(files, "tao4")

    assert [path.name for path in files] == ["one.py"]
    assert images.digest(files, "tao4") == before
    assert images.digest(files, "tao5") != before
    (tmp_path / "a" / "one.py").write_text("pass")
    assert images.digest(files, "tao4") != before


def test_only_older_images_of_the_same_kind_are_forgotten() -> None:
    names = [
        "localhost/alrun-tao-tao4:1",
        "localhost/alrun-tao-tao4:2",
        "localhost/alrun-tao-tao5:1",
        "localhost/alrun-worker:1",
    ]

    assert list(images._others("localhost/alrun-tao-tao4:2", names)) == ["localhost/alrun-tao-tao4:1"]


def test_a_stand_in_is_built_on_the_worker_and_anew_with_it() -> None:
    recipe = standins.tao_recipe("tao5", "abc")

    assert recipe.arguments == {"BASE_IMAGE": "localhost/alrun-worker:abc", "DIALECT": "tao5"}
    assert (recipe.folder / "Dockerfile").is_file()
    assert recipe.image.startswith("localhost/alrun-tao-tao5:")
    assert recipe.image != standins.tao_recipe("tao5", "abd").image
    assert recipe.image != standins.tao_recipe("tao4", "abc").image


def test_the_examples_find_their_images_on_a_test_cluster() -> None:
    examples = (settings.ROOT / "manifests" / "examples").glob("*.yaml")
    specs = [RunSpec.model_validate(yaml.safe_load(file.read_text())["spec"]) for file in examples]
    trainings = [spec.training for spec in specs]

    tao = {image_for(training.tao): dialect_of(training.tao).name for training in trainings if training.tao}
    assert tao == standins.TAO
    assert {training.custom.image for training in trainings if training.custom} == {standins.TRAINER}
    assert {spec.selection.lightly.worker_image for spec in specs if spec.selection.lightly} == {standins.LIGHTLY}
    assert (standins.trainer_recipe().folder / "Dockerfile").is_file()
    assert (standins.lightly_recipe("abc").folder / "Dockerfile").is_file()


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("lightly/worker:3.0.0", "docker.io/lightly/worker:3.0.0"),
        ("worker:1", "docker.io/library/worker:1"),
        ("nvcr.io/nvidia/tao:5", "nvcr.io/nvidia/tao:5"),
        ("localhost/alrun-worker:1", "localhost/alrun-worker:1"),
        ("registry:5000/worker:1", "registry:5000/worker:1"),
    ],
)
def test_a_node_knows_images_by_their_full_names(name: str, full: str) -> None:
    assert images.full_name(name) == full


class Shelf:
    """What a cluster's node has of images, without a cluster."""

    def __init__(self) -> None:
        self.images: dict[str, str] = {}
        self.loads: list[str] = []

    def loaded(self, image: str) -> bool:
        return image in self.images

    def load(self, image: images.Image) -> None:
        self.loads.append(image.name)
        self.images[image.name] = image.name

    def name_image(self, image: str, name: str) -> None:
        self.images[name] = self.images[image]


def test_a_node_has_the_newest_stand_in_under_nvidias_name(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf, built = Shelf(), []
    monkeypatch.setattr(images, "docker_works", lambda: True)
    monkeypatch.setattr(images, "build", lambda target, version: built.append((target, version)))
    monkeypatch.setattr(images, "build_recipe", lambda recipe: images.Image(recipe.image))
    toolkit = "nvcr.io/nvidia/tao/tao-toolkit:5.0.0-tf1.15.5"

    for version in ("one", "one", "two"):
        monkeypatch.setattr(images, "tag", lambda version=version: version)
        standins.provide(shelf)  # type: ignore[arg-type]
        assert shelf.images[toolkit] == standins.tao_recipe("tao5", version).image
        assert shelf.images[standins.LIGHTLY] == standins.lightly_recipe(version).image
        assert shelf.images[standins.TRAINER] == standins.trainer_recipe().image

    assert built == [("worker", "one"), ("worker", "two")]
    assert len(shelf.loads) == len(set(shelf.loads)) == 2 * (len(standins.TAO) + 1) + 1
