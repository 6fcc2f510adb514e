"""The YAML of rtdetr, dino and deformable_detr."""
