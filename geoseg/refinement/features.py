"""Run the end of a network again on a part of a window, whose first layers have seen all of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from geoseg.geo.grid import Window
from geoseg.models.networks.build import STRIDE, pixel_path_of


@dataclass(frozen=True)
class Seen:
    """A window as the network sees it."""

    images: Tensor
    """(1, C, H, W)."""
    visible: Tensor
    """(1, H, W) bool."""
    features: Any
    """What the encoder made of them."""
    pixels: Tensor | None = None
    """What the path of single pixels made of them, (1, F, H, W)."""


@contextmanager
def noted(network: Any) -> Iterator[list[Any]]:
    """Note what the encoder, and then the path of single pixels, make of the next image."""
    encoder, path = network.network.encoder, pixel_path_of(network)
    made: list[Any] = []

    def noting(plain: Any) -> Any:
        def note(*args: Any) -> Any:
            made.append(plain(*args))
            return made[-1]

        return note

    encoder.forward = noting(encoder.forward)
    if path is not None:
        path.standardised = noting(path.standardised)  # type: ignore[method-assign]
    try:
        yield made
    finally:
        del encoder.forward
        if path is not None:
            del path.standardised


@contextmanager
def kept(network: Any, window: Seen, near: Window) -> Iterator[tuple[Tensor, tuple[slice, slice]]]:
    """Keep what does not learn, so that each step computes only the rest, of a part of the images.

    The part is all where features are no pictures that can be cut.
    Returns: images (1, C, h, w) that the network is to be given, and their place.
    """
    encoder, path = network.network.encoder, pixel_path_of(network)
    images, found = window.images, window.features
    height, width = images.shape[-2:]
    cut = None
    if height % STRIDE == 0 and width % STRIDE == 0:
        cut = _cut(found, near, (height, width))
    where = (slice(None), slice(None))
    if cut is not None:
        where = (slice(near.top, near.bottom), slice(near.left, near.right))
    features = found if cut is None else cut

    def kept(*args: Any) -> Any:
        return list(features) if isinstance(features, list) else features

    encoder.forward = kept
    if path is not None:
        assert window.pixels is not None
        pixels = window.pixels[..., where[0], where[1]]
        path.standardised = lambda images: pixels  # type: ignore[method-assign]
    try:
        yield images[..., where[0], where[1]], where
    finally:
        del encoder.forward
        if path is not None:
            del path.standardised


def _cut(features: Any, near: Window, shape: tuple[int, int]) -> list[Tensor] | None:
    """A part of features (1, F, H/s, W/s) of any strides s; None where they are none of that.

    shape: H and W of the image that they are of.
    """
    if not isinstance(features, (list, tuple)):
        return None
    made = []
    for one in features:
        if not isinstance(one, Tensor) or one.ndim != 4:
            return None
        sides = []
        for side, length, first, last in zip(
            one.shape[-2:], shape, (near.top, near.left), (near.bottom, near.right), strict=True
        ):
            if side == 0 or first * side % length or last * side % length:
                return None
            sides.append(slice(first * side // length, last * side // length))
        made.append(one[..., sides[0], sides[1]])
    return made
