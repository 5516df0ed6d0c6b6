"""Export a trained network into one file that other programs run."""

from __future__ import annotations

from pathlib import Path

from geoseg.errors import Faults, InputError
from geoseg.models.calibration import Calibration
from geoseg.models.settings import FOREST
from geoseg.outputs.claims import claim, note_made, read_claim, read_made
from geoseg.outputs.files import replacing
from geoseg.outputs.lock import held
from geoseg.outputs.stamp import is_whole, stamps
from geoseg.outputs.summary import Summary
from geoseg.prediction.network import TrainedNetwork
from geoseg.stac.item import path_of

FORMATS = {"onnx": ".onnx"}
"""What can be written, and how the names of such files end."""
SIZES = 32, 8192
"""Least and largest side in pixels of images of one size."""


def export(
    network: TrainedNetwork,
    out: str | Path,
    *,
    format: str = "onnx",
    size: int | None = None,
    stac: bool = False,
    overwrite: bool = False,
) -> Summary:
    """Write a network for images as an ONNX model, and check it against torch.

    It takes values as the files hold them, (B, C, H, W) float32, and gives probabilities (B, K, H,
    W). size: height and width of all images; None = any. stac: describe it by a STAC item beside
    it, too.
    Returns: what was done, as a text for people.
    Raises: InputError if the network can't be exported, or the exported one says otherwise; then
    no file is written.
    """
    out = Path(out)
    _check(network, out, format, size)
    settings = {"model": network.hash, "format": format, "size": size}
    with held(out.parent, "export", name=out.name):
        summary = Summary()
        made = read_made(out.parent, command="export", name=out.name)
        before = read_claim(out.parent, command="export", name=out.name)
        if before == settings and is_whole(out, made.get(out.name)):
            summary.note(f"{out}: already made of this network; nothing to do")
        else:
            products = (path_of(out).name, out.name)
            claim(
                out.parent, settings, command="export", products=products, overwrite=overwrite,
                name=out.name,
            )  # fmt: skip
            path_of(out).unlink(missing_ok=True)
            _write(network, out, size, summary)
            note_made(out.parent, stamps(out.parent, [out]), command="export", name=out.name)
        if stac and not path_of(out).is_file():
            from geoseg.export.model_item import write_model_item  # brings torch

            summary.note(f"STAC item: {write_model_item(out, network, size)}")
        return summary


def _check(network: TrainedNetwork, out: Path, format: str, size: int | None) -> None:
    """Raises: InputError with all that keeps a network from being exported."""
    faults, card = Faults(), network.card
    if format not in FORMATS:
        faults.add(f"format={format}: choose from {', '.join(FORMATS)}")
    elif out.suffix.lower() != FORMATS[format]:
        faults.add(f"out={out}: must end in {FORMATS[format]}")
    if out.is_dir():
        faults.add(f"out={out}: is a folder; give the name of the file to write")
    if network.others:
        faults.add("checkpoint: an ensemble is several networks; export one of them")
    if card.series is not None:
        faults.add(
            f"checkpoint={network.source}: is a network for series, whose dates and clouds other"
            " programs do not hand over; run it by geoseg.predict"
        )
    elif card.model.name == FOREST:
        faults.add(
            f"checkpoint={network.source}: is a forest, no network; run it by geoseg.predict"
        )
    if size is not None and not SIZES[0] <= size <= SIZES[1]:
        faults.add(f"size={size}: expected {SIZES[0]} to {SIZES[1]} pixels")
    faults.raise_if_any()


def _write(network: TrainedNetwork, out: Path, size: int | None, summary: Summary) -> None:
    from geoseg.export import onnx  # brings torch
    from geoseg.export.check import compare
    from geoseg.export.whole import WholeNetwork

    card = network.card
    calibration = _calibration(network, summary)
    whole = WholeNetwork(network.load(), card, calibration, smooth=network.smooth).cpu().eval()
    model = onnx.convert(whole, card, size=size)
    onnx.describe(model, card, model_hash=network.hash, size=size)
    try:
        program: bytes = model.SerializeToString(deterministic=True)
    except Exception as error:  # of protobuf, whose class differs from version to version
        raise InputError(
            f"format=onnx: the network does not fit into one file ({error}); 2 GB are the most"
        ) from error
    agreement = compare(program, whole, card, size)
    with replacing(out) as temporary:
        temporary.write_bytes(program)
    sides = "any height and width" if size is None else f"{size} × {size} pixels"
    summary.note(
        f"{out}: {len(program) / 1e6:.1f} MB, for any number of images of {sides} with the bands"
        f" {', '.join(card.bands)}, values as in the training's files ({card.dtype})"
    )
    summary.note(str(agreement))
    if size is None:
        summary.note("the QGIS plugin Deepness takes models of one size only: size=512 makes one")


def _calibration(network: TrainedNetwork, summary: Summary) -> Calibration | None:
    """What makes the probabilities of single windows mean what they say, if anything does."""
    made = network.card.calibration
    if made is None or not made.changes:
        return None
    if made.tta == "none" and made.smooth == network.smooth and len(made.pooled) == 1:
        return made
    summary.warn(
        "the checkpoint's calibration is one of several networks, of turns or of probabilities"
        " smoothed otherwise, which the exported network does not have: its probabilities are not"
        " calibrated"
    )
    return None
