"""The generated data set: the same every time, shaped as its description says."""

from __future__ import annotations

from collections import Counter

import pytest
from PIL import Image

from alrun.data import kitti
from alrun.data.synthetic import CLASSES, HEIGHT, WIDTH, generate, main, picture


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.*"))}


def test_same_seed_same_bytes_and_a_longer_set_begins_with_the_shorter(tmp_path):
    counts = generate(tmp_path / "a", 3, 5)
    assert generate(tmp_path / "b", 3, 5) == counts
    assert files(tmp_path / "a") == files(tmp_path / "b")
    generate(tmp_path / "longer", 4, 5)
    assert files(tmp_path / "a").items() <= files(tmp_path / "longer").items()
    generate(tmp_path / "other", 3, 6)
    assert files(tmp_path / "a") != files(tmp_path / "other")


def test_images_and_labels_are_what_they_say(tmp_path):
    counts = generate(tmp_path, 8, 7)
    images = sorted((tmp_path / "images").iterdir())
    assert len(images) == 8
    found: Counter[str] = Counter()
    for path in images:
        assert path.name.startswith("site")
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (WIDTH, HEIGHT))
        label = tmp_path / "labels" / f"{path.stem}.txt"
        parsed = kitti.parse(label.read_bytes(), label.name)
        assert not parsed.problems
        for box in parsed.boxes:
            found[box.class_name] += 1
            assert 0 <= box.x_min < box.x_max <= WIDTH
            assert 0 <= box.y_min < box.y_max <= HEIGHT
            assert box.width >= 6
            assert box.height >= 6
            assert box.truncated <= 0.4
            assert box.occluded in {0, 1}
    assert {name: found[name] for name in CLASSES} == counts


def test_the_tail_is_long_and_some_images_are_empty():
    boxes = [picture(3, number)[2] for number in range(40)]
    shares = Counter(box.class_name for image in boxes for box in image)
    assert [name for name, _ in shares.most_common(2)] == ["washer", "bolt"]
    assert shares["spring"] < 0.08 * shares.total()
    assert 0.25 < shares["washer"] / shares.total() < 0.5
    assert 1 <= sum(not image for image in boxes) <= 10
    assert 2 < shares.total() / len(boxes) < 4


def test_command(tmp_path, capsys):
    out = tmp_path / "set"
    assert main([str(out), "--images", "2", "--seed", "1"]) == 0
    assert capsys.readouterr().out.startswith(f"2 images of {WIDTH}x{HEIGHT} with ")
    assert main([str(out), "--images", "2"]) == 1
    assert "is not empty" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([str(out), "--images", "0"])
