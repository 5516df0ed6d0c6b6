"""Write an explanation as one self-contained HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from geoseg.evaluation.pictures import uri
from geoseg.explanation.importance import Importance
from geoseg.explanation.result import Explained, Explanation
from geoseg.explanation.settings import GRADCAM, GRADIENTS, OCCLUSION
from geoseg.outputs.page import png_uri, write_page

MEANINGS = {
    OCCLUSION: "red: hiding it makes the class less probable; blue: more",
    GRADCAM: "dark: deep features here raise the class",
    GRADIENTS: "red: the values here speak for the class; blue: against it",
}


def write(path: Path, made: Explanation, about: dict[str, Any]) -> None:
    """Write the page beside the charts that it shows. Raises: InputError."""
    folder = path.parent
    content = {
        "about": about,
        "made": made,
        "meanings": MEANINGS,
        "band_chart": png_uri((folder / "bands.png").read_bytes()) if made.bands else "",
        "date_chart": png_uri((folder / "dates.png").read_bytes()) if made.dates else "",
        "places": [_place(place) for place in made.places],
    }
    write_page(path, "geoseg.explanation", "explain.html", content)


def most(one: Importance, names: list[str]) -> str:
    """The class whose IoU falls most, for people."""
    falls = np.array(one.classes)
    if np.isnan(falls).all():
        return "–"
    place = int(np.nanargmax(falls))
    return f"{names[place]} ({falls[place]:.3f})"


def _place(place: Explained) -> dict[str, Any]:
    grey = place.picture.mean(0) / 255
    heats = {(h.class_name, h.kind): uri(h.picture(grey)) for h in place.heats}
    return {
        "title": place.title,
        "picture": uri(place.picture),
        "mapped": uri(place.mapped),
        "kinds": place.kinds,
        "rows": [
            (name, [heats[name, kind] for kind in place.kinds], place.bands.get(name, {}))
            for name in place.classes
        ],
        "gap": place.gap,
    }
