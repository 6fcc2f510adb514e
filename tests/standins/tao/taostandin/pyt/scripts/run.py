"""The script of every network's every subtask: the wrapper says which, in TAO_STANDIN_TASK."""

from __future__ import annotations

import os
import sys
import warnings

from hydra._internal.utils import _run_hydra, get_args_parser
from hydra.core.config_store import ConfigStore

from taostandin.dialect import current
from taostandin.pyt import config, workflow


def main() -> None:
    network, task = os.environ["TAO_STANDIN_TASK"].split()
    warnings.filterwarnings("ignore", category=UserWarning)  # hydra's, on how the real programs use it
    parser = get_args_parser()
    args = parser.parse_args()
    args.overrides += ["hydra.output_subdir=null", "hydra/job_logging=stdout", "hydra.run.dir=."]
    # a schema stored by the name of the file is what makes hydra check the file against it
    ConfigStore.instance().store(name=args.config_name, node=config.schema(network, current()))
    args.parse_args = lambda *_, **__: args
    _run_hydra(
        args=args,
        args_parser=parser,
        task_function=workflow.monitored(network, task, current()),
        config_path=".",
        config_name=args.config_name,
    )


if __name__ == "__main__":
    sys.exit(main())
