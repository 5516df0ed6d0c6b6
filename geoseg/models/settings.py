"""Settings of a network.

These stand apart from the code that reads them because that code imports torch, and nobody
should wait for torch to see `--help` or a misspelt key.
"""

from __future__ import annotations

import re
from dataclasses import MISSING, dataclass, field, fields, replace
from typing import Any

from geoseg.errors import Faults, InputError
from geoseg.received.keys import OPTIONS
from geoseg.received.target import check_target

ARCHITECTURES = (
    "unet",
    "unetplusplus",
    "fpn",
    "pspnet",
    "deeplabv3plus",
    "segformer",
    "upernet",
    "dpt",
    "probe",
    "segnet",
)
SERIES_NETWORKS = ("lstm", "tempcnn", "psetae", "ltae", "utae")
PROBE = "probe"
"""The light decoder whose encoder stays as its weights made it."""
AUTO = "auto"
"""What the data set is for: see training.recipe."""
FOREST = "forest"
"""Decision trees, for images and for series of parcels or pixels: no network, but used like one."""
CLASSIFY = "classify"
"""A network that gives a whole tile one class; `encoder` names it."""
OWN = "own"
"""A network that `target` names, or that was given in Python."""
CELLS = ("lstm", "gru")
KEEPS = ("encoder", "network")
POOLINGS = ("attention", "last")
FILLS = ("auto", "none", "linear")
NORMS = ("batch", "group", "instance", "layer")
PRECISIONS = ("auto", "32", "bf16", "16")
GROUPED = {
    "encoder": (
        *(AUTO, "resnet18", "vgg16_bn", "mit_b0"),
        *("tu-tf_efficientnet_lite0", "tu-vit_small_patch16_224"),
    ),
    "weights": (AUTO,),
    "dropout": (0.0, 0.1, 0.2, 0.5),
}
"""Settings that come with a ready-made group, such as the usual model=unet, and not from a user."""
HEEDED = {
    "encoder": (*ARCHITECTURES, CLASSIFY),
    "detail": ("unet", "unetplusplus"),
    "pixels": ARCHITECTURES,
    "season": SERIES_NETWORKS[:-1],
    "norm": ("segnet",),
    "dropout": (*ARCHITECTURES, CLASSIFY, *SERIES_NETWORKS),
    "width": SERIES_NETWORKS,
    "layers": ("lstm", "tempcnn"),
    "heads": ("psetae", "ltae", "utae"),
    "keys": ("psetae", "ltae", "utae"),
    "cell": ("lstm",),
    "bidirectional": ("lstm",),
    "pooling": ("lstm",),
    "shape": ("psetae", "ltae"),
}
"""Settings of layers that not every network has, and the networks that have them."""
ABSENT = ("detail", "pixels", "season", "dropout", "shape")
"""Those of which 0 or false is true of a network that lacks them."""


