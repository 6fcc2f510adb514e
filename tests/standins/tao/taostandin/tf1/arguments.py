"""Flags of each action, in each release.

The parsers are built twice, as the real ones are: once below the wrapper's own, and once in the script that the
wrapper runs, which sees the long names only.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from ..dialect import Dialect

Parser = argparse.ArgumentParser


def _key(parser: Parser, dialect: Dialect) -> None:
    parser.add_argument("-k", "--key", type=str, required=dialect.key_required, default="")


def train(parser: Parser, dialect: Dialect) -> None:
    parser.add_argument("-e", "--experiment_spec_file", type=str, required=True)
    parser.add_argument("-r", "--results_dir", type=str, required=True)
    _key(parser, dialect)


def evaluate(parser: Parser, dialect: Dialect) -> None:
    parser.add_argument("-e", "--experiment_spec", type=str, required=True)
    parser.add_argument("-m", "--model_path", type=str, required=True)
    _key(parser, dialect)
    if dialect.name == "tao5":
        parser.add_argument("-r", "--results_dir", type=str, default=None)
        parser.add_argument("-i", "--image_dir", type=str, default=None, help=argparse.SUPPRESS)
        parser.add_argument("-l", "--label_dir", type=str, default=None, help=argparse.SUPPRESS)
        parser.add_argument("-b", "--batch_size", type=int, default=None, help=argparse.SUPPRESS)


def inference(parser: Parser, dialect: Dialect) -> None:
    parser.add_argument("-m", "--model_path", type=str, required=True)
    parser.add_argument("-i", "--image_dir", type=str, required=True)
    _key(parser, dialect)
    parser.add_argument("-e", "--experiment_spec", type=str, required=True)
    parser.add_argument("-t", "--threshold", type=float, default=0.3)
    if dialect.name == "tao5":
        parser.add_argument("-r", "--results_dir", type=str, default=None)
        parser.add_argument("-b", "--batch_size", type=int, default=1, help=argparse.SUPPRESS)
    else:
        parser.add_argument("-o", "--out_image_path", type=str, required=True)
        parser.add_argument("-l", "--out_label_path", type=str, default=None)


def prune(parser: Parser, dialect: Dialect) -> None:
    parser.add_argument("-m", "--model", type=str, required=True)
    parser.add_argument("-o", "--output_file", type=str, required=True)
    parser.add_argument("-e", "--experiment_spec_path", type=str, required=True)
    _key(parser, dialect)
    parser.add_argument("-n", "--normalizer", type=str, default="max")
    parser.add_argument("-eq", "--equalization_criterion", type=str, default="union")
    parser.add_argument("-pg", "--pruning_granularity", type=int, default=8)
    parser.add_argument("-pth", "--pruning_threshold", type=float, default=0.1)
    parser.add_argument("-nf", "--min_num_filters", type=int, default=16)
    parser.add_argument("-el", "--excluded_layers", type=str, nargs="*", default=[])
    if dialect.name == "tao5":
        parser.add_argument("--results_dir", type=str, default=None)
    parser.add_argument("-v", "--verbose", action="store_true")


def export(parser: Parser, dialect: Dialect) -> None:
    parser.add_argument("-m", "--model", type=str, required=True)
    _key(parser, dialect)
    parser.add_argument("-o", "--output_file", type=str, default=None)
    parser.add_argument("-e", "--experiment_spec", type=str, default=None)
    parser.add_argument("--cal_json_file", type=str, default="")
    parser.add_argument("--gen_ds_config", action="store_true")
    parser.add_argument("--static_batch_size", type=int, default=-1)
    parser.add_argument("--data_type", type=str, default="fp32", choices=["fp32", "fp16", "int8"])
    parser.add_argument("--cal_image_dir", type=str, default="")
    parser.add_argument("--cal_data_file", type=str, default="")
    parser.add_argument("--cal_cache_file", type=str, default="./cal.bin")
    parser.add_argument("--batches", type=int, default=10)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--engine_file", type=str, default=None)
    parser.add_argument("--force_ptq", action="store_true")
    parser.add_argument("-s", "--strict_type_constraints", action="store_true")
    parser.add_argument("-v", "--verbose", action="store_true")
    if dialect.name == "tao5":
        parser.add_argument("--target_opset", type=int, default=12)
        parser.add_argument("--results_dir", type=str, default=None)


def kmeans(parser: Parser, dialect: Dialect) -> None:
    parser.add_argument("-l", "--label_folders", type=str, required=True, nargs="+")
    parser.add_argument("-i", "--image_folders", type=str, required=True, nargs="+")
    parser.add_argument("-x", "--size_x", type=int, required=True)
    parser.add_argument("-y", "--size_y", type=int, required=True)
    parser.add_argument("-n", "--num_clusters", type=int, default=9)
    parser.add_argument("--max_steps", type=int, default=10000)
    parser.add_argument("--min_x", type=int, default=0)
    parser.add_argument("--min_y", type=int, default=0)
    if dialect.name == "tao5":
        parser.add_argument("--results_dir", type=str, default=None)


def dataset_convert(parser: Parser, dialect: Dialect) -> None:
    parser.add_argument("-d", "--dataset_export_spec", type=str, required=True)
    parser.add_argument("-o", "--output_filename", type=str, required=True)
    parser.add_argument("-f", "--validation_fold", type=int, default=None)
    parser.add_argument("-v", "--verbose", action="store_true")
    if dialect.name == "tao5":
        parser.add_argument("-r", "--results_dir", type=str, default=None)


ACTIONS: dict[str, Callable[[Parser, Dialect], None]] = {
    "train": train,
    "evaluate": evaluate,
    "inference": inference,
    "prune": prune,
    "export": export,
    "kmeans": kmeans,
    "dataset_convert": dataset_convert,
}
COMMON = frozenset(
    {"gpus", "gpu_index", "log_file", "use_amp", "multi_node", "mpirun_arg", "num_processes", "launch_cuda_blocking"}
)
"""What the wrapper keeps to itself."""


def of_action(action: str, dialect: Dialect, prog: str) -> Parser:
    """The parser of an action's script."""
    parser = Parser(prog=prog)
    ACTIONS[action](parser, dialect)
    return parser


def of_wrapper(dialect: Dialect, prog: str) -> Parser:
    """The wrapper's parser: every action takes the common flags too."""
    common = Parser(prog, add_help=True)
    common.add_argument("--num_processes", "-np", type=int, default=-1)
    common.add_argument("--gpus", type=int, default=1)
    common.add_argument("--gpu_index", type=int, nargs="+", default=None)
    common.add_argument("--use_amp", action="store_true", default=False)
    common.add_argument("--log_file", type=str, default=None)
    common.add_argument("--mpirun-arg", type=str, default="-x NCCL_SOCKET_IFNAME=^lo,docker", help=argparse.SUPPRESS)
    common.add_argument("--multi-node", action="store_true", default=False, help=argparse.SUPPRESS)
    common.add_argument("--launch_cuda_blocking", action="store_true", default=False, help=argparse.SUPPRESS)
    actions = common.add_subparsers(title="tasks")
    for action, flags in sorted(ACTIONS.items(), reverse=True):
        flags(actions.add_parser(action, parents=[common], add_help=False), dialect)
    return common
