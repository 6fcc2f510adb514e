"""The embedded engine and lightly-mundig, Lightly's selection, picking the same images from the same embeddings.

    python bench/selection.py [--sizes 100000x128x500 …] [--repeat 3] [--weights]

Embeddings are unit vectors in 200 clusters, float32. Each engine runs in a process of its own, in turn: lightly-mundig with
two threads, ours with one, which is all it needs (OpenBLAS' threads wait for each other longer than they work);
best and median of the runs are shown, the least processor time (which on a busy machine says more), the load of the
machine, and the first pick in which the two differ, if any.
Ours reads its embeddings from a memory-mapped file. What its process peaks at above one that only imports the same
modules, mapped pages included, is given in parts of the embeddings.
"""

from __future__ import annotations

import sys

# The folder of this file holds operator.py, which must not stand in for the standard library's module.
sys.path.insert(0, sys.path.pop(0).removesuffix("bench") + "operator")

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SIZES = ("100000x128x500", "100000x384x500", "100000x128x5000", "1000000x128x300")
CLUSTERS, SPREAD = 200, 0.5
ENGINES = ("alrun", "lightly-mundig")
THREADS = {"alrun": 1, "lightly-mundig": 2}


def make(path: Path, images: int, columns: int) -> None:
    """Write unit vectors in clusters, block by block."""
    draw = np.random.default_rng(1)
    centres = draw.normal(size=(CLUSTERS, columns)).astype(np.float32)
    points = np.lib.format.open_memmap(path, "w+", np.float32, (images, columns))
    for start in range(0, images, 50_000):
        block = points[start : start + 50_000]
        block[:] = centres[draw.integers(CLUSTERS, size=len(block))]
        block += np.float32(SPREAD) * draw.standard_normal(block.shape, np.float32)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    points.flush()


def weights(images: int) -> NDArray[np.float64]:
    """Uncertainties, many of them small."""
    return np.random.default_rng(2).random(images) ** 2


def ours(path: Path, count: int, weighted: bool) -> tuple[list[int], float]:
    """Picks, and seconds from the embeddings to the last pick."""
    from alrun.api.selection import Combination  # noqa: PLC0415 - each process imports one engine
    from alrun.learn.selection.objective import Diversity, Objective, Weights, greedy  # noqa: PLC0415

    points = np.load(path, mmap_mode="r")
    started = time.perf_counter()
    objectives: list[Objective] = [Diversity(points)]
    if weighted:
        objectives.append(Weights(weights(len(points))))
    picks = greedy(objectives, len(points), combination=Combination.CUMULATIVE, expected=count)
    found = [pick.index for pick in islice(picks, count)]
    return found, time.perf_counter() - started


def theirs(path: Path, count: int, weighted: bool) -> tuple[list[int], float]:
    """The same by lightly-mundig."""
    from lightly_mundig import Selection  # noqa: PLC0415

    points = np.load(path)
    started = time.perf_counter()
    selection = Selection()
    selection.add_diversifying_strategy(points, 1.0)
    if weighted:
        selection.add_weighting_strategy(weights(len(points)), 1.0)
    found = selection.run_selection([], len(points), count)
    return found, time.perf_counter() - started


def measure(engine: str, path: Path, count: int, weighted: bool) -> dict[str, object]:
    """One run in a process of its own."""
    number = str(THREADS[engine])
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"), number)
    command = [sys.executable, __file__, "--engine", engine, "--path", str(path), "--count", str(count)]
    done = subprocess.run(
        [*command, *(["--weights"] if weighted else [])], env=os.environ | threads, check=True, stdout=subprocess.PIPE
    )
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def memory(name: str) -> int:
    """Bytes of this process."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return 1024 * int(line.split()[1])


def child(arguments: argparse.Namespace) -> None:
    """What a process of `measure` does."""
    run = ours if arguments.engine == ENGINES[0] else theirs
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder) / "few.npy", 100, 8)
        run(Path(folder) / "few.npy", 2, arguments.weights)  # loads what there is to load
    before, processor = memory("VmRSS"), time.process_time()
    found, seconds = run(arguments.path, arguments.count, arguments.weights)
    answer = {"picks": found, "seconds": seconds, "processor": time.process_time() - processor}
    print(json.dumps(answer | {"bytes": memory("VmHWM") - before}))


def compare(size: str, repeat: int, weighted: bool, folder: Path) -> None:
    """Both engines in turn, on one size."""
    images, columns, count = map(int, size.split("x"))
    path = folder / f"{images}x{columns}.npy"
    if not path.exists():
        make(path, images, columns)
    runs: dict[str, list[dict[str, object]]] = {engine: [] for engine in ENGINES}
    for _ in range(repeat):
        for engine in ENGINES:
            runs[engine].append(measure(engine, path, count, weighted))
    seconds = {engine: [float(str(run["seconds"])) for run in runs[engine]] for engine in ENGINES}
    a, b = (runs[engine][0]["picks"] for engine in ENGINES)
    assert isinstance(a, list)
    assert isinstance(b, list)
    differ = next((place for place, (x, y) in enumerate(zip(a, b, strict=True)) if x != y), None)
    best, middle = ({engine: f(seconds[engine]) for engine in ENGINES} for f in (min, statistics.median))
    processor = {engine: min(float(str(run["processor"])) for run in runs[engine]) for engine in ENGINES}
    part = float(str(runs[ENGINES[0]][0]["bytes"])) / (images * columns * 4)
    print(
        f"{size:>16}{' weights' if weighted else '':8} "
        + " ".join(f"{engine} best {best[engine]:.2f} s median {middle[engine]:.2f} s," for engine in ENGINES)
        + f" ratio {best[ENGINES[1]] / best[ENGINES[0]]:.1f} / {middle[ENGINES[1]] / middle[ENGINES[0]]:.1f},"
        + f" processor {processor[ENGINES[0]]:.2f} and {processor[ENGINES[1]]:.2f} s,"
        + f" {1000 * best[ENGINES[0]] / count:.2f} ms a pick, memory {part:.2f} of the embeddings,"
        + f" load {os.getloadavg()[0]:.1f}, "
        + ("identical picks" if differ is None else f"picks differ from the {differ}-th on"),
        flush=True,
    )


def shards(folder: Path) -> None:
    """What picking from the picks of shards loses of the covering radius."""
    from alrun.learn.selection.merging import covering_radius, merge  # noqa: PLC0415

    images, columns, count = 100_000, 128, 500
    path = folder / f"{images}x{columns}.npy"
    if not path.exists():
        make(path, images, columns)
    points = np.load(path, mmap_mode="r")
    exact = covering_radius(points, np.array(ours(path, count, weighted=False)[0]))
    print(f"{images} x {columns}, {count} picks, covering radius: whole {exact:.4f}", flush=True)
    for number in (4, 16):
        parts = []
        for rows in np.array_split(np.arange(images), number):
            np.save(folder / "shard.npy", points[rows])
            parts.append(rows[ours(folder / "shard.npy", count, weighted=False)[0]])
        found = covering_radius(points, merge(points[np.concatenate(parts)], parts, count))
        print(f"  {number} shards {found:.4f}, {found / exact - 1:+.2%}", flush=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=SIZES, help="images x columns x picks")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--weights", action="store_true", help="diversity and weights")
    parser.add_argument("--engine", choices=ENGINES, help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--shards", action="store_true", help="only the loss of shards")
    arguments = parser.parse_args()
    if arguments.engine:
        child(arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        if arguments.shards:
            shards(Path(folder))
            return
        for size in arguments.sizes:
            compare(size, arguments.repeat, arguments.weights, Path(folder))


if __name__ == "__main__":
    main()
