"""Distances as the textbook has them, in doubles."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hyperspace import Metric

Matrix = npt.NDArray[np.float64]


def distances(metric: Metric, query: Matrix, rows: Matrix) -> Matrix:
    """From a query to each row."""
    square = np.sum((rows - query) ** 2, axis=1)
    match metric:
        case "l2":
            found = np.sqrt(square)
        case "cosine":
            found = 1 - rows @ query / np.sqrt(np.sum(rows**2, axis=1) * np.sum(query**2))
        case "dot":
            found = -(rows @ query)
        case "poincare":
            found = np.arccosh(1 + 2 * square / ((1 - np.sum(query**2)) * (1 - np.sum(rows**2, axis=1))))
    return np.asarray(found, np.float64)
