"""Predict class maps with confidence, by a trained network."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

from geoseg.commands.run import run
from geoseg.dataset.settings import SampleSettings
from geoseg.errors import Faults, InputError
from geoseg.geo.tiling import Tiling
from geoseg.labels.settings import Labels
from geoseg.models.settings import OwnTarget
from geoseg.outputs.summary import Summary
from geoseg.parcels.parcels import read_parcels
from geoseg.prediction.images import predict
from geoseg.prediction.network import Engine, InferenceSettings, TrainedNetwork
from geoseg.prediction.report import PredictionReport
from geoseg.prediction.series import SeriesImages, predict_series
from geoseg.prediction.tile_classes.predict import (
    check_settings,
    is_of_tiles,
    predict_tiles,
)
from geoseg.scenes.bands import Bands
from geoseg.series.settings import DEMO_PARCELS, DEMO_SERIES, Series


@dataclass
class TilingChoice:
    """Windows of the prediction; what is not given is as in the training."""

    size: int | None = None
    """Height and width of a window in pixels."""
    overlap: int | None = None
    """Pixels shared by neighbouring windows; of another size a quarter, if not given."""

    def over(self, tiling: Tiling) -> Tiling:
        """The given values over those of another tiling."""
        if self.size not in (None, tiling.size):
            return Tiling(self.size, self.overlap)
        return tiling if self.overlap is None else replace(tiling, overlap=self.overlap)


@dataclass
class PredictConfig:
    """Make maps of scenes: a class map and its confidence for each."""

    checkpoint: Any = None
    """Run folder or weights (.safetensors) of geoseg.train; a list of them is averaged; none = the
    demo's."""
    scenes: Any = None
    """Folder, glob or list of GeoTIFFs, or STAC (.json): a catalog, collection, item or saved
    search, or a Zarr or netCDF cube; none = the demo's."""
    out: str | None = None
    """Folder for landcover/, confidence/ and predict.json."""
    bands: Bands = field(default_factory=Bands)
    tiling: TilingChoice = field(default_factory=TilingChoice)
    predict: InferenceSettings = field(default_factory=InferenceSettings)
    engine: Engine = field(default_factory=Engine)
    model: OwnTarget = field(default_factory=OwnTarget)
    tta: str = "none"
    """Test-time augmentation: none, flips (mean over 4 mirrorings), or d4 (over all 8 symmetries);
    takes 4 or 8 times as long."""
    overwrite: bool = False
    """Replace an output that was made with other settings."""
    stac: bool = False
    """Describe each map for catalogs, too: a STAC item, <scene>.stac.json, beside it."""
    series: Series = field(default_factory=Series)
    """For a network for series: the dated images, as in prepare_series."""
    parcels: Any = None
    """For a network for series: file with the parcels that get a class each."""
    parcels_layer: str | None = None
    """Layer of the file with the parcels, where it has several."""
    table: Any = None
    """For a network for series: CSV or Parquet file with a row per sample and date."""
    samples: SampleSettings = field(default_factory=SampleSettings)
    """What the attributes of the parcels, or the columns of the table, mean."""
    threshold: float = 0.0
    """Confidence below which a parcel gets no class, 0..1."""


def main(cfg: PredictConfig) -> None:
    if cfg.checkpoint is None and not any(_given(cfg).values()):
        cfg = replace(cfg, checkpoint="runs/demo", scenes="data/demo/scenes")
        cfg = replace(cfg, out=cfg.out or "maps/demo")
    if cfg.checkpoint is None:
        raise InputError("checkpoint: none given; set checkpoint=<run folder or .safetensors>")
    if is_of_tiles(cfg.checkpoint):
        report: PredictionReport | Summary = _tiles(cfg)
    else:
        network = TrainedNetwork.open(
            cfg.checkpoint, cfg.predict, tta=cfg.tta, model=cfg.model.target
        )
        report = (_images if network.card.series is None else _series)(cfg, network)
    print(report)
    if isinstance(report, PredictionReport):
        report.raise_if_incomplete()


def _given(cfg: PredictConfig) -> dict[str, bool]:
    """Which inputs were given."""
    return {
        "scenes": cfg.scenes is not None,
        "series.path": cfg.series.path is not None,
        "table": cfg.table is not None,
        "parcels": cfg.parcels is not None,
    }


def _tiles(cfg: PredictConfig) -> PredictionReport:
    """Classes of the tiles of scenes, by a network that gives a whole tile one."""
    faults = Faults()
    given: dict[str, bool] = {key: yes for key, yes in _given(cfg).items() if key != "scenes"}
    given |= {"stac": cfg.stac, "tta": cfg.tta != "none", "threshold": cfg.threshold > 0}
    given |= dict.fromkeys(_of_maps(cfg), True)
    for key in (key for key, yes in given.items() if yes):
        faults.add(
            f"{key}: {cfg.checkpoint} gives whole tiles of scenes one class, as large as in its"
            f" training; leave {key} out"
        )
    faults.need(cfg, scenes="<folder, glob or list of GeoTIFFs>", out="<folder>")
    faults.attempt(check_settings, cfg.predict)
    faults.raise_if_any()
    assert cfg.out is not None
    return predict_tiles(
        cfg.checkpoint, cfg.scenes, cfg.out, bands=cfg.bands, running=cfg.predict,
        overwrite=cfg.overwrite,
    )  # fmt: skip


