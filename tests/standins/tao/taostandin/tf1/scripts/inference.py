"""What `yolo_v4 inference` runs."""

import sys

from taostandin.tf1.script import main

if __name__ == "__main__":
    sys.exit(main("inference"))
