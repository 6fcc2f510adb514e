"""PyTorch: `rtdetr`, `dino` and `deformable_detr`, each a wrapper that runs a script for each subtask."""
