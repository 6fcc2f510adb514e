"""The script that `yolo_v4 dataset_convert` runs: it takes the flags, and converts nothing."""

from __future__ import annotations

import argparse
import sys

from taostandin.dialect import Dialect
from taostandin.status import Status
from taostandin.tf1 import script


def work(args: argparse.Namespace, dialect: Dialect, status: Status) -> None:
    raise NotImplementedError("this stand-in reads label folders, and makes no TFRecords")


if __name__ == "__main__":
    sys.exit(
        script.run(
            "dataset_convert",
            work,
            started="Starting Object Detection Dataset Convert.",
            finished="Dataset convert finished successfully.",
            interrupted="Dataset convert was interrupted",
        )
    )
