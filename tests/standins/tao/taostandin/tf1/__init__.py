"""TensorFlow 1: `yolo_v4`, a wrapper that runs a script for each action."""
