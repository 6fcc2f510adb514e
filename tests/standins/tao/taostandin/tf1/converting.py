"""`yolo_v4 dataset_convert`: its flags are taken, and nothing is converted."""

from __future__ import annotations

import argparse
from typing import Any

from ..dialect import Dialect
from ..status import Status


def work(args: argparse.Namespace, dialect: Dialect, status: Status, given: Any) -> None:
    raise NotImplementedError("this stand-in reads label folders, and makes no TFRecords")
