"""Networks of the same layers as people's, but fewer or narrower: their steps take a third."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import timm
from segmentation_models_pytorch.encoders import timm_vit

from geoseg.models.networks import pixels, smp

CHANNELS = (64, 32, 16, 16, 16)
"""Of a decoder of five steps; a quarter of SMP's."""
BLOCKS = 4
"""Of a vision transformer; a decoder reads four, and most people's have twelve."""
WINDOWS = (3, 5)
"""Neighbourhoods of single pixels; people's networks have two more, larger ones."""


@contextmanager
def narrow_unets() -> Iterator[None]:
    """Context in which decoders of U-Nets have few channels: what it builds is loaded in it."""
    with pytest.MonkeyPatch.context() as patched:
        for kinds in (smp.DETAILED, smp.ARCHITECTURES):
            patched.setitem(kinds, "unet", partial(kinds["unet"], decoder_channels=CHANNELS))
        yield


@contextmanager
def shallow_transformers() -> Iterator[None]:
    """Context in which the transformers that DPT reads have four blocks."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(timm_vit, "timm", SimpleNamespace(create_model=_of_few_blocks))
        yield


def _of_few_blocks(name: str, **options: Any) -> Any:
    return timm.create_model(name, depth=BLOCKS, **options)


@contextmanager
def few_neighbourhoods() -> Iterator[None]:
    """Context in which what classifies single pixels sees two neighbourhoods, not four: each is a
    dozen operations, which take exporters a second."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pixels, "WINDOWS", WINDOWS)
        yield
