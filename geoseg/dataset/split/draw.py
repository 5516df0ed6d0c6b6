"""Draw which split, or fold, each unit goes to, so that all get of every class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def share_out(
    counts: Mapping[Any, np.ndarray], shares: Mapping[Any, float], *, seed: int | Sequence[int]
) -> dict[Any, Any]:
    """Draw a share for each unit so that every class is shared out as asked.

    Large units first, each to the share that it brings nearest to what was asked, in squares of the
    differences (as seats by Sainte-Laguë; in the order of Sechidis et al. 2011): so a unit that is
    larger than a small share does not go there. Then a share that got nothing of a class gets its
    smallest unit that can be spared.
    counts: unit → its amount of each class (K,). shares: name → share above 0; together 1.
    Returns: unit → name of its share.
    """
    if not counts:
        return {}
    total = np.maximum(np.sum(list(counts.values()), axis=0), 1).astype(float)
    random = np.random.default_rng(seed)
    keys = sorted(counts)
    keys = [keys[i] for i in random.permutation(len(keys))]
    keys.sort(key=lambda key: -float((counts[key] / total).max()))
    filled = {name: np.zeros_like(total) for name in shares}
    drawn = {}
    for key in keys:
        weight = counts[key] / total
        lack = {
            name: float(((share - filled[name] - weight / 2) / share * weight).sum())
            for name, share in shares.items()
        }
        best = max(lack.values())
        choice = [name for name in shares if lack[name] >= best - 1e-12]
        drawn[key] = choice[int(random.integers(len(choice)))]
        filled[drawn[key]] += weight
    _spread(drawn, {key: counts[key] > 0 for key in reversed(keys)}, shares)
    return drawn


def _spread(
    drawn: dict[Any, Any], has: Mapping[Any, np.ndarray], shares: Mapping[Any, float]
) -> None:
    """Move units, so that as many shares as can be have something of each class.

    has: unit → which classes (K,) it holds, small units first.
    """
    held = {name: np.zeros(len(next(iter(has.values()))), int) for name in shares}
    for key, name in drawn.items():
        held[name] += has[key]
    for place in np.argsort(sum(held.values()), kind="stable"):
        for name in sorted(shares, key=lambda name: -shares[name]):
            if held[name][place]:
                continue
            # No share gives the last that it has of anything.
            spare = (
                key for key, of in has.items() if of[place] and (held[drawn[key]][of] > 1).all()
            )
            key = next(spare, None)
            if key is not None:
                held[drawn[key]] -= has[key]
                held[name] += has[key]
                drawn[key] = name
