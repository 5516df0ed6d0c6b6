"""Write networks as ONNX models, with what QGIS plugins read of them."""

from __future__ import annotations

import json
from typing import Any

import torch

from geoseg.errors import InputError
from geoseg.export.whole import WholeNetwork
from geoseg.models.card import KEY, ModelCard
from geoseg.prediction.backends.export import plain
from geoseg.prediction.backends.quiet import quiet

INPUT, OUTPUT = "image", "probabilities"
DIMENSIONS = {0: "batch", 2: "height", 3: "width"}
"""Of input and output, by their place in the shape: those that are left open."""
TRACED = (2, 99, 135)
"""Images, height and width that a network is traced with: nothing round, or it may be taken for
something that holds always."""
DEEPNESS_RANGE = 255
"""By which the plugin Deepness divides all values before it standardises them."""


def convert(network: WholeNetwork, card: ModelCard, *, size: int | None = None) -> Any:
    """The ONNX model of a network, without metadata.

    size: height and width of all images; None = any. The number of images is open always.
    Raises: InputError if an exporter is not installed or can't convert the network.
    """
    try:
        import onnx  # noqa: F401  (torch exports with these two)
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise missing(error.name) from error
    count, height, width = TRACED if size is None else (TRACED[0], size, size)
    free = {place: torch.export.Dim.DYNAMIC for place in DIMENSIONS if size is None or place == 0}
    images = torch.zeros(count, len(card.bands), height, width)
    try:
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                plain(network), (images,), dynamo=True, verbose=False, dynamic_shapes=(free,),
                input_names=[INPUT], output_names=[OUTPUT],
            )  # fmt: skip
        assert program is not None
        model = program.model_proto
    except Exception as error:  # Each of its stages has errors of its own.
        raise InputError(f"format=onnx: {_cause(error)}{_remedy(size)}") from error
    _tidy(model)
    _name_dimensions(model, card, size)
    return model


def _cause(error: Exception) -> str:
    # torch wraps errors in pages of advice; the first one that was raised says what is wrong.
    first: BaseException = error
    while first.__cause__ is not None:
        first = first.__cause__
    lines = str(first).strip().splitlines()
    text = f"{type(first).__name__}: {lines[0][:200]}" if lines else type(first).__name__
    return f"torch can't export this network ({text})"


def _remedy(size: int | None) -> str:
    if size is None:
        return "; it may do so for images of one size: set size=<pixels>"
    return "; run it by geoseg.predict"


def missing(library: str | None) -> InputError:
    """Of a library that is not installed."""
    return InputError(
        f"format=onnx: needs {library}, which is not installed; pip install 'geoseg[onnx]'"
    )


def _tidy(model: Any) -> None:
    """Leave out what exporters note for themselves: paths of this machine, and names of shapes."""
    graphs = [model.graph, *model.functions]
    while graphs:
        graph = graphs.pop()
        graph.ClearField("value_info")
        graph.ClearField("doc_string")
        graph.ClearField("metadata_props")
        for node in graph.node:
            node.ClearField("doc_string")
            node.ClearField("metadata_props")
            for attribute in node.attribute:
                graphs += [attribute.g] if attribute.HasField("g") else []
                graphs += attribute.graphs


def _name_dimensions(model: Any, card: ModelCard, size: int | None) -> None:
    """Name what is open of the shapes; what is not is as long as was asked for.

    Raises: InputError if the exporter fixed a dimension that was to be open.
    """
    channels = {INPUT: len(card.bands), OUTPUT: len(card.legend)}
    for value in (*model.graph.input, *model.graph.output):
        shape = value.type.tensor_type.shape.dim
        for place, dimension in enumerate(shape):
            fixed = dimension.dim_value if dimension.HasField("dim_value") else None
            if place == 1:
                dimension.dim_value = channels[value.name]
            elif place and size is not None:
                dimension.dim_value = size
            elif fixed is None:
                dimension.dim_param = DIMENSIONS[place]
            else:
                raise InputError(
                    f"format=onnx: this network takes images of one {DIMENSIONS[place]} only"
                    f" ({fixed}){_remedy(size)}"
                )


def describe(model: Any, card: ModelCard, *, model_hash: str, size: int | None) -> None:
    """Write into an ONNX model what programs need to know of it.

    The keys of Deepness, a plugin for QGIS, are those of its documentation: resolution in cm per
    pixel, overlap in percent. Its values are divided by 255 and standardised; the mean and the
    deviation that are given here undo that, for the model takes values as the files hold them.
    """
    tiling, bands = card.tiling, len(card.bands)
    said: dict[str, Any] = {
        "model_type": "Segmentor",
        "class_names": {str(place): name for place, name in enumerate(card.legend.names)},
        "tile_size": size or tiling.size,
        "tiles_overlap": round(100 * tiling.overlap / tiling.size),
        "seg_thresh": 0.0,
        "seg_small_segment": 0,
        "standardization_mean": [0.0] * bands,
        "standardization_std": [1 / DEEPNESS_RANGE] * bands,
        "bands": list(card.bands),
        "class_codes": list(card.legend.codes),
        "dtype": card.dtype,
        "geoseg_model": model_hash,
    }
    if card.pixel_size_m:
        said["resolution"] = round(100 * card.pixel_size_m, 4)
    texts = {key: json.dumps(value, ensure_ascii=False) for key, value in said.items()}
    for key, text in sorted((texts | {KEY: card.to_json()}).items()):
        model.metadata_props.add(key=key, value=text)