@dataclass
class Model:
    """A network for images or series; each file of conf/model is one."""

    name: str = "unet"
    """auto is unet for images, tempcnn for series of parcels or pixels, utae for windows through
    time. For images unet, unetplusplus, fpn, pspnet, deeplabv3plus, segformer, upernet, dpt (on
    vision transformers), probe (a light decoder on an encoder that stays as it is) or segnet; for
    series lstm, tempcnn, psetae, ltae or utae; for both forest. classify gives each tile one
    class."""
    encoder: str = "resnet18"
    """Any encoder of segmentation-models-pytorch, or tu-<name> of timm; SegNet's vgg11_bn, 13, 16
    or 19, DPT's a plain vision transformer; classify: lenet, alexnet, vgg16_bn, resnet18,
    inception_v3, densenet121 …, or any network of timm, as tu-convnext_tiny. auto is what
    model.weights are of; without any that of the network (SegNet: vgg16_bn, SegFormer: mit_b0,
    DPT: tu-vit_small_patch16_224), and for the others resnet18, but where pixels are of up to 2 m
    tu-tf_efficientnet_lite0, which starts from lite0 (not UPerNet)."""
    weights: str | None = None
    """What the network starts from: an earlier run (its folder, or best.safetensors), a local
    .safetensors or state dict of the encoder, the name of published ones, such as lite0 or csmask
    (docs/transfer.md lists them), or `imagenet` to download the encoder's; null: random weights;
    auto: lite0 where model.encoder=auto says so, else random ones."""
    weights_bands: list[str] | None = None
    """Names of the bands of these weights' first layer, in its order, as the data set calls them:
    for a file from elsewhere, or where the data set's bands have other names or none."""
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
    season: int = 64
    """Series of parcels or pixels: units of two layers that classify a series by the values of all
    its dates at once, filled to every series.step days; they are fitted first, in seconds, and the
    probabilities of both averaged: few samples could not teach the network as much; 0 = none, as
    published."""
    norm: str = "batch"
    """SegNet only: batch, group, instance or layer."""
    dropout: float | None = None
    """Share of features dropped before the last layer (SegNet: after its three deepest blocks). By
    default as published for the network that model=auto takes: 0.5 for tempcnn, else 0."""
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
    target: str | None = None
    """An own network instead: module:attribute, a class or function that is called with the number
    of bands, the number of classes and the options; docs/own.md says what it takes and gives."""
    options: dict[str, Any] = field(default_factory=dict, metadata=OPTIONS)
    """Arguments for model.target, as in model.options.width=32."""
    trees: int = 0
    """Forest only: how many; 0 = 40 for images, 200 for series."""
    depth: int = 0
    """Forest only: questions from the root of a tree to a leaf, at most; 0 = 12 for images, and as
    many as there are for series."""

    @property
    def for_series(self) -> bool:
        """Whether geoseg's network of this name is; an own one is for what it is trained on."""
        return self.name in SERIES_NETWORKS

    @property
    def frozen(self) -> bool:
        """Whether the encoder stays as model.weights made it."""
        return self.name == PROBE

    @property
    def dropped(self) -> float:
        """dropout, or 0."""
        return self.dropout or 0.0

    @property
    def title(self) -> str:
        """The network's name for people."""
        if self.name == OWN:
            return str(self.target)
        return self.name if self.for_series else f"{self.name} {self.encoder}"

    def trained(self) -> Model:
        """As a model card keeps it: with what it started from, a trained network is done."""
        return replace(self, weights=None, weights_bands=None, keep="encoder")

    def __post_init__(self) -> None:
        faults = Faults()
        faults.attempt(check_target, "model", self.target, self.options)
        if self.target is not None:
            self._become_own(faults)
        known = (AUTO, *ARCHITECTURES, *SERIES_NETWORKS, FOREST, CLASSIFY)
        if self.name == OWN and self.target is None:
            faults.add(
                "model.name=own: an own network is named by model.target=module:attribute; a run's"
                " settings never do that by themselves"
            )
        elif self.name not in (*known, OWN):
            faults.add(f"model.name={self.name}: unknown; choose from {', '.join(known)}")
        for key, choice in (("cell", CELLS), ("pooling", POOLINGS), ("keep", KEEPS)):
            if getattr(self, key) not in choice:
                faults.add(
                    f"model.{key}={getattr(self, key)}: unknown; choose from {', '.join(choice)}"
                )
        faults.at_least(self, "model.", detail=0, pixels=0, season=0, width=0, layers=0)
        faults.at_least(self, "model.", heads=0, keys=0, trees=0, depth=0)
        for key in ("trees", "depth"):
            if getattr(self, key) and self.name != FOREST:
                faults.add(
                    f"model.{key}={getattr(self, key)}: of model=forest only, and model.name is"
                    f" {self.name}; leave it out"
                )
        if self.keep == "network" and self.weights in (None, AUTO):
            faults.add(
                "model.keep=network: of which? set model.weights=<run folder or weights file>"
            )
        if self.weights_bands is not None:
            self._check_weights_bands(self.weights_bands, faults)
        if not re.fullmatch(r"[\w.+-]+", str(self.encoder)):
            # timm takes hf-hub:… and local-dir:… for places to load programs' settings from.
            faults.add(f"model.encoder={self.encoder}: not the name of an encoder, as resnet18")
        if self.norm not in NORMS:
            faults.add(f"model.norm={self.norm}: unknown; choose from {', '.join(NORMS)}")
        faults.within(self, "[0, 1)", "model.", "dropout")
        faults.raise_if_any()
        if self.name != AUTO:  # what that will be says what is usual
            self.dropout = self.dropped

    def _check_weights_bands(self, bands: list[str], faults: Faults) -> None:
        if self.weights in (None, AUTO):
            faults.add("model.weights_bands: of which weights? set model.weights, or leave it out")
        if not bands or len(set(bands)) < len(bands):
            faults.add(
                f"model.weights_bands={bands}: give the name of each band of the weights once, as"
                " [blue,green,red,nir]"
            )

    def _become_own(self, faults: Faults) -> None:
        """Settings of geoseg's networks are none of an own one's: they must not be passed over."""
        for item in fields(self):
            if item.name in ("name", "target", "options"):
                continue
            usual = (item.default,) if item.default is not MISSING else ()
            value = getattr(self, item.name)
            if value not in (*usual, *GROUPED.get(item.name, ())):
                said = str(value).lower() if isinstance(value, bool) else value
                faults.add(
                    f"model.{item.name}={said}: of geoseg's own networks, and model.target names"
                    f" another; leave it out, or pass model.options.{item.name} if that takes one"
                )
            setattr(self, item.name, item.default)
        self.name = OWN


