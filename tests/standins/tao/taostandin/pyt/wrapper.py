"""The commands of the PyTorch images, as they are before and after the script of a subtask."""

from __future__ import annotations

import argparse
import ast
import contextlib
import logging
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import yaml

from .. import failures, gpus, telemetry
from ..dialect import Dialect, current

logger = logging.getLogger("TAO Toolkit")
_SUBTASKS = ("evaluate", "export", "inference", "train")
_BAR = re.compile(r"Epoch \d+: \s*\d+%|\[.*\]")
_RUNNER = Path(__file__).parent / "scripts"


def main(network: str, given: list[str]) -> int:
    """Run one subtask: 0, 1 when it failed or has no spec, 2 for arguments that the wrapper refuses."""
    dialect = current()
    if network not in dialect.networks:
        print(f"bash: {network}: command not found", file=sys.stderr)
        return 127
    logging.basicConfig(
        format="[%(asctime)s - TAO Toolkit - %(name)s - %(levelname)s] %(message)s", level="INFO", stream=sys.stdout
    )
    args, others = _parser(network, dialect).parse_known_args(given)
    failures.slow_start(args.subtask)
    if args.experiment_spec_file is None:
        print(f"ERROR: The subtask `{args.subtask}` requires the following argument: -e/--experiment_spec_file")
        return 1
    if not Path(args.experiment_spec_file).exists():
        print(f"ERROR: The indicated experiment spec file `{args.experiment_spec_file}` doesn't exist!")
        return 1
    call = _call(network, dialect, args, others)
    sys.stdout.flush()
    if dialect.hydra:
        passed = _relayed(call, dialect)
        say = logger.info if passed else logger.warning
    else:
        passed = _shell(call)
        say = print  # type: ignore[assignment]
    if not telemetry.opted_out():
        warn = logger.warning if dialect.hydra else print
        warn(telemetry.FAILED)
        warn(f"[Error]: {telemetry.REASON}")
    say(f"Execution status: {'PASS' if passed else 'FAIL'}")
    return 0 if passed else 1


def _parser(network: str, dialect: Dialect) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(network, add_help=True, description="TAO Toolkit")
    parser.add_argument(
        "subtask", default="train", choices=(*_SUBTASKS, *(["default_specs"] if dialect.name == "pyt7" else []))
    )
    parser.add_argument("-e", "--experiment_spec_file", default=None)
    if not dialect.hydra:
        parser.add_argument("-r", "--results_dir", default=None)
        parser.add_argument("--gpus", type=int, default=None)
        parser.add_argument("--num_nodes", type=int, default=None)
        parser.add_argument("-k", "--key")
    return parser


def _call(network: str, dialect: Dialect, args: argparse.Namespace, others: list[str]) -> str:
    """The command line of the script, one text: what is unknown is handed on as it is, with nothing quoted."""
    folder, name = os.path.split(args.experiment_spec_file)
    text = f"{_RUNNER / 'run.py'}"
    if folder:
        text += f" --config-path {os.path.realpath(folder)}"
    text += f" --config-name {name}"
    os.environ["TAO_STANDIN_TASK"] = f"{network} {args.subtask}"
    if not dialect.hydra:
        if args.results_dir:
            text += f" results_dir={args.results_dir}"
        if args.gpus and args.subtask in {"train", "evaluate", "inference"}:
            text += f" {args.subtask}.num_gpus={args.gpus}"
        if args.num_nodes and args.subtask == "train":
            text += f" train.num_nodes={args.num_nodes}"
        if args.key is not None:
            text += f" encryption_key={args.key}"
        os.environ["TAO_VISIBLE_DEVICES"] = ", ".join(map(str, range(args.gpus or 1)))
        return f"python {text} {' '.join(others)}"
    overrides = " " + " ".join(others)
    count, indices, nodes = _devices(args, overrides)
    if dialect.name == "pyt7" and os.environ.get("WORLD_SIZE"):
        count, indices, nodes = _multinode(args.experiment_spec_file, count, indices, nodes)
    os.environ["TAO_VISIBLE_DEVICES"] = str(indices)[1:-1]
    launcher = "python"
    if network == "rtdetr" and dialect.name == "pyt7":
        launcher = f"torchrun --nnodes={nodes} --nproc-per-node={count}"
    return f"{launcher} {text}{overrides}"


