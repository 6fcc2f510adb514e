"""The open engine: every step runs in our own worker image, without an account or a GPU."""
