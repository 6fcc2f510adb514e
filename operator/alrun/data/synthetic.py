"""A generated detection data set on which active learning has something to learn and something to choose.

    python -m alrun.data.synthetic OUT --images 400 --seed 7

writes OUT/images/site03_0012.jpg and OUT/labels/site03_0012.txt (KITTI). It stands in for a real data set in the
demo and in tests: nothing is downloaded, nobody's pictures are given away, and the same seed gives the same
pictures on every machine with the same Pillow.

How it is made, and why so:

* *Parts on a work surface.* Six classes are told apart by shape, never by colour: washer, bolt, nut, gear, tag,
  spring. Each comes in every size, angle and material, so that a handful of examples is not enough.
* *A long tail.* Of the objects 36 % are washers and 4 % are springs. The mean over classes is what is reported, so
  that which images are labelled matters: a batch without a spring teaches nothing about springs.
* *Sites.* An image comes from one of twenty cameras: a background (wood, concrete, mat, felt, perforated plate,
  gravel), a tint, a light, and a mix of classes of its own, some sites being far busier than others. The site is
  the part of the file's name before `_`, to group the test split by: the test then asks for surfaces never seen.
* *Nuisance.* Cables, stains, plain discs, triangles and bars that are no part; shadows, exposure, sensor noise,
  blur, objects cut off by the edge of the image and covered by one another. One image in twenty is empty.

Objects of which less than 70 % is visible are marked occluded (KITTI 1), which the evaluation passes over as
difficult; none is covered to more than 55 %, or outside the image to more than 40 %.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from .boxes import Box
from .kitti import format_boxes

CLASSES = {"washer": 0.36, "bolt": 0.25, "nut": 0.17, "gear": 0.11, "tag": 0.07, "spring": 0.04}
"""Classes, and their share of the objects."""
SITES = 20
BUSY: NDArray[np.float64] = np.arange(1.0, SITES + 1) ** -0.5
"""How many images come from each site, in proportion."""
WIDTH, HEIGHT = 256, 192
QUALITY = 88

_FINER = 2  # objects are drawn larger and scaled down, for smooth edges
_SMALLEST, _LARGEST = 26, 70
_COVERED, _CUT = 0.55, 0.40
_MATERIALS = ((176, 180, 186), (212, 174, 92), (74, 78, 86), (158, 96, 62), (226, 226, 220), (96, 122, 148))

Floats = NDArray[np.float64]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Site:
    """What the images of one camera have in common."""

    number: int
    surface: int
    colour: Floats
    light: float
    scale: float
    mix: Floats

    @property
    def name(self) -> str:
        """As it is in file names."""
        return f"site{self.number:02d}"


class Draws:
    """Random choices, made of nothing but uniform numbers."""

    def __init__(self, *key: int) -> None:
        self._rng = np.random.default_rng(key)

    def between(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * float(self._rng.random())

    def chance(self, probability: float) -> bool:
        """True with that probability."""
        return float(self._rng.random()) < probability

    def among(self, weights: Sequence[float] | Floats) -> int:
        """A place in `weights`, in proportion to them."""
        edges = np.cumsum(np.asarray(weights, np.float64))
        return int(np.searchsorted(edges, self._rng.random() * edges[-1], side="right"))

    def field(self, *shape: int) -> Floats:
        """Numbers in [0, 1)."""
        return self._rng.random(shape)


@lru_cache(maxsize=4)
def sites(seed: int) -> tuple[Site, ...]:
    """The sites of a data set, the busiest first.

    Each has a mix of classes of its own, from a third to three times the usual share; together, each weighted with
    how busy it is, they have the shares of `CLASSES`.
    """
    wanted = np.array(list(CLASSES.values()))
    mixes = wanted * np.exp(Draws(seed, 0).field(SITES, len(CLASSES)) * 2.4 - 1.2)
    for _ in range(50):
        mixes /= mixes.sum(axis=1, keepdims=True)
        mixes *= wanted / (BUSY @ mixes / BUSY.sum())
    return tuple(_site(Draws(seed, 1, number), number, mixes[number]) for number in range(SITES))


def _site(draws: Draws, number: int, mix: Floats) -> Site:
    base = draws.between(70, 175)
    return Site(
        number=number,
        surface=number % len(_SURFACES),
        colour=np.array([base * draws.between(0.78, 1.22) for _ in range(3)]),
        light=draws.between(0.0, 2 * np.pi),
        scale=draws.between(0.85, 1.25),
        mix=mix,
    )


def picture(seed: int, number: int) -> tuple[str, Image.Image, list[Box]]:
    """Image `number` of a data set: the name of its site, the image, the boxes of its objects."""
    draws = Draws(seed, 2, number)
    place = sites(seed)[draws.among(BUSY)]
    canvas = Image.fromarray(_background(place, draws)).resize((WIDTH * _FINER, HEIGHT * _FINER), Image.Resampling.BICUBIC)
    for _ in range(draws.among([1, 2, 2, 2, 1])):
        _clutter(canvas, draws)
    parts = _parts(place, draws)
    owner = np.full((HEIGHT * _FINER, WIDTH * _FINER), -1, np.int16)
    placed: list[_Part] = []
    for part in parts:
        if _fits(part, placed, owner):
            part.cover(owner, len(placed))
            part.draw(canvas)
            placed.append(part)
    shares = [float((owner == k).sum()) / part.inside for k, part in enumerate(placed)]
    image = _exposed(canvas.resize((WIDTH, HEIGHT), Image.Resampling.BOX), place, draws)
    return place.name, image, [part.box(visible) for part, visible in zip(placed, shares, strict=True)]


def generate(out: Path, images: int, seed: int) -> dict[str, int]:
    """Write a data set; the number of objects of each class.

    Raises:
        FileExistsError: `out` has images or labels already.
    """
    for folder in (out / "images", out / "labels"):
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise FileExistsError(f"{folder} is not empty; name a new folder, or empty it")
    counts = dict.fromkeys(CLASSES, 0)
    taken: dict[str, int] = {}
    for number in range(images):
        where, image, boxes = picture(seed, number)
        taken[where] = taken.get(where, 0) + 1
        name = f"{where}_{taken[where]:04d}"
        data = io.BytesIO()
        image.save(data, "JPEG", quality=QUALITY)
        (out / "images" / f"{name}.jpg").write_bytes(data.getvalue())
        (out / "labels" / f"{name}.txt").write_bytes(format_boxes(boxes))
        for box in boxes:
            counts[box.class_name] += 1
    return counts


# Surfaces: [height, width] fields in about -1..1, laid over the site's colour.


def _grid() -> tuple[Floats, Floats]:
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    return x, y


def _clouds(draws: Draws, cells: int) -> Floats:
    """Smooth noise with about `cells` bumps across."""
    coarse = (draws.field(max(2, cells * HEIGHT // WIDTH), cells) * 255).astype(np.uint8)
    smooth = Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    return np.asarray(smooth, np.float64) / 127.5 - 1


def _wood(draws: Draws) -> Floats:
    x, y = _grid()
    return np.sin((y + 7 * _clouds(draws, 6)) * draws.between(0.25, 0.6) + x * 0.02) * 0.6 + 0.3 * _clouds(draws, 90)


def _concrete(draws: Draws) -> Floats:
    return 0.5 * _clouds(draws, 10) + 0.5 * (draws.field(HEIGHT, WIDTH) * 2 - 1)


def _mat(draws: Draws) -> Floats:
    x, y = _grid()
    size = draws.between(9, 22)
    lines = np.minimum((x + draws.between(0, size)) % size, (y + draws.between(0, size)) % size) < 1.5
    return np.where(lines, 1.0, -0.15) + 0.15 * _clouds(draws, 40)


def _felt(draws: Draws) -> Floats:
    return 0.25 * _clouds(draws, 5) + 0.2 * _clouds(draws, 128)


def _plate(draws: Draws) -> Floats:
    x, y = _grid()
    size = draws.between(16, 30)
    fromx = (x + draws.between(0, size)) % size - size / 2
    fromy = (y + draws.between(0, size)) % size - size / 2
    return np.where(fromx**2 + fromy**2 < (size * 0.22) ** 2, -1.0, 0.2) + 0.1 * _clouds(draws, 30)


def _gravel(draws: Draws) -> Floats:
    return np.clip(1.6 * _clouds(draws, 36) + 0.6 * _clouds(draws, 80), -1, 1)


_SURFACES: tuple[Callable[[Draws], Floats], ...] = (_wood, _concrete, _mat, _felt, _plate, _gravel)


def _background(place: Site, draws: Draws) -> NDArray[np.uint8]:
    relief = _SURFACES[place.surface](draws)[..., None]
    return np.clip(place.colour + relief * draws.between(10, 26), 0, 255).astype(np.uint8)


def _exposed(image: Image.Image, place: Site, draws: Draws) -> Image.Image:
    """Light from the site's side, perhaps a shadow, exposure, blur and noise."""
    x, y = _grid()
    slope = (x / WIDTH - 0.5) * np.cos(place.light) + (y / HEIGHT - 0.5) * np.sin(place.light)
    light = draws.between(0.7, 1.2) * (1 + draws.between(0.1, 0.6) * slope)
    if draws.chance(0.35):
        angle = draws.between(0, np.pi)
        edge = (x - WIDTH / 2) * np.cos(angle) + (y - HEIGHT / 2) * np.sin(angle) - draws.between(-70, 70)
        light = light * (1 - draws.between(0.2, 0.45) / (1 + np.exp(-edge / 4)))
    if draws.chance(0.3):
        image = image.filter(ImageFilter.GaussianBlur(draws.between(0.3, 0.8)))
    noise = (draws.field(HEIGHT, WIDTH, 1) + draws.field(HEIGHT, WIDTH, 1) - 1) * draws.between(3, 16)
    return Image.fromarray(np.clip(np.asarray(image, np.float64) * light[..., None] + noise, 0, 255).astype(np.uint8))


