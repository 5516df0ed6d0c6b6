"""What tests run loses no time that no check needs: fits, pictures, the disk."""

import os
import re
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from hydra.core.config_store import ConfigStore
from lightning_fabric import fabric
from timm.models import mobilenetv3

from geoseg.evaluation.by_date import ByDate
from geoseg.models.networks import smp
from geoseg.models.networks.smp import encoders, timm
from geoseg.outputs.files import replacing
from geoseg.training import advice
from geoseg.training.quick import pixels, season
from geoseg.training.run import recorder

ON_VAL = advice.on_val
"""As it is for users; it takes a quarter of the time of a short training."""
DRAW_BY_DATE = ByDate._draw
"""Of the picture beside scores by date, as it is for users."""
DECODE = mobilenetv3.decode_arch_def
"""What encoders are built by for users: of twice as many blocks, with which a network learns more
in an epoch."""
EXPORT = torch.onnx.export
DEVICES = cache(torch.cuda.device_count)
TRY_OUT = smp.try_out
TRIED: set[tuple[object, ...]] = set()
REPEATED = re.compile(r"^dsa_r\d_")
"""Blocks of LCNets, in timm's plans."""


def hurry() -> None:
    """Have this process fit pixels and seasons in few steps, write curves of trainings and of
    dates without drawing them, judge no ways of predicting at their end, build encoders of few
    blocks, look at their structure, at how they work, at the operators of ONNX, for GPUs and for
    other people's callbacks once, and wait for no disk.

    In full the fits take up to seconds each time, which nearly no test needs: they still happen,
    and what comes of them is still saved, loaded, exchanged and told. Tests of all these say how
    theirs are made. Only a power cut tells whether bytes have reached the disk, and each wait for
    it takes milliseconds, of which there are many thousands; that it is asked for, and when, is
    tested in outputs/test_files.py.
    """
    pixels.TILES, pixels.VAL_TILES, pixels.PIXELS = 4, 1, 512
    pixels.STEPS, pixels.BATCH = 5, 256
    season.STEPS = 5
    advice.on_val = _say_nothing
    recorder.draw_curves = ByDate._draw = _write_nothing
    encoders.timm_universal.timm = SimpleNamespace(create_model=_created)
    mobilenetv3.decode_arch_def = _of_few_blocks
    smp.try_out = _tried_out_once
    torch.onnx.export = _exported
    fabric._load_external_callbacks = cache(fabric._load_external_callbacks)
    ConfigStore.__deepcopy__ = _the_same  # each composing copies all; what it takes out it copies
    torch.cuda.device_count = DEVICES  # where there is none, each step of an optimizer looks again
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


def _of_few_blocks(stages: list[list[str]], *given: Any, **options: Any) -> Any:
    """What timm makes of the plan of a network; of an LCNet each kind of block is there once."""
    plan = [[REPEATED.sub("dsa_r1_", block) for block in stage] for stage in stages]
    return DECODE(plan, *given, **options)


def _tried_out_once(network: Any, channels: int) -> None:
    """What smp.try_out does, for the first network of a kind in this process; it draws nothing."""
    kind = type(network), getattr(network.encoder, "name", object()), channels
    if kind not in TRIED:
        TRY_OUT(network, channels)
        TRIED.add(kind)


def _exported(*given: Any, **options: Any) -> Any:
    """What torch.onnx.export gives; it reads the source of 500 operators each time: 0.7 s."""
    _read_operators_once()
    return EXPORT(*given, **options)


@cache
def _read_operators_once() -> None:
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    ONNXRegistry.from_torchlib = staticmethod(cache(ONNXRegistry.from_torchlib))


def _ask_no_disk(file: Any) -> None:
    """Take what os.fsync takes, and refuse what it refuses: a file that is closed."""
    os.fstat(file if isinstance(file, int) else file.fileno())


def _write_nothing(_: Any, path: Path, **__: Any) -> None:
    with replacing(path) as temporary:
        temporary.touch()


def _the_same(this: Any, _: Any) -> Any:
    return this


def _say_nothing(*_: Any) -> str:
    return ""
