"""Settings of a network.

These stand apart from the code that reads them because that code imports torch, and nobody
should wait for torch to see `--help` or a misspelt key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from geoseg.errors import Faults

ARCHITECTURES = (
    "unet",
    "unetplusplus",
    "fpn",
    "pspnet",
    "deeplabv3plus",
    "segformer",
    "segnet",
)
SERIES_NETWORKS = ("lstm", "tempcnn", "psetae", "ltae", "utae")
FOREST = "forest"
"""Decision trees, for images and for series of parcels or pixels: no network, but used like one."""
CELLS = ("lstm", "gru")
KEEPS = ("encoder", "network")
POOLINGS = ("attention", "last")
FILLS = ("auto", "none", "linear")
NORMS = ("batch", "group", "instance", "layer")
PRECISIONS = ("auto", "32", "bf16", "16")


@dataclass
class Model:
    """A network for images or series; each file of conf/model is one."""

    name: str = "unet"
    """For images unet, unetplusplus, fpn, pspnet, deeplabv3plus, segformer or segnet; for series
    lstm, tempcnn, psetae, ltae or utae; for both forest."""
    encoder: str = "resnet18"
    """Any encoder of segmentation-models-pytorch; SegNet's is vgg16_bn (or vgg11_bn, 13, 19)."""
    weights: str | None = None
    """What the network starts from: an earlier run (its folder, or best.safetensors), a local
    .safetensors or state dict of the encoder, or `imagenet` to download one."""
    keep: str = "encoder"
    """What is kept of these weights: encoder, or network: the decoder too, all but the last layer,
    in which classes that both legends name alike keep theirs."""
    detail: int = 16
    """U-Net and U-Net++: features made at full resolution and joined before the last layer, for
    objects of few pixels and for what a pixel's own spectrum tells; 0 = none."""
    pixels: int = 32
    """Images: units of two layers that classify each pixel by its bands and by their means and
    spreads around it; they are fitted first, in seconds, and added to the network's logits, which
    few labels could not teach as much; 0 = none."""
    norm: str = "batch"
    """SegNet only: batch, group, instance or layer."""
    dropout: float = 0.0
    """Share of features dropped before the last layer (SegNet: after its three deepest blocks)."""
    width: int = 0
    """Series: units of the LSTM, filters of TempCNN, features of attention; 0 = as published."""
    layers: int = 0
    """Series: of the LSTM, or convolutions of TempCNN; 0 = as published."""
    heads: int = 0
    """Series: of the attention; 0 = as published."""
    keys: int = 0
    """Series: size of an attention key; 0 = as published."""
    cell: str = "lstm"
    """LSTM only: lstm or gru."""
    bidirectional: bool = True
    """LSTM only: read the dates forward and backward."""
    pooling: str = "attention"
    """LSTM only: attention over the dates, or the last state."""
    shape: bool = True
    """PSE-TAE and L-TAE only: the parcels' perimeter, area, ratio and cover go in too."""
    trees: int = 0
    """Forest only: how many; 0 = 40 for images, 200 for series."""
    depth: int = 0
    """Forest only: questions from the root of a tree to a leaf, at most; 0 = 12 for images, and as
    many as there are for series."""

    @property
    def for_series(self) -> bool:
        return self.name in SERIES_NETWORKS

    def trained(self) -> Model:
        """As a model card keeps it: with what it started from, a trained network is done."""
        return replace(self, weights=None, keep="encoder")

    def __post_init__(self) -> None:
        faults = Faults()
        known = (*ARCHITECTURES, *SERIES_NETWORKS, FOREST)
        if self.name not in known:
            faults.add(f"model.name={self.name}: unknown; choose from {', '.join(known)}")
        for key, choice in (("cell", CELLS), ("pooling", POOLINGS), ("keep", KEEPS)):
            if getattr(self, key) not in choice:
                faults.add(
                    f"model.{key}={getattr(self, key)}: unknown; choose from {', '.join(choice)}"
                )
        for key in ("detail", "pixels", "width", "layers", "heads", "keys", "trees", "depth"):
            if getattr(self, key) < 0:
                faults.add(f"model.{key}={getattr(self, key)}: must not be negative")
        for key in ("trees", "depth"):
            if getattr(self, key) and self.name != FOREST:
                faults.add(
                    f"model.{key}={getattr(self, key)}: of model=forest only, and model.name is"
                    f" {self.name}; leave it out"
                )
        if self.keep == "network" and self.weights is None:
            faults.add(
                "model.keep=network: of which? set model.weights=<run folder or weights file>"
            )
        if not re.fullmatch(r"[\w.+-]+", str(self.encoder)):
            # timm takes hf-hub:… and local-dir:… for places to load programs' settings from.
            faults.add(f"model.encoder={self.encoder}: not the name of an encoder, as resnet18")
        if self.norm not in NORMS:
            faults.add(f"model.norm={self.norm}: unknown; choose from {', '.join(NORMS)}")
        if not 0 <= self.dropout < 1:
            faults.add(f"model.dropout={self.dropout}: must be in [0, 1)")
        faults.raise_if_any()
