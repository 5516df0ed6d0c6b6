"""Stress a network and write figures, curves, places and a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from geoseg import __version__
from geoseg.dataset.samples import unit_of
from geoseg.dataset.tiles import Dataset, said_of_changes_since
from geoseg.errors import Faults
from geoseg.geo import raster
from geoseg.models.settings import FOREST
from geoseg.outputs.claims import claim, follows, note_made, nothing_to_do
from geoseg.outputs.claims.fingerprint import fingerprint
from geoseg.outputs.csv_cells import write_csv
from geoseg.outputs.files import clearing, write_json
from geoseg.outputs.lock import alone
from geoseg.outputs.stamp import stamps
from geoseg.outputs.summary import Summary
from geoseg.prediction.network import TrainedNetwork
from geoseg.robustness import report
from geoseg.robustness.result import AGAINST, RUN, Stressed
from geoseg.robustness.settings import StressSettings
from geoseg.robustness.tally import ATTACK, NATURAL, Figures
from geoseg.samples.corruptions import SEVERAL_BANDS
from geoseg.samples.fitted import files_of, fitted, some_tiles

REPORT, RECORD, TABLE = "stress.html", "stress.json", "stress.csv"
CURVES, CALIBRATION, PLACES = "curves.png", "calibration.png", "places"
PRODUCTS = (REPORT, RECORD, TABLE, CURVES, CALIBRATION, PLACES)


@alone("stress", "out")
def stress(
    networks: Sequence[TrainedNetwork],
    dataset: str | Path,
    out: str | Path,
    *,
    split: str = "test",
    settings: StressSettings | None = None,
    overwrite: bool = False,
) -> Summary:
    """Measure how scores and calibration fall when tiles are made worse or attacked.

    networks: one, or two of the same classes, which are measured on the same tiles.
    Returns: what came out, as a text for people.
    Raises: InputError before the work if something does not suit, or `out` is of other settings.
    """
    settings, folder = settings or StressSettings(), Path(out)
    named = dict(zip((RUN, AGAINST), networks, strict=False))
    _check(named, dataset, split, settings)
    loaded = Dataset.load(dataset)
    faults = Faults()
    for one in networks:
        faults.attempt(fitted, loaded, one.card)
    faults.raise_if_any()
    tiles = some_tiles(loaded, split, settings.tiles, settings.seed)
    claimed = {
        "networks": [one.hash for one in networks],
        "dataset": str(dataset),
        "split": split,
        "stress": asdict(settings),
        "inputs": [fingerprint(path) for path in files_of(loaded, tiles) if path.is_file()],
    }
    if done := nothing_to_do(out, folder, claimed, command="stress"):
        return done
    overwrite = overwrite or follows(folder, claimed, command="stress")
    claim(folder, claimed, command="stress", products=PRODUCTS, overwrite=overwrite)
    with clearing(folder, PRODUCTS), raster.environment():
        made = _measured(named, loaded, tiles, split, settings, folder)
        _write(made, folder)
    written = [folder / name for name in PRODUCTS[:-1]]
    written += sorted((folder / PLACES).glob("*.png"))
    note_made(folder, stamps(folder, written), command="stress")
    summary = summary_of(made, folder)
    for text in said_of_changes_since(loaded):
        summary.warn(text)
    return summary


def _check(
    networks: dict[str, TrainedNetwork], dataset: str | Path, split: str, settings: StressSettings
) -> None:
    faults = Faults()
    for key, network in networks.items():
        name = "checkpoint" if key == RUN else key
        if network.others:
            faults.add(f"{name}: one network is stressed at a time; give one, or the other against")
        if network.card.series is not None:
            faults.add(
                f"{name} {network.source}: a network for series; geoseg.stress is for networks for"
                " images"
            )
        elif network.card.model.name == FOREST and settings.wanted:
            faults.add(
                f"stress.attacks: {network.source} is a forest, which has no gradients to attack it"
                " by; leave them out"
            )
    if not faults.found and unit_of(dataset) is not None:
        faults.add(
            f"dataset={dataset}: one of series; give the folder of geoseg.prepare that the network"
            " was trained on, or one like it"
        )
    if split not in ("train", "val", "test"):
        faults.add(f"split={split}: choose from train, val, test")
    if len(networks) > 1:
        one, two = (network.card.legend for network in networks.values())
        if one.meaning != two.meaning:
            faults.add(f"against: knows {two}, the run {one}; compare networks of the same classes")
    if not settings.kinds and not settings.wanted:
        faults.add("stress.kinds, stress.attacks: both are empty; nothing is left to be done")
    elif not settings.wanted and set(settings.kinds) <= set(SEVERAL_BANDS):
        for network in networks.values():
            if len(network.card.bands) == 1:
                faults.add(
                    f"stress.kinds: {', '.join(settings.kinds)} need several bands, and"
                    f" {network.source} sees {network.card.bands[0]} alone; choose others"
                )
    faults.raise_if_any()


def _measured(
    networks: dict[str, TrainedNetwork],
    dataset: Dataset,
    tiles: list[Any],
    split: str,
    settings: StressSettings,
    folder: Path,
) -> Stressed:
    # Only here torch loads: what could be wrong without it has been said.
    from geoseg.robustness.measure import Bench, measure
    from geoseg.robustness.places import write_places

    notes: list[str] = []
    benches = {name: Bench(one, dataset, tiles, settings) for name, one in networks.items()}
    network, bench = networks[RUN], benches[RUN]
    left_out = [kind for kind in settings.kinds if kind not in bench.kinds]
    if left_out:
        notes.append(f"left out, as there is one band: {', '.join(left_out)}")
    names = network.card.legend.names
    runs = {name: Figures(measure(one).rows(names)) for name, one in benches.items()}
    places = write_places(bench, folder / PLACES, [*bench.kinds])
    return Stressed(
        network, str(dataset.folder), split, len(tiles), settings, runs, tuple(notes), places
    )


def _write(made: Stressed, folder: Path) -> None:
    from geoseg.robustness.curves import draw_calibration, draw_scores

    colors = {one.name: one.color for one in made.network.card.legend.classes}
    draw_scores(made.runs, folder / CURVES, colors=colors)
    draw_calibration(made.runs, folder / CALIBRATION)
    rows = [{"run": name} | row.to_dict() for name, run in made.runs.items() for row in run.rows]
    write_csv(folder / TABLE, [rows[0], *(row.values() for row in rows)])
    write_json(folder / RECORD, record(made))
    report.write(folder / REPORT, made)


def record(made: Stressed) -> dict[str, Any]:
    """Everything that was found, as JSON values."""
    card = made.network.card
    return {
        "version": __version__,
        "checkpoint": str(made.network.source),
        "dataset": made.dataset,
        "split": made.split,
        "tiles": made.tiles,
        "stress": asdict(made.settings),
        "epsilon_in_units_of_the_bands": {
            band: [round(epsilon * std, 6) for epsilon in made.settings.epsilon]
            for band, std in zip(card.bands, card.statistics.std, strict=True)
        },
        "notes": list(made.notes),
        "before_and_after": made.pairs(),
        "runs": {name: [row.to_dict() for row in run.rows] for name, run in made.runs.items()},
    }


def summary_of(made: Stressed, folder: Path) -> Summary:
    summary = Summary()
    run = made.runs[RUN]
    shown = f"{made.tiles} tiles of {made.split}"
    if strengths := _strengths(run, NATURAL):
        header = ["mIoU by strength", "0", *(f"{value:g}" for value in strengths), "ECE at the end"]
        rows = [_line(run, kind) for kind, _ in made.worst_kinds()]
        summary.table(f"What nature and cameras do, {shown}", header, rows)
    attacks = [kind for kind in run.kinds(ATTACK) if kind != "patch"]
    if attacks:
        header = ["mIoU by ε", "0", *(f"{e:g}" for e in made.settings.epsilon), "ECE at the end"]
        summary.table(f"Attacks, {shown}", header, [_line(run, kind) for kind in attacks])
    if len(made.runs) > 1:
        pairs = made.pairs()
        header = ["overall accuracy", "before", *pairs[0]["after"]]
        rows = [
            [pair["name"], f"{pair['before']:.3f}", *(f"{v:.3f}" for v in pair["after"].values())]
            for pair in pairs
        ]
        summary.table("Two trainings", header, rows)
    summary.notes(made.notes)
    summary.note(f"report: {folder / REPORT} (open it in a browser); figures: {folder / TABLE}")
    return summary


def _strengths(run: Figures, family: str) -> list[float]:
    kinds = run.kinds(family)
    return run.strengths(kinds[0]) if kinds else []


def _line(run: Figures, kind: str) -> Sequence[str]:
    rows = run.curve(kind)
    return [kind, *(f"{row.scores.miou:.3f}" for row in rows), f"{rows[-1].ece:.3f}"]
