"""Settings of a prediction: how a network runs, and who runs it."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from geoseg.errors import Faults
from geoseg.maps.layers import CONFIDENCE, NOVELTY, parse
from geoseg.models.settings import PRECISIONS
from geoseg.received.keys import WEIGHTS

BACKENDS = ("auto", "torch", "compile", "openvino", "onnx")
WITH_FEATURES = (None, "torch")
"""Those that let one look at a network's features; None: torch is taken."""
TTA = ("none", "flips", "d4")
ENGINES = ("local", "dask")


@dataclass
class InferenceSettings:
    """How the network runs."""

    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda, cuda:<n> or mps."""
    precision: str = "auto"
    """auto (bfloat16 where the hardware has it), 32, bf16 or 16."""
    backend: str = "auto"
    """What computes: torch, compile (torch.compile), openvino, onnx, or auto: the fastest that says
    the same, measured on the first windows if there is enough to do."""
    compile: bool = False
    """The same as predict.backend=compile: takes up to a minute, then runs faster."""
    batch_size: int | None = None
    """Windows per forward pass; by default what suits the device."""
    memory: float | None = None
    """GB for the buffers of a panel: wider scenes are done in several panels. By default 1, or what
    the windows of many bands need, up to 4."""
    halo: bool = True
    """Let windows at the edge of a scene see what adjoining scenes of the folder show there."""
    smooth: int | None = None
    """Side, in pixels, of the squares over which probabilities are averaged: an odd number, against
    single wrong pixels; 0 = none; by default what gained on val in the training, mostly none."""
    resample: bool = False
    """Read scenes whose pixels are not of the model's size at that size: finer ones averaged,
    coarser ones by cubic convolution. Their maps have pixels of the model's size."""
    readers: int | None = None
    """Threads that read scenes; by default 1 for a CPU and up to 8 for a GPU."""
    layers: list[Any] = field(default_factory=lambda: [CONFIDENCE])
    """Rasters beside each class map: confidence, entropy, margin (to the second class), second (its
    code), disagreement (of several networks or turns), probabilities (of all classes), novelty (how
    far the pixel is from what the network knows; needs geoseg.calibrate with novelty=true)."""
    threshold: Any = field(default=None, metadata=WEIGHTS)
    """Probability below which a pixel stays without class (code 255, no decision): a number, or
    {class: number}; none = each gets one."""
    refuse_novel: bool = False
    """Leave pixels without class (code 255, no decision) that are beyond all known ones."""
    undecided: float | None = None
    """Share of wrong pixels that is accepted; all that are less sure than that allows stay without
    class. Needs a checkpoint of geoseg.calibrate."""

    def __post_init__(self) -> None:
        faults = Faults()
        faults.attempt(parse, self.layers)
        if self.threshold is not None and self.undecided is not None:
            faults.add(
                "predict.threshold, predict.undecided: both say where there is no decision; give"
                " one of them"
            )
        faults.one_of(self, "predict.", precision=PRECISIONS, backend=BACKENDS)
        if self.compile and self.backend not in ("auto", "torch", "compile"):
            faults.add(
                f"predict.compile=true: torch does that; leave out predict.backend={self.backend}"
            )
        faults.at_least(self, "predict.", batch_size=1, readers=1)
        if self.smooth and (self.smooth < 0 or self.smooth % 2 == 0):
            faults.add(f"predict.smooth={self.smooth}: must be odd, as 3 or 5, or 0")
        faults.above_zero(self, "predict.", "memory")
        faults.raise_if_any()

    @property
    def chosen_layers(self) -> tuple[str, ...]:
        """Names of the rasters beside each class map, in one order."""
        return parse(self.layers)

    @property
    def wants_novelty(self) -> bool:
        """Whether somebody wants to know how far pixels are from what the network knows."""
        return self.refuse_novel or NOVELTY in self.chosen_layers

    @property
    def wanted_backend(self) -> str | None:
        """The backend that the settings name; None: the fastest safe one."""
        if self.compile:
            return "compile"
        return None if self.backend == "auto" else self.backend


@dataclass
class Engine:
    """Who predicts."""

    name: str = "local"
    """local: this process; dask: workers of a Dask cluster."""
    address: str | None = None
    """Of a running Dask scheduler: tcp://host:8786, or the .json file that it wrote; by default
    workers are started here."""
    workers: int | None = None
    """Processes that are started here; by default one for each GPU, or for each 8 cores."""
    retries: int = 3
    """Workers that may die over the same job before its scene counts as failed."""

    def __post_init__(self) -> None:
        faults = Faults()
        if self.name not in ENGINES:
            faults.add(f"engine={self.name}: choose from {', '.join(ENGINES)}")
        faults.at_least(self, "engine.", workers=1, retries=0)
        if self.name == "local" and (self.address is not None or self.workers is not None):
            faults.add("engine.address, engine.workers: these are for engine=dask; set that")
        if self.address is not None and self.workers is not None:
            faults.add("engine.workers: the cluster at engine.address has its own; leave it out")
        if self.name == "dask" and find_spec("distributed") is None:
            faults.add("engine=dask: Dask is not installed; pip install 'geoseg[dask]'")
        faults.raise_if_any()
