"""Split the ground of scenes into train, val and test."""

from geoseg.dataset.split.blocks import BLOCKS, block_side, cells_in
from geoseg.dataset.split.draw import share_out
from geoseg.dataset.split.leakage import leakage_m
from geoseg.dataset.split.region import SPLITS, Count, Region, buffer_px
from geoseg.dataset.split.settings import Split, check_used

__all__ = [
    "BLOCKS",
    "SPLITS",
    "Count",
    "Region",
    "Split",
    "block_side",
    "buffer_px",
    "cells_in",
    "check_used",
    "leakage_m",
    "share_out",
]
