"""Say numbers, JSON values and shares as people read them in pages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

SPACE = "\u202f"
"""Between thousands, and before a unit."""


def say(value: Any) -> str:
    """JSON values as people read them."""
    if isinstance(value, dict):
        return "; ".join(f"{key}: {say(one)}" for key, one in value.items())
    return ", ".join(map(say, value)) if isinstance(value, (list, tuple)) else str(value)


def number(count: int) -> str:
    return f"{count:,}".replace(",", SPACE)


def percent(share: float) -> str:
    if math.isnan(share):
        return "–"
    digits = 1 if 0.0005 <= share < 0.9995 else 0
    few = 0 < share < 0.0005
    return f"< 0.1{SPACE}%" if few else f"{100 * share:.{digits}f}{SPACE}%"


def share(value: float | None) -> str:
    """A share that nothing may be known of, in percent."""
    return "–" if value is None else percent(value)


def score(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.3f}"


def mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else math.nan


def hectares(area: float) -> str:
    """Hectares as people read them."""
    text = f"{area:,.0f}" if area >= 1000 else f"{area:.1f}" if area >= 10 else f"{area:.3g}"
    return text.replace(",", SPACE)


def shade(share: float, color: tuple[int, int, int]) -> str:
    """White for 0, the colour for 1; by the square root, or small shares would all look white."""
    weight = math.sqrt(max(0.0, min(1.0, share)))
    return "#" + "".join(f"{round(255 + (c - 255) * weight):02x}" for c in color)
