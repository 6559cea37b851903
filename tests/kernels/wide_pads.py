"""Convolutions with as many zeros around their input as its kernel is large, or more."""

from __future__ import annotations

from typing import Any

from tests.kernels.support import V

CASES: dict[str, dict[str, Any]] = {
    "pads as the kernel": {"shape": (2, V, 6, 7), "oc": V + 1, "kernel": (3, 3), "pads": (3, 3, 3, 3)},
    "pads beyond the kernel": {"shape": (1, 2, 5, 6), "oc": 5, "kernel": (2, 3), "pads": (5, 6, 7, 4)},
    "pads far beyond the image": {"shape": (2, 3, 2, 1), "oc": 3, "kernel": (3, 3), "pads": (11, 11, 20, 20)},
    "even kernel, wide pads, strides": {
        "shape": (2, V + 1, 7, 9), "oc": V, "kernel": (4, 2), "stride": (3, 2), "pads": (7, 7, 4, 4),
    },
    "1x1, wide pads, strides": {
        "shape": (1, 3, 4, 5), "oc": 4, "kernel": (1, 1), "stride": (2, 3), "pads": (5, 5, 7, 7),
    },
    "windows beside the image": {
        "shape": (2, 2, 1, 2), "oc": 3, "kernel": (3, 2), "stride": (8, 9), "pads": (13, 13, 16, 16),
    },
    "pads on two sides": {"shape": (1, 2, 6, 5), "oc": 3, "kernel": (3, 3), "pads": (9, 9, 0, 0)},
}  # fmt: skip
