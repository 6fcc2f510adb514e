"""The arithmetic of Lightly's engine, rounding for rounding, so that its picks can be had to the last one.

Lightly computes in float32 and compares logarithms of growing sums. After some hundred picks a sum is so large that
several images a step have equal scores, and the first of them is picked: which ones are equal is a matter of how each
number is rounded. What is written here was found by bisecting the engine's decisions (lightly-mundig 0.1.16):

* a squared distance is (|x|^2 - 2 x.c) + |c|^2, never below 0; x is the image, c the chosen one,
* a scalar product of less than 32 columns is summed in 8 lanes; from 32 columns on it is left to Intel MKL, whose order
  depends on the processor. This is the order of one with AVX-512: 4 times 16 lanes, multiplied and added in one rounding.
  On another processor, Lightly's own distances differ in the last digit, and seldom a pick with them,
* sums are taken one after another in the order of picking,
* logarithms are those of the C library (glibc's logf, whose polynomial is exact to 0.82 units in the last place).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Single = NDArray[np.float32]

FLOOR = np.float32(1e-8)
"""Values below this count as this, so that a wish that is not served at all cannot silence the others."""

_LANES, _WIDE, _WIDE_FROM = 8, 64, 32

_LN2 = float.fromhex("0x1.62e42fefa39efp-1")
_LOG_OFFSET = 0x3F330000


def _numbers(text: str) -> NDArray[np.float64]:
    return np.array([float.fromhex(one) for one in text.split()])


_LOG_POLYNOMIAL = _numbers("-0x1.00ea348b88334p-2 0x1.5575b0be00b6ap-2 -0x1.ffffef20a4123p-2")
_LOG_INVERSE = _numbers(
    "0x1.661ec79f8f3bep+0 0x1.571ed4aaf883dp+0 0x1.49539f0f010bp+0 0x1.3c995b0b80385p+0 "
    "0x1.30d190c8864a5p+0 0x1.25e227b0b8eap+0 0x1.1bb4a4a1a343fp+0 0x1.12358f08ae5bap+0 "
    "0x1.0953f419900a7p+0 0x1p+0 0x1.e608cfd9a47acp-1 0x1.ca4b31f026aap-1 "
    "0x1.b2036576afce6p-1 0x1.9c2d163a1aa2dp-1 0x1.886e6037841edp-1 0x1.767dcf5534862p-1"
)
_LOG_OF_INVERSE = _numbers(
    "-0x1.57bf7808caadep-2 -0x1.2bef0a7c06ddbp-2 -0x1.01eae7f513a67p-2 -0x1.b31d8a68224e9p-3 "
    "-0x1.6574f0ac07758p-3 -0x1.1aa2bc79c81p-3 -0x1.a4e76ce8c0e5ep-4 -0x1.1973c5a611cccp-4 "
    "-0x1.252f438e10c1ep-5 0x0p+0 0x1.aa5aa5df25984p-5 0x1.c5e53aa362eb4p-4 "
    "0x1.526e57720db08p-3 0x1.bc2860d22477p-3 0x1.1058bc8a07ee1p-2 0x1.4043057b6ee09p-2"
)


def log(values: Single) -> Single:
    """Natural logarithm of positive, finite, normal float32 numbers, rounded as glibc's logf rounds."""
    bits = values.view(np.int32)
    shifted = bits - np.int32(_LOG_OFFSET)
    which = (shifted >> 19) & 15
    exponent = shifted >> 23
    z = (bits - (exponent << 23)).view(np.float32).astype(np.float64)
    r = z * _LOG_INVERSE[which] - 1.0
    start = _LOG_OF_INVERSE[which] + exponent * _LN2
    r2 = r * r
    a, b, c = _LOG_POLYNOMIAL.tolist()
    return np.asarray((a * r2 + (b * r + c)) * r2 + (start + r), np.float32)


def products(left: Single, right: Single) -> Single:
    """Scalar products row by row: [n, d], [n, d] or [d] -> [n]."""
    columns = left.shape[1]
    return _narrow(left * right, columns) if columns < _WIDE_FROM else _wide(left, right, columns)


def norms(points: Single) -> Single:
    """Squared lengths: [n, d] -> [n]."""
    return products(points, points)


def squared(points: Single, points_norms: Single, centres: Single, centres_norms: Single) -> Single:
    """Squared distances row by row, as an image sees a chosen one: [n, d], [n], [n, d] or [d], [n] or one -> [n]."""
    found = points_norms - np.float32(2) * products(points, centres)
    found += centres_norms
    return np.maximum(found, np.float32(0), out=found)


def _narrow(terms: Single, columns: int) -> Single:
    whole = columns // _LANES * _LANES
    lanes = np.zeros((len(terms), _LANES), np.float32)
    for start in range(0, whole, _LANES):
        lanes += terms[:, start : start + _LANES]
    total = np.zeros(len(terms), np.float32)
    for lane in range(_LANES // 2):
        total += lanes[:, lane] + lanes[:, lane + _LANES // 2]
    for column in range(whole, columns):
        total += terms[:, column]
    return total


def _wide(left: Single, right: Single, columns: int) -> Single:
    exact = left.astype(np.float64)  # a product of two float32 numbers is exact in float64
    exact *= right
    lanes = np.zeros((len(left), _WIDE), np.float32)
    for start in range(0, columns, _WIDE):
        some = exact[:, start : start + _WIDE]
        lanes[:, : some.shape[1]] = some + lanes[:, : some.shape[1]]
    four = lanes.reshape(-1, 4, 16)
    sums = (four[:, 0] + four[:, 1]) + (four[:, 2] + four[:, 3])
    sums = sums[:, :8] + sums[:, 8:]
    sums = sums[:, :4] + sums[:, 4:]
    return np.asarray((sums[:, 0] + sums[:, 1]) + (sums[:, 2] + sums[:, 3]))
