"""How near the classes of a batch come to a target: what a wish for balance is measured by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FLOOR = 1e-8
"""Shares below this count as this: a class that nothing shows yet makes the divergence large, not infinite."""


class Balanced:
    """Sums over what is chosen of how much of each class it shows, and what an image would do to them."""

    def __init__(self, distributions: NDArray[np.float64], target: NDArray[np.float64], strength: float) -> None:
        self.strength = strength
        self._distributions = distributions
        self._target = target / target.sum()
        self._sums = np.zeros(len(target))

    def factor(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """1 / (1 + KL(target || classes of what is chosen with the image)), the divergence in bits."""
        sums = self._sums + self._distributions[rows]
        shares = np.maximum(sums / np.maximum(sums.sum(axis=1, keepdims=True), FLOOR), FLOOR)
        wanted = self._target > 0
        target = self._target[wanted]
        divergence = (target * np.log2(target / shares[:, wanted])).sum(axis=1)
        return np.asarray(1 / (1 + np.maximum(divergence, 0.0)))

    def take(self, index: int) -> None:
        """Count an image as chosen."""
        self._sums = self._sums + self._distributions[index]
