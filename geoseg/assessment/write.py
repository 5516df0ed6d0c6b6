"""Write an assessment to a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from geoseg.assessment.figures import Assessment
from geoseg.assessment.report import Report
from geoseg.assessment.tables import write_disagreements, write_tables
from geoseg.outputs.claims import claim
from geoseg.outputs.files import clearing, write_json
from geoseg.outputs.lock import alone
from geoseg.outputs.summary import Summary

REPORT = "report.html"
PRODUCTS = (
    *("error_matrix_counts.csv", "error_matrix_area.csv", "areas.csv", "disagreements.gpkg"),
    *("accuracy.json", REPORT),
)


@alone("assess", "out")
def write(
    made: Assessment, out: str | Path, settings: dict[str, Any], *, overwrite: bool = False
) -> Summary:
    """Write report, tables, JSON and a layer of disagreements.

    settings: what it was made with; another assessment in the folder is refused.
    Returns: figures as a text for people.
    Raises: InputError if the folder holds an assessment of other settings, or can't be written.
    """
    out = Path(out)
    with clearing(out, PRODUCTS):
        claim(out, settings, command="assess", products=PRODUCTS, overwrite=overwrite)
        write_tables(made, out)
        write_disagreements(made, out / "disagreements.gpkg")
        write_json(out / "accuracy.json", made.to_dict())
        Report(made).write(out / REPORT)
    summary = made.summary()
    summary.note(f"report: {out / REPORT} (open it in a browser)")
    summary.note(f"where map and reference differ: {out / 'disagreements.gpkg'} (open it in QGIS)")
    return summary
