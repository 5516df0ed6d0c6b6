"""Find the weights that a split may judge."""

from __future__ import annotations

import filecmp
from typing import Any

from geoseg.models.card import BEST, JUDGED, find_weights


def judged_by(checkpoint: Any, split: str) -> tuple[Any, list[str]]:
    """The checkpoint with weights that have not learnt from the split, where a run has such.

    checkpoint: run folder or weights file, or a list of these. A run whose own weights have learnt
    from val keeps those of before (fit.refit); what was made of its weights is left as it is.
    Returns: it, and what is to be said. Raises: InputError for files that aren't there.
    """
    if split != "val":
        return checkpoint, []
    several = isinstance(checkpoint, (list, tuple))
    found, notes = [], []
    for part in checkpoint if several else [checkpoint]:
        path = find_weights(part)
        before = path.parent / JUDGED
        # While the second training is under way, the run's own are still those of before.
        if path.name == BEST and before.is_file() and not filecmp.cmp(path, before, shallow=False):
            notes.append(
                f"{path} has learnt from val too (fit.refit), whose labels it knows better than"
                f" others: val judges the weights of before, {before}"
            )
            part = str(before)
        found.append(part)
    return found if several else found[0], notes
