"""Compare an exported network with the one that it was made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from geoseg.errors import InputError
from geoseg.export.onnx import INPUT, OUTPUT, missing
from geoseg.export.whole import WholeNetwork, nodata_of
from geoseg.models.card import ModelCard

LEAST_EQUAL = 0.999
"""Share of the pixels that must get the same class at least."""
COARSE = 12
"""Side in pixels of the patches of an image that is made up."""
ODD = (97, 150)
"""Height and width of images that fit nothing evenly."""
SEED = 1


@dataclass(frozen=True)
class Agreement:
    """How far two networks say the same."""

    pixels: int
    equal: float
    """Share of the pixels that get the same class."""
    largest: float
    """Largest difference of a probability."""

    def __str__(self) -> str:
        return (
            f"ONNX Runtime gives {self.equal:.4%} of {self.pixels} pixels the class that torch"
            f" gives them; max |Δp| = {self.largest:.1e}"
        )


def compare(program: bytes, network: WholeNetwork, card: ModelCard, size: int | None) -> Agreement:
    """Run both on made-up images with the statistics of the training, in batches of 1 and 2.

    size: height and width that the program is for; None = any: then they differ.
    Raises: InputError if ONNX Runtime is not installed, can't run the program, or says otherwise.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise missing(error.name) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    shapes = [(1, card.tiling.size, card.tiling.size), (2, *ODD)]
    if size is not None:
        shapes = [(1, size, size), (2, size, size)]
    generator = np.random.default_rng(SEED)
    pixels = equal = 0
    largest = 0.0
    try:
        session = onnxruntime.InferenceSession(program, options, providers=["CPUExecutionProvider"])
        for shape in shapes:
            images = made_up(card, shape, generator)
            (theirs,) = session.run([OUTPUT], {INPUT: images})
            with torch.inference_mode():
                ours = network(torch.from_numpy(images)).numpy()
            if theirs.shape != ours.shape:
                raise InputError(
                    f"format=onnx: the exported network gives {theirs.shape} for images"
                    f" {images.shape}, torch {ours.shape}; run it by geoseg.predict"
                )
            seen = ours.any(axis=1)
            same = (theirs.argmax(axis=1) == ours.argmax(axis=1)) & (theirs.any(axis=1) == seen)
            pixels, equal = pixels + same.size, equal + int(same.sum())
            # np.maximum, unlike max, lets NaN through.
            largest = float(np.maximum(largest, np.abs(theirs - ours).max()))
    except InputError:
        raise
    except Exception as error:  # ONNX Runtime's have no class of their own.
        line = (str(error).splitlines() or [type(error).__name__])[0]
        # PSPNet, for one.
        smaller = "" if size else "set size=512, which may be easier, or "
        raise InputError(
            f"format=onnx: ONNX Runtime can't run what torch exported ({line[:200]}); "
            f"{smaller}run the network by geoseg.predict"
        ) from error
    found = Agreement(pixels, equal / pixels, largest)
    if not found.equal >= LEAST_EQUAL or not np.isfinite(largest):
        raise InputError(
            f"format=onnx: {found}; at least {LEAST_EQUAL:.1%} are expected, so no file was"
            " written; run the network by geoseg.predict"
        )
    return found


def made_up(
    card: ModelCard, shape: tuple[int, int, int], generator: np.random.Generator
) -> np.ndarray:
    """Images (B, C, H, W) float32: patches with texture, of the means and deviations of the
    training, and a corner without data where a value means that."""
    count, height, width = shape
    bands = len(card.bands)
    small = torch.from_numpy(
        generator.normal(size=(count, bands, -(-height // COARSE), -(-width // COARSE)))
    )
    patches = F.interpolate(small, size=(height, width), mode="nearest").numpy()
    noise = patches + 0.3 * generator.normal(size=patches.shape)
    values = card.statistics
    mean, std, low, high = (
        np.asarray(part, np.float64)[:, None, None]
        for part in (values.mean, values.std, values.low, values.high)
    )
    images = np.clip(mean + std * noise, low, high)
    if np.dtype(card.dtype).kind in "ui":
        images = np.rint(images)
    for band, nodata in enumerate(nodata_of(card)):
        if nodata == nodata:
            images[:, band, : height // 4, : width // 4] = nodata
    return images.astype(np.float32)
