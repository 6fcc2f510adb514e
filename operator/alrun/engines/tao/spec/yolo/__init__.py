"""The protobuf text of yolo_v4."""
