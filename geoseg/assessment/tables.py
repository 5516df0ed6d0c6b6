"""Write what was assessed as tables and as a layer of disagreements."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import shapely

from geoseg.assessment.figures import NOT_IN, Assessment
from geoseg.assessment.sampling import form
from geoseg.assessment.sampling.sample_file import centres
from geoseg.geo.layer_styles import add_style
from geoseg.geo.vector import Table, write_layers
from geoseg.outputs.csv_cells import write_csv


def write_tables(made: Assessment, out: Path) -> None:
    """Write the error matrices and the areas as CSV. Raises: InputError."""
    names = made.legend.names
    counts: list[list[Any]] = [
        ["map \\ reference", *names],
        *(
            [name, *values]
            for name, values in zip((*names, NOT_IN), made.counts.tolist(), strict=True)
        ),
    ]
    shares: list[list[Any]] = [
        ["map \\ reference", *names],
        *(
            [name, *(cell.value for cell in cells)]
            for name, cells in zip((*names, NOT_IN), made.cells, strict=True)
        ),
    ]
    header = ["class", "code", "map_ha", "area_ha", "se_ha", "margin_ha", "low_ha", "high_ha"]
    header += ["area_with_map_ha", "se_with_map_ha", "labels_ha"]
    areas: list[list[Any]] = [header]
    for c in made.classes:
        a, b = c.area, c.with_map
        line = [c.name, c.code, c.mapped, a.value, a.se, a.margin, a.low, a.high]
        areas.append([*line, b.value if b else "", b.se if b else "", c.labels])
    tables: dict[str, list[list[Any]]] = {
        "error_matrix_counts.csv": counts,
        "error_matrix_area.csv": shares,
        "areas.csv": areas,
    }
    for name, rows in tables.items():
        write_csv(out / name, rows)


def write_disagreements(made: Assessment, path: Path) -> None:
    """Write the points at which map and reference differ, in the colours of the reference.

    Raises: InputError if it can't be written.
    """
    file, references = made.sample, made.references
    index = np.full(256, len(made.legend))
    index[made.legend.codes] = np.arange(len(made.legend))
    mapped = index[made.codes]
    wrong = np.flatnonzero(references.done & (mapped != references.index))
    names = np.array([*made.legend.names, NOT_IN], object)
    key = file.key
    of_part = {part.number: part.name for part in file.parts}
    x, y = centres(file.grid, key.row[wrong], key.column[wrong])
    columns = {
        "id": key.id[wrong],
        "map": names[mapped[wrong]],
        "map_code": made.codes[wrong].astype(np.int32),
        "reference_name": names[references.index[wrong]],
        "reference": np.array(made.legend.codes)[references.index[wrong]].astype(np.int32),
        "stratum": [of_part[k] for k in key.stratum[wrong].tolist()],
    }
    table = Table(columns, shapely.points(x, y), file.grid.crs)
    layer = "disagreements"

    def styled(growing: Path) -> None:
        add_style(growing, layer, form.classes_qml(made.legend))

    write_layers(path, {layer: table}, last=styled)
