"""What TAO says and leaves, understood: its output, status.json and training log."""
