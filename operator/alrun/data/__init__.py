"""Label formats, and the stores that files are in."""