def _images(cfg: PredictConfig, network: TrainedNetwork) -> PredictionReport:
    """Maps of scenes by a network for images."""
    faults = Faults()
    strange = [key for key in ("series.path", "table", "parcels") if _given(cfg)[key]]
    for key in strange:
        faults.add(f"{key}: {cfg.checkpoint} is a network for images; give scenes=…, not {key}")
    for key in _of_samples(cfg) + [f"series.{key}" for key in _changed(cfg.series, Series())]:
        if key not in strange:
            faults.add(f"{key}: {cfg.checkpoint} is a network for images; leave it out")
    _check_threshold(cfg, faults)
    if not strange:
        faults.need(cfg, scenes="<folder, glob or list of GeoTIFFs>", out="<folder>")
    faults.raise_if_any()
    assert cfg.out is not None
    tiling = cfg.tiling.over(network.card.tiling)
    return predict(
        network, cfg.scenes, cfg.out, bands=cfg.bands, tiling=tiling, engine=cfg.engine,
        overwrite=cfg.overwrite, stac=cfg.stac,
    )  # fmt: skip


def _series(cfg: PredictConfig, network: TrainedNetwork) -> PredictionReport | Summary:
    """What a network for series is asked for: classes of parcels, of a table, or of all pixels."""
    given = _given(cfg)
    if not any(given.values()) and str(cfg.checkpoint).rstrip("/") == "runs/demo_series":
        cfg = _demo_series(cfg, network)
        given = _given(cfg)
    faults = Faults()
    if given["scenes"]:
        faults.add(
            f"scenes: {cfg.checkpoint} is a network for series; give series.path=… or table=…"
        )
    elif given["series.path"] == given["table"]:
        faults.add("series.path, table: give one of them, dated images or a table")
    if given["table"] and given["parcels"]:
        faults.add("table, parcels: the samples of a table need no outlines; leave one out")
    if given["table"] or given["parcels"]:
        if cfg.parcels_layer is not None and not given["parcels"]:
            faults.add(f"parcels_layer={cfg.parcels_layer}: is for parcels=<file>; leave it out")
        for key in _of_maps(cfg):
            faults.add(
                f"{key}: is for maps of pixels; parcels and samples are classified by this process,"
                " without windows: leave it out"
            )
    else:
        for key in _of_samples(cfg):
            faults.add(f"{key}: is for parcels=<file> or table=<file>, which are not given")
        _check_threshold(cfg, faults)
    faults.need(cfg, out="<folder>")
    if cfg.stac and (given["table"] or given["parcels"]):
        faults.add("stac: describes maps; of parcels and tables there is none: leave it out")
    faults.raise_if_any()
    assert cfg.out is not None
    if given["table"] or given["parcels"]:
        network.check_of_samples("parcels and samples")
    if given["table"]:
        from geoseg.parcels.predict_table import predict_table
        from geoseg.parcels.table import LongTable

        table = LongTable(cfg.table, cfg.samples, cfg.series, cfg.bands)
        return predict_table(
            network, table, cfg.out, threshold=cfg.threshold, overwrite=cfg.overwrite
        )
    images = SeriesImages.find(network.card, cfg.series, cfg.bands)
    if given["parcels"]:
        from geoseg.parcels.predict import predict_parcels

        labels = Labels(path=cfg.parcels, name="parcel", layer=cfg.parcels_layer)
        parcels = read_parcels(labels, cfg.samples, prefix="parcels_")
        return predict_parcels(
            network, images, parcels, cfg.out, threshold=cfg.threshold, overwrite=cfg.overwrite
        )
    tiling = cfg.tiling.over(network.card.tiling)
    return predict_series(
        network, images, cfg.out, tiling=tiling, engine=cfg.engine,
        overwrite=cfg.overwrite, stac=cfg.stac,
    )  # fmt: skip


def _changed(given: Any, usual: Any) -> list[str]:
    """Names of the settings that are not as usual."""
    names = [item.name for item in fields(usual)]
    return [name for name in names if getattr(given, name) != getattr(usual, name)]


def _of_samples(cfg: PredictConfig) -> list[str]:
    """Keys that were given and are about parcels or the rows of a table."""
    found = [f"samples.{key}" for key in _changed(cfg.samples, SampleSettings())]
    return found + (["parcels_layer"] if cfg.parcels_layer is not None else [])


def _of_maps(cfg: PredictConfig) -> list[str]:
    """Keys that were given and are about the windows of maps, and who makes these."""
    rooms = {"tiling": (cfg.tiling, TilingChoice()), "engine": (cfg.engine, Engine())}
    return [f"{room}.{key}" for room, pair in rooms.items() for key in _changed(*pair)]


def _check_threshold(cfg: PredictConfig, faults: Faults) -> None:
    """Add a threshold that is one of parcels, where pixels are mapped."""
    if cfg.threshold > 0:
        faults.add(
            f"threshold={cfg.threshold:g}: of parcels and tables; of pixels it is"
            f" predict.threshold={cfg.threshold:g}"
        )


def _demo_series(cfg: PredictConfig, network: TrainedNetwork) -> PredictConfig:
    """The demo's series, and its parcels for a network for parcels."""
    assert network.card.series is not None
    parcels = DEMO_PARCELS if network.card.series.unit == "parcel" else None
    series = replace(cfg.series, **DEMO_SERIES)
    return replace(cfg, series=series, parcels=parcels, out=cfg.out or "maps/demo_series")


if __name__ == "__main__":
    run("predict", PredictConfig, main)
