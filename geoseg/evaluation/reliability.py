"""Measure whether confidences are what they say, and whether novel pixels are worse."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

BINS = 15
"""Of equal width, as most papers have it (Guo et al. 2017)."""
DRAWS = 200
"""Of labels that the confidences themselves give, for the null."""


@dataclass
class Reliability:
    """Confidences and hits, counted in bins of confidence; adds up over parts."""

    count: np.ndarray = field(default_factory=lambda: np.zeros(BINS, np.int64))
    """(BINS,) pixels."""
    confidence: np.ndarray = field(default_factory=lambda: np.zeros(BINS))
    """(BINS,) sum of confidences."""
    right: np.ndarray = field(default_factory=lambda: np.zeros(BINS, np.int64))
    """(BINS,) pixels whose class is right."""

    def add(self, confidence: np.ndarray, right: np.ndarray) -> None:
        """Count pixels: confidences 0..1 and whether the class is right, of one shape."""
        confidence = np.ravel(confidence).astype(np.float64)
        # Bins hold their upper edge, as (0, 1/15], (1/15, 2/15] …
        place = np.clip(np.ceil(confidence * BINS - 1e-9) - 1, 0, BINS - 1).astype(np.int64)
        self.count += np.bincount(place, minlength=BINS)
        self.confidence += np.bincount(place, confidence, minlength=BINS)
        self.right += np.bincount(place[np.ravel(right)], minlength=BINS)

    @classmethod
    def of(cls, confidence: np.ndarray, right: np.ndarray) -> Reliability:
        made = cls()
        made.add(confidence, right)
        return made

    @property
    def pixels(self) -> int:
        return int(self.count.sum())

    @property
    def ece(self) -> float:
        """Expected calibration error: mean |share of hits − mean confidence|; NaN of no pixels."""
        return self._error(self.right)

    def _error(self, right: np.ndarray) -> float:
        if not self.pixels:
            return float("nan")
        return float(np.abs(right - self.confidence).sum() / self.pixels)

    def null(self, draws: int = DRAWS, seed: int = 0) -> float:
        """Mean of the error if the confidences were right: what chance alone makes of so many."""
        if not self.pixels:
            return float("nan")
        rng = np.random.default_rng(seed)
        chance = np.clip(self.confidence / np.maximum(self.count, 1), 0, 1)
        right = rng.binomial(self.count, chance, size=(draws, len(self.count)))
        return float(np.mean(np.abs(right - self.confidence).sum(axis=1) / self.pixels))

    @property
    def debiased(self) -> float:
        """The error less its null, at least 0."""
        return max(0.0, self.ece - self.null()) if self.pixels else float("nan")

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe: None where undefined."""
        shares = np.maximum(self.count, 1)
        bins = [
            {
                "from": round(number / BINS, 6),
                "to": round((number + 1) / BINS, 6),
                "pixels": int(self.count[number]),
                "confidence": float(self.confidence[number] / shares[number]),
                "right": float(self.right[number] / shares[number]),
            }
            for number in range(BINS)
            if self.count[number]
        ]
        known = self.pixels > 0
        return {
            "ece": self.ece if known else None,
            "null": self.null() if known else None,
            "debiased": self.debiased if known else None,
            "bins": bins,
        }


NOVELTY_BINS = ((1, 50), (51, 90), (91, 99), (100, 100))
"""Ranks, first and last; 100 is beyond all that is known."""