def _clutter(canvas: Image.Image, draws: Draws) -> None:
    """Something that is no part."""
    pen = ImageDraw.Draw(canvas)
    x, y = draws.between(0, WIDTH * _FINER), draws.between(0, HEIGHT * _FINER)
    size = draws.between(8, 40) * _FINER
    colour = _shade(_MATERIALS[draws.among([1] * len(_MATERIALS))], draws.between(0.35, 1.1))
    match draws.among([3, 2, 2, 2, 1]):
        case 0:  # a cable
            points = [(x, y)]
            angle = draws.between(0, 2 * np.pi)
            for _ in range(24):
                angle += draws.between(-0.5, 0.5)
                points.append((points[-1][0] + 16 * np.cos(angle), points[-1][1] + 16 * np.sin(angle)))
            pen.line(points, colour, width=int(draws.between(2, 5)) * _FINER, joint="curve")
        case 1:  # a stain
            stain = Image.new("L", canvas.size)
            ImageDraw.Draw(stain).ellipse((x - size, y - size * 0.6, x + size, y + size * 0.6), int(draws.between(50, 130)))
            canvas.paste(colour, mask=stain.filter(ImageFilter.GaussianBlur(size / 4)))
        case 2:  # a plain disc
            pen.ellipse((x - size / 2, y - size / 2, x + size / 2, y + size / 2), colour)
        case 3:  # a triangle
            pen.polygon(_polygon(3, size * 0.6, draws.between(0, 2 * np.pi), (x, y)), colour)
        case _:  # a bar
            pen.polygon(
                _turned([(-1, -0.12), (1, -0.12), (1, 0.12), (-1, 0.12)], size, draws.between(0, np.pi), (x, y)), colour
            )


