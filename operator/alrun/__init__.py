"""Active learning for computer vision, declared as one Kubernetes resource."""

__version__ = "0.1.0"
