"""Train once more on train and val together."""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from geoseg.models.card import BEST, JUDGED
from geoseg.outputs.counted import counted
from geoseg.outputs.files import replacing
from geoseg.training.run.history import History
from geoseg.training.settings import Fit

FOLDER = Path(JUDGED).parent.name
"""Of the second training, in the run's."""
FIRST = 0.45
"""Share of fit.max_minutes that the first training gets: the second has more samples."""


def first(fit: Fit) -> Fit:
    """The loop of the training that val judges."""
    if not fit.refit or fit.max_minutes is None:
        return fit
    return replace(fit, max_minutes=FIRST * fit.max_minutes)


def judged_weights(folder: Path) -> Path:
    """The weights of a run's first training, whether the second has taken their place or not."""
    own = folder / JUDGED
    return own if own.exists() and _is_replaced(folder) else folder / BEST


def _is_replaced(folder: Path) -> bool:
    """Whether the weights of the second training are those of the run."""
    again = folder / FOLDER / BEST
    return again.exists() and filecmp.cmp(again, folder / BEST, shallow=False)


def second(fit: Fit, history: History, folder: Path, train: Callable[[Path, Fit], object]) -> str:
    """Train again and put the weights in the place of the first ones.

    fit: of the first training, whose history it is. folder: of the run.
    train: (folder, loop) → leaves weights in the folder, or finds that they are there.
    Returns: what is to be said.
    """
    epochs = history.best_epoch
    # Its schedule is that of the first one up to there; nothing but the epochs ends it.
    own = replace(fit, epochs=epochs, max_minutes=None, patience=0, logger="none", pictures=0)
    place = folder / FOLDER
    if not _is_replaced(folder):
        kept = folder / JUDGED
        if kept.exists() and not filecmp.cmp(kept, folder / BEST, shallow=False):
            shutil.rmtree(place)  # the first training went on, and came to other weights
        place.mkdir(exist_ok=True)
        _copy(folder / BEST, kept)
    train(place, own)
    _copy(place / BEST, folder / BEST)
    return f"trained once more on train and val: {counted(epochs, 'epoch')}; scores are of before"


def below(said: str, text: str) -> str:
    """What was said, and a text below it: below tables stands an empty line."""
    if not said:
        return text
    return f"{said}\n\n{text}" if "\n\n" in said else f"{said}\n{text}"


def _copy(source: Path, target: Path) -> None:
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)
