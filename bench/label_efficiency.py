"""How good a model becomes by the images that a rule picks: rules against random ones, at equal boxes.

    python bench/label_efficiency.py --out DIR [--set generated:7] [--data FOLDER --format VOC] [--rules Random,Default]

Every data set is gone through seed by seed, every seed by all rules: cycle 0 on images drawn at random, which all rules of a
seed share, and then cycles in each of which the rule picks a batch. A finished training is a line in DIR; the same command
goes on where it was stopped, and with more seeds or rules adds what is missing. At the end (or at once, with --report) it
writes DIR/figures.md and a drawing for each set. See docs/label-efficiency.md for the method.
"""

from __future__ import annotations

import sys

# The folder of this file holds operator.py, which must not stand in for the standard library's module.
sys.path.insert(0, sys.path.pop(0).removesuffix("bench"))

import argparse
import os
from pathlib import Path

import jax
from bench.efficiency import sets
from bench.efficiency.figures import written
from bench.efficiency.loops import Journal, Loop, Plan
from bench.efficiency.rules import RULES

from alrun.api.spec import LabelFormat

_NUMBERS = ("first", "batch", "cycles", "first_iterations", "iterations", "batch_size", "channels")
"""Fields of `Plan` that can be given."""


def main() -> int:
    """Run the loops that are missing, then write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of trainings and figures; may hold earlier ones")
    parser.add_argument("--set", dest="sets", action="append", default=[], help="generated:SEED; may be repeated")
    parser.add_argument(
        "--data", type=Path, action="append", default=[], help="folder of images and labels; may be repeated"
    )
    parser.add_argument("--format", type=str.upper, choices=[one.value for one in LabelFormat], default="VOC")
    parser.add_argument("--group-by", help="regular expression of an image's group in --data (each image one of its own)")
    parser.add_argument("--images", type=int, default=700, help="images of a generated set (700)")
    parser.add_argument("--rules", default="Random,Coral,Herding,Default", help=f"of {', '.join(RULES)}")
    parser.add_argument("--seeds", default="0-4", help="first and last one (0-4)")
    for name in _NUMBERS:
        default = getattr(Plan, name)
        parser.add_argument("--" + name.replace("_", "-"), type=int, default=default, help=f"({default})")
    parser.add_argument("--report", action="store_true", help="train nothing, write the figures of what is there")
    given = parser.parse_args()
    rules = given.rules.split(",")
    if unknown := [name for name in rules if name not in RULES]:
        parser.error(f"no rule is called {', '.join(unknown)}; there are {', '.join(RULES)}")
    low, _, high = given.seeds.partition("-")
    fields = {
        name: getattr(given, name)
        for name in ("first", "batch", "cycles", "first_iterations", "iterations", "batch_size", "channels")
    }
    plan = Plan(**fields)
    given.out.mkdir(parents=True, exist_ok=True)
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = str(given.out.resolve() / "compiled")
        jax.config.update("jax_compilation_cache_dir", folder)  # type: ignore[no-untyped-call]  # JAX leaves it without types
    if not given.report:
        found = [_generated(name, given.images, plan, given.out) for name in given.sets]
        found += [
            sets.folder(place, LabelFormat(given.format), given.group_by, plan.width, plan.height) for place in given.data
        ]
        for data in found:
            journal = Journal(given.out, data.name, plan)
            for seed in range(int(low), int(high or low) + 1):
                for record in Loop(data, plan, seed, journal).run({name: RULES[name] for name in rules}):
                    print(
                        "{set} seed {seed} {rule} cycle {cycle}: {images} images, {boxes} boxes, mAP50 {map50:.3f}, "
                        "{seconds} s at a load of {load}".format(**record),
                        flush=True,
                    )
    print(written(given.out))
    return 0


def _generated(name: str, images: int, plan: Plan, out: Path) -> sets.DataSet:
    kind, _, seed = name.partition(":")
    if kind != "generated" or not seed.isdigit():
        raise SystemExit(f"error: --set {name}: a set is generated:SEED; folders are named by --data")
    path = out / f"{kind}-{seed}-{images}-{plan.width}x{plan.height}.npz"
    return sets.kept(path, lambda: sets.generated(int(seed), images, plan.width, plan.height))


if __name__ == "__main__":
    sys.exit(main())
