"""Describe an exported network as a STAC item with the Machine Learning Model extension (MLM)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from geoseg.export.onnx import INPUT, OUTPUT
from geoseg.models.card import ModelCard
from geoseg.prediction.network import TrainedNetwork
from geoseg.stac import item
from geoseg.stac.item import Asset

ANY = -1
"""In a shape: any length."""
TASK = "semantic-segmentation"
TYPE = "application/octet-stream; framework=onnx; profile=onnx"


def write_model_item(path: Path, network: TrainedNetwork, size: int | None) -> Path:
    """Write the item of an exported network beside it.

    size: height and width of its images; None = any.
    Returns: the item's path.
    Raises: InputError if it can't be written.
    """
    roles = ("mlm:model", "mlm:weights", "data")
    bands = [{"name": band} for band in network.card.bands]
    more = {"mlm:artifact_type": "onnx", "bands": bands}
    assets = {"model": Asset(path, "network with its scaling, as ONNX", roles, TYPE, more)}
    parameters = sum(values.numel() for values in network.load().parameters())
    properties = describe(network.card, network.hash, size) | {"mlm:total_parameters": parameters}
    made = item.path_of(path)
    item.write_item(
        made,
        # Nobody noted where the training's images lie: an outline would be made up.
        {"geometry": None, "properties": properties},
        assets,
        extensions=(item.MODEL, item.FILE),
        times=None,
        made=item.made_at(path),
    )
    return made


def describe(card: ModelCard, model_hash: str, size: int | None) -> dict[str, Any]:
    """Properties of the item: what the network takes and gives."""
    side = ANY if size is None else size
    said: dict[str, Any] = {
        "title": f"{card.model.title}: {', '.join(card.legend.names)}",
        "description": "Values go in as the training's files hold them: the scaling is inside."
        " datetime is when it was exported.",
        "mlm:name": name_of(card, model_hash),
        "mlm:architecture": card.model.title,
        "mlm:framework": "ONNX",
        "mlm:tasks": [TASK],
        "mlm:accelerator_constrained": False,
        "mlm:input": [
            {
                "name": INPUT,
                "bands": list(card.bands),
                "input": _structure((ANY, len(card.bands), side, side), "bands"),
                "description": _values(card),
                "value_scaling": None,
                "resize_type": None,
            }
        ],
        "mlm:output": [
            {
                "name": OUTPUT,
                "bands": [],
                "tasks": [TASK],
                "result": _structure((ANY, len(card.legend), side, side), "class"),
                "description": "probabilities 0..1; all 0 where there is no data",
                "classification:classes": _classes(card),
            }
        ],
        "bands": [{"name": band} for band in card.bands],
        "geoseg:model": model_hash,
    }
    if card.pixel_size_m:
        said["gsd"] = round(card.pixel_size_m, 6)
    source = card.started_from
    said["mlm:pretrained"] = source is not None
    said["mlm:pretrained_source"] = None if source is None else source.get("name")
    return said


def name_of(card: ModelCard, model_hash: str) -> str:
    """Of letters, digits, blanks, dots and dashes, first a letter, as the extension wants it."""
    plain = re.sub(r"[^0-9A-Za-z_.-]+", " ", f"geoseg {card.model.title}").strip(" .-_")
    return f"{plain} {model_hash[:8]}"


def _structure(shape: tuple[int, ...], channels: str) -> dict[str, Any]:
    order = ["batch", channels, "height", "width"]
    return {"shape": list(shape), "dim_order": order, "data_type": "float32"}


def _values(card: ModelCard) -> str:
    """What values the network takes, for people."""
    said = f"values of {card.dtype} as in the training's files"
    if card.file_nodata is not None:
        said += f"; {card.file_nodata:g} and NaN mean nodata"
    return said


def _classes(card: ModelCard) -> list[dict[str, Any]]:
    """By channel."""
    legend = card.legend
    names = item.short_names(legend.names, legend.codes)
    return [
        {
            # No "title": stac-model, which reads such items, knows none.
            "value": channel, "name": short, "description": f"{c.name} (code {c.code} in maps)",
        }
        for channel, (c, short) in enumerate(zip(legend.classes, names, strict=True))
    ]  # fmt: skip