# Parts: a mask on a square of its own, shaded and laid onto the canvas.


@dataclass(slots=True)
class _Part:
    name: str
    mask: Image.Image
    colour: tuple[int, int, int]
    light: float
    left: int
    top: int
    inside: float = 0.0
    truncated: float = 0.0

    def box(self, visible: float) -> Box:
        x0, y0, x1, y1 = self.mask.getbbox()  # type: ignore[misc]  # no part is empty
        box = Box(
            self.name,
            (self.left + x0) / _FINER,
            (self.top + y0) / _FINER,
            (self.left + x1) / _FINER,
            (self.top + y1) / _FINER,
            truncated=round(self.truncated, 2),
            occluded=int(visible < 0.7),
        )
        return box.clipped(WIDTH, HEIGHT)

    def cover(self, owner: NDArray[np.int16], number: int) -> None:
        rows, columns, mask = self.window(owner)
        owner[rows, columns][mask] = number

    def window(self, owner: NDArray[np.int16]) -> tuple[slice, slice, NDArray[np.bool_]]:
        """The part's mask as far as it is on the canvas, and where that is."""
        height, width = owner.shape
        side = self.mask.width
        top, left = max(self.top, 0), max(self.left, 0)
        bottom, right = min(self.top + side, height), min(self.left + side, width)
        mask = np.asarray(self.mask) > 127
        return (
            slice(top, bottom),
            slice(left, right),
            mask[top - self.top : bottom - self.top, left - self.left : right - self.left],
        )

    def draw(self, canvas: Image.Image) -> None:
        side = self.mask.width
        y, x = np.mgrid[0:side, 0:side] / side - 0.5
        shade = 1 - 0.55 * (x * np.cos(self.light) + y * np.sin(self.light))
        rim = np.asarray(self.mask.filter(ImageFilter.GaussianBlur(side / 28)), np.float64) / 255
        body = np.array(self.colour)[None, None] * (shade * (0.35 + 0.65 * np.clip(rim * 1.5 - 0.5, 0, 1)))[..., None]
        drop = self.mask.filter(ImageFilter.GaussianBlur(_FINER)).point(lambda value: value * 0.45)
        canvas.paste((0, 0, 0), (self.left + _FINER, self.top + 2 * _FINER), drop)
        canvas.paste(Image.fromarray(np.clip(body, 0, 255).astype(np.uint8)), (self.left, self.top), self.mask)