def _devices(args: argparse.Namespace, overrides: str) -> tuple[int, list[int], int]:
    """Number of GPUs, their indices and the number of nodes: of the overrides if any is there, else of the spec."""
    count, indices, nodes = 1, [0], 1
    if args.subtask in {"train", "evaluate", "inference"}:
        if any(word in overrides for word in ("num_gpus", "gpu_ids", "cuda_blocking")):
            if "num_gpus" in overrides:
                count = int(overrides.split("num_gpus=")[1].split(maxsplit=1)[0])
            if "gpu_ids" in overrides:
                indices = ast.literal_eval(overrides.split("gpu_ids=")[1].split(maxsplit=1)[0])
        else:
            spec = yaml.safe_load(Path(args.experiment_spec_file).read_text())
            task = spec.get(args.subtask, {})
            count, indices = task.get("num_gpus", count), task.get("gpu_ids", indices)
            nodes = task.get("num_nodes", nodes)
    if count != len(indices):
        logger.warning("Number of gpus %s != len(%s).", count, indices)
        count = max(count, len(indices))
        indices = list(range(count)) if len(indices) != count else indices
        logger.info("Using GPUs %s (total %s)", indices, count)
    return count, indices, nodes


def _multinode(spec_file: str, count: int, indices: list[int], nodes: int) -> tuple[int, list[int], int]:
    """What WORLD_SIZE does: the spec file is rewritten where it lies."""
    try:
        nodes = int(os.environ["WORLD_SIZE"])
        logger.warning("[Multinode] Overriding configs (num_nodes, num_gpus, gpu_ids) with environment variables.")
        count = int(os.environ.get("NUM_GPU_PER_NODE", len(gpus.present())))
        indices = list(range(count))
        spec: dict[str, Any] = yaml.safe_load(Path(spec_file).read_text())
        train = spec.get("train", {})
        train |= {
            name: value for name, value in (("num_nodes", nodes), ("num_gpus", count), ("gpu_ids", indices)) if name in train
        }
        if train:
            Path(spec_file).write_text(yaml.dump(spec | {"train": train}, default_flow_style=False))
    except (OSError, ValueError) as error:
        logger.warning("[Multinode] Error overriding configs: %s", error)
        logger.warning("[Multinode] Using default configs.")
        indices = gpus.present()
        return len(indices), indices, 1
    else:
        if nodes > 1:
            raise SystemExit("stand-in: WORLD_SIZE makes it wait for other nodes, which never come")
        return count, indices, nodes


@contextlib.contextmanager
def _also(dialect: Dialect) -> Iterator[TextIO | None]:
    """The second place that output goes to where a service runs the command, which JOB_ID tells."""
    job = os.environ.get("JOB_ID")
    if not job:
        yield None
        return
    root = os.environ.get("TAO_MICROSERVICES_TTY_LOG", "/results")
    with Path(f"{root}/{job}/microservices_log.txt" if dialect.tty_log else f"/{job}.txt").open("a") as file:
        yield file


def _relayed(call: str, dialect: Dialect) -> bool:
    """Run the script and pass its lines on; those with a progress bar lose their end, and overwrite one another."""
    try:
        with _also(dialect) as second:
            words = shlex.split(call)
            under_torchrun = words[0] == "torchrun"
            if under_torchrun:
                words = ["python", *words[3:]]
            process = subprocess.Popen(
                words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=1, text=True, errors="replace"
            )
            assert process.stdout
            for line in process.stdout:
                if "\r" in line or _BAR.search(line):
                    sys.stdout.write("\r" + line.strip())
                else:
                    sys.stdout.write(line)
                    if second:
                        second.write(line)
                sys.stdout.flush()
            code = process.wait()
            if code and under_torchrun:
                _torchrun_failed(words[1], code)
            if dialect.name == "pyt7":
                outcome = "completed successfully with return code 0" if code == 0 else f"completed with return code {code}"
                logger.info("Command %s", outcome)
            return code == 0
    except (KeyboardInterrupt, SystemExit):
        logger.exception("Command was interrupted")
        return True
    except OSError:
        if dialect.name != "pyt7":
            raise
        logger.exception("Command encountered an exception")
        return False


def _torchrun_failed(script: str, code: int) -> None:
    lines = [
        f"E torch/distributed/elastic/multiprocessing/api.py:882] failed (exitcode: {code}) local_rank: 0 (pid: 31)",
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError:",
        "=" * 60,
        f"{script} FAILED",
        "-" * 60,
        "Root Cause (first observed failure):",
        f"  exitcode  : {code} (pid: 31)",
        "=" * 60,
    ]
    print("\n".join(lines), flush=True)


def _shell(call: str) -> bool:
    """The older way: a shell takes the text."""
    try:
        subprocess.check_call(call, shell=True, stdout=sys.stdout, stderr=sys.stdout)
    except (KeyboardInterrupt, SystemExit):
        print("Command was interrupted.")
    except subprocess.CalledProcessError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
