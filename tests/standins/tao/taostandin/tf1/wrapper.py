"""`yolo_v4`: what the command itself does before and after the script of an action."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from .. import failures, gpus, telemetry
from ..dialect import current
from . import arguments


def main(prog: str, given: list[str]) -> int:
    """Run one action.

    Returns:
        0, also after an interruption; 255 when the script failed. Wrong arguments end the process with 2, a failed
        assertion or lookup with 1.
    """
    dialect = current()
    if prog not in dialect.networks:
        print(f"bash: {prog}: command not found", file=sys.stderr)
        return 127
    failures.slow_start(given[0] if given else "")
    args = vars(arguments.of_wrapper(dialect, prog).parse_args(given))
    count = args["gpus"]
    assert count > 0, "At least 1 GPU required to run any task."
    processes = args["num_processes"] if args["num_processes"] >= 0 else count
    # only the very first argument is looked at: `yolo_v4 --gpus 2 train` parses, and has no task
    task = given[0] if given and given[0] in arguments.ACTIONS else None
    if count > 1:
        assert task == "train", (
            f"Please use only 1 GPU for the task {task}. Only the following tasks are supported to run with multiple GPUs, "
            "['train']"
        )
    launcher = ""
    if processes > 1:
        assert count > 1, "Number of GPUs must be > 1 for data parallelized training(np > 1)."
        launcher = f"mpirun -np {processes} --oversubscribe --bind-to none --allow-run-as-root -mca pml ob1 -mca btl ^openib"
    if args["use_amp"]:
        assert task == "train", "AMP is currently supported only for training."
    environment = f"TF_ENABLE_AUTO_MIXED_PRECISION={int(args['use_amp'])}"
    if not args["multi_node"]:
        _check_gpus(count, args["gpu_index"] if args["gpu_index"] is not None else list(range(count)))
        environment += f" CUDA_VISIBLE_DEVICES={os.environ['CUDA_VISIBLE_DEVICES']}"
    scripts = {action: Path(__file__).parent / "scripts" / f"{action}.py" for action in arguments.ACTIONS}
    script = scripts[task]
    passed = _run(f"{launcher} bash -c '{environment} python {script} {_flags(args)}'", args["log_file"])
    if not telemetry.opted_out():
        print(telemetry.FAILED)
        print(f"[WARNING]: {telemetry.REASON}")
    print(f"Execution status: {'PASS' if passed else 'FAIL'}", flush=True)
    return 0 if passed else 255


def _check_gpus(count: int, indices: list[int]) -> None:
    indices = sorted(set(indices))
    available = gpus.listed()
    assert min(indices) >= 0, "GPU ids cannot be negative."
    assert len(indices) == count, (
        f"The number of GPUs ({indices}) must be the same as the number of GPU indices ({count}) provided."
    )
    assert max(indices) < available, "Checking for valid GPU ids and num_gpus."
    assert count <= available, "Checking for valid GPU ids and num_gpus."
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, indices))


def _flags(args: dict[str, object]) -> str:
    """The arguments as text for a shell, with no quoting at all: this is what breaks on spaces and worse."""
    text = ""
    for name, value in args.items():
        if name in arguments.COMMON or value in (None, ""):
            continue
        if isinstance(value, bool):
            text += f"--{name} " if value else ""
        elif isinstance(value, list):
            text += f"--{name} {' '.join(value)} "
        else:
            text += f"--{name} {value} "
    return text


def _run(command: str, log: str | None) -> bool:
    sink = None
    try:
        words = shlex.split(command)
        if words[0] == "mpirun":
            words = words[words.index("bash") :]  # rank 0 alone does everything there is to see
        sys.stdout.flush()
        if log is not None:
            os.makedirs(os.path.dirname(os.path.realpath(log)), exist_ok=True)  # noqa: PTH103, PTH120
            sink = Path(log).open("a")  # noqa: SIM115 - closed below
        target = sink or sys.stdout
        subprocess.run(words, stdout=target, stderr=target, check=True)
    except (KeyboardInterrupt, SystemExit):
        print("Command was interrupted.")
    except subprocess.CalledProcessError:
        return False
    finally:
        if sink is not None:
            sink.close()
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