def _parts(place: Site, draws: Draws) -> list[_Part]:
    if draws.chance(0.05):
        return []
    names = list(CLASSES)
    parts = []
    for _ in range(1 + draws.among([1, 2, 3, 3, 2, 1])):
        name = names[draws.among(place.mix)]
        size = min(draws.between(_SMALLEST**0.5, _LARGEST**0.5) ** 2 * place.scale, _LARGEST * 1.1)
        side = round(size * _FINER)
        mask = Image.new("L", (side, side))
        _SHAPES[name](ImageDraw.Draw(mask), side, draws)
        colour = _shade(_MATERIALS[draws.among([1] * len(_MATERIALS))], draws.between(0.8, 1.1))
        left = round(draws.between(-0.2 * side, WIDTH * _FINER - 0.8 * side))
        top = round(draws.between(-0.2 * side, HEIGHT * _FINER - 0.8 * side))
        parts.append(_Part(name, mask, colour, place.light, left, top))
    return parts


def _fits(part: _Part, placed: list[_Part], owner: NDArray[np.int16]) -> bool:
    """Whether the part is enough inside the image and leaves enough to see of those below it."""
    rows, columns, mask = part.window(owner)
    whole = float((np.asarray(part.mask) > 127).sum())
    part.inside = float(mask.sum())
    part.truncated = 1 - part.inside / whole
    if part.truncated > _CUT:
        return False
    below = owner[rows, columns][mask]
    return all(
        float((owner == k).sum() - (below == k).sum()) >= (1 - _COVERED) * other.inside for k, other in enumerate(placed)
    )


def _washer(pen: ImageDraw.ImageDraw, side: int, draws: Draws) -> None:
    edge, hole = side * 0.03, side * draws.between(0.2, 0.3)
    pen.ellipse((edge, edge, side - edge, side - edge), 255)
    pen.ellipse((hole, hole, side - hole, side - hole), 0)


def _nut(pen: ImageDraw.ImageDraw, side: int, draws: Draws) -> None:
    middle, hole = (side / 2, side / 2), side * draws.between(0.29, 0.34)
    pen.polygon(_polygon(6, side * 0.48, draws.between(0, np.pi), middle), 255)
    pen.ellipse((hole, hole, side - hole, side - hole), 0)


def _gear(pen: ImageDraw.ImageDraw, side: int, draws: Draws) -> None:
    teeth, turn = 8 + draws.among([1, 1, 1, 1]), draws.between(0, np.pi)
    outline = []
    for step in range(teeth * 4):
        radius = side * (0.48 if step % 4 < 2 else 0.36)
        angle = turn + (step + 0.5) * np.pi / (teeth * 2)
        outline.append((side / 2 + radius * np.cos(angle), side / 2 + radius * np.sin(angle)))
    pen.polygon(outline, 255)
    hole = side * draws.between(0.4, 0.44)
    pen.ellipse((hole, hole, side - hole, side - hole), 0)


