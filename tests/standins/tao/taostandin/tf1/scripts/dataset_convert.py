"""What `yolo_v4 dataset_convert` runs."""

import sys

from taostandin.tf1.script import main

if __name__ == "__main__":
    sys.exit(main("dataset_convert"))
