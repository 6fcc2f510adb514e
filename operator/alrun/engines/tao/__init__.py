"""NVIDIA TAO: its containers, unmodified."""