def _bolt(pen: ImageDraw.ImageDraw, side: int, draws: Draws) -> None:
    turn, middle = draws.between(0, 2 * np.pi), (side / 2, side / 2)
    shaft = draws.between(0.13, 0.18)
    pen.polygon(_turned([(-0.9, -shaft), (0.55, -shaft), (0.55, shaft), (-0.9, shaft)], side / 2, turn, middle), 255)
    pen.polygon(_turned([(0.5, -0.36), (0.9, -0.3), (0.9, 0.3), (0.5, 0.36)], side / 2, turn, middle), 255)
    for k in range(5):  # the thread
        at = -0.85 + k * 0.15
        notch = [(at, -shaft), (at + 0.05, -shaft), (at + 0.05, -shaft * 0.55), (at, -shaft * 0.55)]
        pen.polygon(_turned(notch, side / 2, turn, middle), 0)


def _tag(pen: ImageDraw.ImageDraw, side: int, draws: Draws) -> None:
    turn, middle = draws.between(-0.6, 0.6), (side / 2, side / 2)
    pen.polygon(_turned([(-0.8, -0.46), (0.8, -0.46), (0.8, 0.46), (-0.8, 0.46)], side / 2, turn, middle), 255)
    at = -0.62
    while at < 0.6:  # the bars
        width = draws.between(0.05, 0.12)
        bar = [(at, -0.3), (at + width, -0.3), (at + width, 0.3), (at, 0.3)]
        pen.polygon(_turned(bar, side / 2, turn, middle), 0)
        at += width + draws.between(0.08, 0.14)


def _spring(pen: ImageDraw.ImageDraw, side: int, draws: Draws) -> None:
    turn, middle, turns = draws.between(0, np.pi), (side / 2, side / 2), 7 + draws.among([1, 1, 1])
    zigzag = [(-0.85 + 1.7 * k / turns, 0.34 if k % 2 else -0.34) for k in range(turns + 1)]
    pen.line(_turned(zigzag, side / 2, turn, middle), 255, width=max(3, round(side * 0.07)), joint="curve")


_SHAPES: dict[str, Callable[[ImageDraw.ImageDraw, int, Draws], None]] = {
    "washer": _washer,
    "bolt": _bolt,
    "nut": _nut,
    "gear": _gear,
    "tag": _tag,
    "spring": _spring,
}


def _polygon(corners: int, radius: float, turn: float, middle: Point) -> list[Point]:
    steps = turn + np.arange(corners) * 2 * np.pi / corners
    return [(middle[0] + radius * float(np.cos(a)), middle[1] + radius * float(np.sin(a))) for a in steps]


def _turned(points: Sequence[Point], scale: float, turn: float, middle: Point) -> list[Point]:
    c, s = float(np.cos(turn)) * scale, float(np.sin(turn)) * scale
    return [(middle[0] + x * c - y * s, middle[1] + x * s + y * c) for x, y in points]


def _shade(colour: tuple[int, int, int], factor: float) -> tuple[int, int, int]:
    red, green, blue = (min(255, round(value * factor)) for value in colour)
    return red, green, blue


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m alrun.data.synthetic OUT --images N --seed S`; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m alrun.data.synthetic", description="Generate a detection data set.")
    parser.add_argument("out", type=Path, help="folder to write images/ and labels/ (KITTI) into")
    parser.add_argument("--images", type=int, default=400, help="how many images (400)")
    parser.add_argument("--seed", type=int, default=7, help="another seed, another data set (7)")
    given = parser.parse_args(arguments)
    if given.images < 1 or given.seed < 0:
        parser.error("--images is at least 1, --seed at least 0")
    try:
        counts = generate(given.out, given.images, given.seed)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    objects = ", ".join(f"{count} {name}" for name, count in counts.items())
    print(f"{given.images} images of {WIDTH}x{HEIGHT} with {sum(counts.values())} objects ({objects}) in {given.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
