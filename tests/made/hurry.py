"""What tests run loses no time that no check needs: fits, pictures, the disk."""

import os
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from geoseg.models.networks.smp import encoders, timm
from geoseg.outputs.files import replacing
from geoseg.training import advice
from geoseg.training.quick import pixels, season
from geoseg.training.run import recorder

ON_VAL = advice.on_val
"""As it is for users; it takes a quarter of the time of a short training."""


def hurry() -> None:
    """Have this process fit pixels and seasons in few steps, write curves of trainings without
    drawing them, judge no ways of predicting at their end, look at the structure of an encoder
    once, and wait for no disk.

    In full the fits take up to seconds each time, which nearly no test needs: they still happen,
    and what comes of them is still saved, loaded, exchanged and told. Tests of all these say how
    theirs are made. Only a power cut tells whether bytes have reached the disk, and each wait for
    it takes milliseconds, of which there are many thousands; that it is asked for, and when, is
    tested in outputs/test_files.py.
    """
    pixels.TILES, pixels.STEPS, pixels.BATCH = 4, 5, 256
    season.STEPS = 5
    advice.on_val = _say_nothing
    recorder.draw_curves = _write_nothing
    encoders.timm_universal.timm = SimpleNamespace(create_model=_created)
    os.fsync = _ask_no_disk
    os.environ["OGR_SQLITE_SYNCHRONOUS"] = "OFF"  # GDAL, of GeoPackages


def _created(name: str, **options: Any) -> Any:
    """What timm.create_model gives; SMP has a first one made to see where its features are."""
    if options == {"features_only": True}:
        return structure(name)
    return timm.create_model(name, **options)


@cache
def structure(name: str) -> Any:
    """A network of timm that only shows where its features are, made once in a process."""
    try:
        with torch.device("meta"):
            return timm.create_model(name, features_only=True)
    except Exception:  # as SMP: not all can do without weights
        return timm.create_model(name, features_only=True)


def _ask_no_disk(file: Any) -> None:
    """Take what os.fsync takes, and refuse what it refuses: a file that is closed."""
    os.fstat(file if isinstance(file, int) else file.fileno())


def _write_nothing(_: Any, path: Path, **__: Any) -> None:
    with replacing(path) as temporary:
        temporary.touch()


def _say_nothing(*_: Any) -> str:
    return ""