@dataclass
class ByNovelty:
    """Hits, counted by how novel pixels are to the network; adds up over parts."""

    count: np.ndarray = field(default_factory=lambda: np.zeros(len(NOVELTY_BINS), np.int64))
    """Pixels of each of NOVELTY_BINS."""
    right: np.ndarray = field(default_factory=lambda: np.zeros(len(NOVELTY_BINS), np.int64))
    """Of these, pixels whose class is right."""

    def add(self, novelty: np.ndarray, right: np.ndarray) -> None:
        """Count pixels: novelty 1..100, and whether the class is right, of one shape."""
        place = np.searchsorted([last for _, last in NOVELTY_BINS], np.ravel(novelty))
        place = np.minimum(place, len(NOVELTY_BINS) - 1)
        self.count += np.bincount(place, minlength=len(NOVELTY_BINS))
        self.right += np.bincount(place[np.ravel(right)], minlength=len(NOVELTY_BINS))

    @property
    def novel_share(self) -> float:
        """Share of the pixels beyond all that is known; NaN of no pixels."""
        total = int(self.count.sum())
        return float(self.count[-1] / total) if total else float("nan")

    def to_list(self) -> list[dict[str, Any]]:
        """JSON-safe, one entry for each bin; accuracy None without pixels."""
        return [
            {
                "from": first,
                "to": last,
                "pixels": int(count),
                "overall_accuracy": float(right / count) if count else None,
            }
            for (first, last), count, right in zip(
                NOVELTY_BINS, self.count, self.right, strict=True
            )
        ]

    def __str__(self) -> str:
        parts = [
            f"{entry['overall_accuracy']:.1%} at {entry['from']}"
            + (f"–{entry['to']}" if entry["to"] != entry["from"] else " (novel)")
            for entry in self.to_list()
            if entry["pixels"]
        ]
        return f"right by novelty: {', '.join(parts)}; {self.novel_share:.1%} of the pixels novel"


def diagram(curves: dict[str, tuple[Reliability, str]], *, side: int = 300) -> str:
    """Reliability diagram as SVG. curves: name → reliability and colour, drawn in this order.

    A dot is a bin, its area as the share of the pixels.
    """
    left, bottom, span = 44, side - 36, side - 58

    def x(share: float) -> float:
        return left + span * share

    def y(share: float) -> float:
        return bottom - span * share

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side} {side}" width="{side}"'
        f' height="{side}" role="img" aria-label="reliability diagram" font-family="inherit"'
        ' font-size="11" fill="#1d2730">'
    ]
    parts += [
        f'<path d="M{x(tick):.1f} {y(0):.1f}V{y(1):.1f}M{x(0):.1f} {y(tick):.1f}H{x(1):.1f}"'
        ' stroke="#d9dfe4" fill="none"/>'
        f'<text x="{x(tick):.1f}" y="{y(0) + 14:.1f}" text-anchor="middle">{tick:g}</text>'
        f'<text x="{x(0) - 5:.1f}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
        for tick in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    parts.append(
        f'<path d="M{x(0):.1f} {y(0):.1f}L{x(1):.1f} {y(1):.1f}" stroke="#5b6873" fill="none"'
        ' stroke-dasharray="4 3"/>'
        f'<text x="{x(0.5):.1f}" y="{side - 6}" text-anchor="middle">confidence</text>'
        f'<text transform="translate(11 {y(0.5):.1f}) rotate(-90)" text-anchor="middle">'
        "share that is right</text>"
    )
    for number, (name, (found, color)) in enumerate(curves.items()):
        kept = found.count > 0
        sure = found.confidence[kept] / found.count[kept]
        right = found.right[kept] / found.count[kept]
        line = "L".join(f"{x(a):.1f} {y(b):.1f}" for a, b in zip(sure, right, strict=True))
        parts.append(f'<path d="M{line}" stroke="{color}" fill="none" stroke-width="1.5"/>')
        radii = 2 + 8 * np.sqrt(found.count[kept] / max(1, found.pixels))
        parts += [
            f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="{radius:.1f}" fill="{color}"'
            ' fill-opacity="0.6"/>'
            for a, b, radius in zip(sure, right, radii, strict=True)
        ]
        parts.append(
            f'<text x="{x(0.03):.1f}" y="{y(1) + 13 + 14 * number:.1f}" fill="{color}">'
            f"{name}: ECE {found.ece:.3f}</text>"
        )
    return "".join(parts) + "</svg>"