def check_chosen(model: Model) -> None:
    """Raises: InputError for `auto`, which a data set alone can settle."""
    if model.name == AUTO:
        raise InputError(
            "model.name=auto: the network that suits a data set, and there is none here; name one,"
            " as unet"
        )
    if model.encoder == AUTO and model.name in HEEDED["encoder"]:
        raise InputError(
            "model.encoder=auto: the encoder that suits a data set, and there is none here; name"
            " one, as resnet18"
        )


def check_heeded(model: Model) -> None:
    """Raises: InputError for settings that the network has no part for.

    Those of an own network are checked as soon as it is named; `auto` has yet to be chosen.
    """
    faults = Faults()
    for key, names in HEEDED.items() if model.name not in (AUTO, OWN) else ():
        value, usual = getattr(model, key), getattr(Model(), key)
        idle = value in (usual, *GROUPED.get(key, ())) or (not value and key in ABSENT)
        if model.name in names or idle:
            continue
        said = str(value).lower() if isinstance(value, bool) else value
        faults.add(
            f"model.{key}={said}: of {', '.join(names)} only, and this network is {model.name};"
            " leave it out"
        )
    faults.raise_if_any()


@dataclass
class OwnTarget:
    """Which code a checkpoint may import; only for networks that were trained by model.target."""

    target: Any = None
    """module:attribute of the network, as in its training; a list for several checkpoints. Weights
    never import code by themselves: it must be named again."""


LATER = ("haze", "shadow", "stripes", "shift", "resolution")
"""Augmentations that trainings of before knew nothing of."""


def without_unset(values: dict[str, Any]) -> dict[str, Any]:
    """Settings without target, options, weights_bands and later augmentations where they name
    nothing: those of before had none of them."""
    unset = {"weights_bands"} if values.get("weights_bands") is None else set()
    if values.get("target") is None:
        unset |= {"target", "options"}
    if values.get("style") is None:  # of the augmentation
        unset |= {"style", "style_how", "style_chance", "style_beta"}
    unset |= {key for key in LATER if values.get(key) == 0}
    return {k: v for k, v in values.items() if k not in unset}
