"""Write what stress did to a network as one self-contained HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from geoseg.outputs.page import png_uri, write_page
from geoseg.robustness.result import Stressed
from geoseg.robustness.settings import GRADIENT, PATCH, UNIVERSAL
from geoseg.robustness.tally import ATTACK, NATURAL, WORST, Figures
from geoseg.samples.corruptions import MEANINGS

ATTACKS = {
    "fgsm": "one step of full size (Goodfellow et al. 2015)",
    "pgd": "many small steps (Madry et al. 2018)",
    "segpgd": "many steps, first where the map is right (Gu et al. 2022)",
    "cospgd": "many steps, weighed by likeness to the label (Agnihotri et al. 2024)",
    WORST: "tile by tile the one that leaves the fewest right pixels",
    UNIVERSAL: "one change for all tiles",
    PATCH: "a square in the middle; what it hides does not count",
}
assert set(GRADIENT) < set(ATTACKS)


def write(path: Path, made: Stressed) -> None:
    """Write the page beside the pictures that it shows. Raises: InputError."""
    folder = path.parent
    run = next(iter(made.runs.values()))
    card = made.network.card
    content = {
        "made": made,
        "clean": made.clean,
        "worst": made.worst_kinds(),
        "names": card.legend.names,
        "colors": [one.color for one in card.legend.classes],
        "nature": [_block(run, kind, MEANINGS[kind]) for kind in run.kinds(NATURAL)],
        "attacks": [_block(run, kind, ATTACKS[kind]) for kind in run.kinds(ATTACK)],
        "pairs": made.pairs() if len(made.runs) > 1 else [],
        "units": [
            (band, [f"{epsilon * std:.3g}" for epsilon in made.settings.epsilon])
            for band, std in zip(card.bands, card.statistics.std, strict=True)
        ],
        "curves": png_uri((folder / "curves.png").read_bytes()),
        "calibration": png_uri((folder / "calibration.png").read_bytes()),
        "places": [
            (kind, what, png_uri((folder / "places" / f"{kind}.png").read_bytes()))
            for kind, what in made.places
        ],
    }
    write_page(path, "geoseg.robustness", "stress.html", content)


def _block(run: Figures, kind: str, meaning: str) -> dict[str, Any]:
    return {"kind": kind, "meaning": meaning, "rows": run.curve(kind)}
