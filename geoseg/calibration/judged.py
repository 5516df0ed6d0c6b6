"""Find the weights that a split may judge."""

from __future__ import annotations

from typing import Any

from geoseg.models.card import JUDGED, ModelCard, find_weights


def judged_by(checkpoint: Any, split: str) -> tuple[Any, list[str]]:
    """The checkpoint with weights that have not learnt from the split, where a run has such.

    checkpoint: run folder or weights file, or a list of these; a run whose own weights have learnt
    from val keeps those of before (fit.refit).
    Returns: it, and what is to be said. Raises: InputError for files that are no weights.
    """
    if split != "val":
        return checkpoint, []
    several = isinstance(checkpoint, (list, tuple))
    found, notes = [], []
    for part in checkpoint if several else [checkpoint]:
        path = find_weights(part)
        before = path.parent / JUDGED
        if ModelCard.read(path).refit and before.is_file():
            notes.append(
                f"{path} has learnt from val too (fit.refit), and is surer of its labels than of"
                f" others: calibrated are the weights of before, {before}"
            )
            part = str(before)
        found.append(part)
    return found if several else found[0], notes
