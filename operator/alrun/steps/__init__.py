"""What runs inside the Jobs."""
