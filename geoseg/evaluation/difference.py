"""Split the disagreement of two maps into quantity, exchange and shift."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from geoseg.evaluation.accuracy import defined


@dataclass(frozen=True)
class Difference:
    """How much two maps differ, and in what way; shares of what was compared (0..1).

    Quantity + exchange + shift = disagreement, of the whole and of each class. NaN if nothing was
    compared. Source: Pontius & Santacruz 2014, International Journal of Remote Sensing 35(21),
    doi 10.1080/2150704X.2014.969814; Pontius & Millones 2011 for quantity.
    """

    disagreement: float
    quantity: float
    """What comes of one map having more of a class than the other."""
    exchange: float
    """Pairs of pixels that are swapped: A for B here, B for A there."""
    shift: float
    """The rest: classes trade places in rings of three and more."""
    by_class: np.ndarray
    """(K, 3) quantity, exchange and shift of each class. They add up to twice the whole's, since a
    pixel that differs concerns two classes."""

    @classmethod
    def of(cls, matrix: np.ndarray) -> Difference:
        """From a matrix (K, K) of pixels, hectares or shares; which map is the rows' is no matter.

        Raises: ValueError if the matrix is not square.
        """
        matrix = np.asarray(matrix, np.float64)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"a matrix {matrix.shape}: expected as many rows as columns")
        total = matrix.sum()
        if not total > 0:
            nothing = np.full((len(matrix), 3), np.nan)
            return cls(np.nan, np.nan, np.nan, np.nan, nothing)
        off = matrix / total
        np.fill_diagonal(off, 0.0)
        lost, gained = off.sum(axis=1), off.sum(axis=0)
        quantity = np.abs(gained - lost)
        exchange = 2 * np.minimum(off, off.T).sum(axis=1)
        # What is left of sums of shares may be a hair below nothing.
        shift = np.maximum(lost + gained - quantity - exchange, 0.0)
        shift[shift < 1e-12] = 0.0
        by_class = np.stack((quantity, exchange, shift), axis=1)
        parts = (float(part) for part in by_class.sum(axis=0) / 2)
        return cls(float(off.sum()), next(parts), next(parts), next(parts), by_class)

    def to_dict(self, names: list[str]) -> dict[str, Any]:
        """For JSON; None where nothing was compared."""
        whole = ("disagreement", "quantity", "exchange", "shift")
        return {
            **{name: defined(getattr(self, name)) for name in whole},
            "classes": [
                {"name": name, **dict(zip(whole[1:], map(defined, row), strict=True))}
                for name, row in zip(names, self.by_class.tolist(), strict=True)
            ],
        }

    def __str__(self) -> str:
        if np.isnan(self.disagreement):
            return "disagreement –"
        return (
            f"disagreement {self.disagreement:.3f} = quantity {self.quantity:.3f}"
            f" + exchange {self.exchange:.3f} + shift {self.shift:.3f}"
        )
