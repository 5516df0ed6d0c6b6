"""Augment training samples without changing their labels.

Samples are standardised float32 with any number of bands, for which albumentations' own
radiometric transforms are wrong: they clip to [0, 1] or know only three bands. Those here don't.
There is no elastic transform: it bends edges of buildings, roads and fields as nature never does.

Letters in shapes: C bands, H rows, W columns.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import cache, partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from geoseg.errors import Faults
from geoseg.geo.legend import IGNORED
from geoseg.received.keys import OPTIONS
from geoseg.received.target import check_target
from geoseg.samples.corruptions import Conditions, Levels, View, corrupted

_ORIENTING = ("flips", "quarter_turns")
_LIGHTING = ("brightness", "contrast", "band_brightness", "band_contrast")
"""Settings that need no more than numpy."""
HISTOGRAM, FOURIER = STYLES = ("histogram", "fourier")
SUFFERED = ("shift", "resolution", "shadow", "haze", "stripes")
"""Settings that are kinds of corruptions, in the order of light on its way to the file."""
Change = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]
"""(image (H, W, C) float32, void (H, W) bool, generator) → a new image; void = not valid."""


@dataclass
class Augment:
    """What is done to a training sample, at random; by default nothing."""

    auto: bool = False
    """Whether the training chooses: strong for an encoder from weights that learns classes of few
    fine pixels, else light; unless another key of these is given."""
    flips: bool = False
    """Mirror left-right and top-bottom, each for half of the samples: the sky has no side."""
    quarter_turns: bool = False
    """Turn by 0, 90, 180 or 270 degrees, without resampling; oblong tiles by 0 or 180."""
    rotation: float = 0.0
    """Degrees: largest turn either way. With quarter turns 45 reaches every angle."""
    scale: float = 0.0
    """Share: 0.25 zooms by 1/1.25 to 1.25, for objects of other sizes and images of other GSD."""
    chance: float = 0.5
    """Share of samples that get each of: rotation and scale, cutout, blur, curve, noise, and what
    geoseg.stress does.

    The first and the third soften the image, so part of the samples must stay as sharp as
    what `predict` will see.
    """
    brightness: float = 0.0
    """Standard deviations: largest offset of all bands together (sun, exposure)."""
    contrast: float = 0.0
    """Share: largest change of the gain of all bands together (haze, sun height)."""
    band_brightness: float = 0.0
    """Standard deviations: largest offset of each band on its own (atmosphere, colour balance)."""
    band_contrast: float = 0.0
    """Share: largest change of the gain of each band on its own (calibration, other sensor)."""
    curve: float = 0.0
    """Bend of the tone curve, like gamma but for any real value: its slope is 1 ± curve far out."""
    noise: float = 0.0
    """Standard deviations: largest sigma of Gaussian noise, in every pixel and band."""
    blur: float = 0.0
    """Pixels: largest sigma of a Gaussian blur (optics, motion, resampled orthophotos)."""
    band_dropout: float = 0.0
    """Chance that a sample loses one band, put to its mean: no band should be needed alone."""
    haze: float = 0.0
    """Largest strength of haze, thicker here than there; this and the next four as geoseg.stress
    has them (docs/stress.md)."""
    shadow: float = 0.0
    """Largest strength of shadows over parts of the tile."""
    stripes: float = 0.0
    """Largest strength of columns that are brighter or darker than they should be."""
    shift: float = 0.0
    """Largest strength of bands that lie apart."""
    resolution: float = 0.0
    """Largest strength of coarser pixels."""
    cutout: float = 0.0
    """Share of a tile's side: largest hole without image, which the loss ignores like nodata."""
    style: Any = None
    """Scenes in whose looks part of the samples is shown, as those of another season or sensor:
    folder, glob or list of GeoTIFFs with the same bands, or folder of geoseg.prepare; their labels
    do not count."""
    style_how: str = HISTOGRAM
    """histogram (values of each band are matched to those of a scene) or fourier (amplitudes of the
    lowest frequencies are swapped, FDA: it moves tones only, not textures)."""
    style_chance: float = 0.5
    """Share of samples that get another look; the rest stays as it is."""
    style_beta: float = 0.01
    """Share of a sample's frequencies, from the lowest, that fourier swaps: 0.01 to 0.09; more
    shows seams."""
    target: str | None = None
    """An own augmentation instead of all of these: module:attribute, an albumentations Compose, a
    class or function that makes one, or a function of image and mask; see docs/own.md."""
    options: dict[str, Any] = field(default_factory=dict, metadata=OPTIONS)
    """Arguments for augment.target, as in augment.options.strength=0.5."""

    def __post_init__(self) -> None:
        faults = Faults()
        faults.attempt(check_target, "augment", self.target, self.options)
        _check_style(self, faults)
        limits = {
            "rotation": 180.0, "chance": 1.0, "band_dropout": 1.0, "style_chance": 1.0,
            "style_beta": 0.5,
        }  # fmt: skip
        limits |= dict.fromkeys(SUFFERED, 1.0)
        below_one = ("contrast", "band_contrast", "curve", "cutout")
        for name, value in vars(self).items():
            if isinstance(value, bool) or name in ("target", "options", "style", "style_how"):
                continue
            highest = limits.get(name)
            if not 0 <= value < float("inf"):
                faults.add(f"augment.{name}={value}: must be a number from 0 up")
            elif highest is not None and value > highest:
                faults.add(f"augment.{name}={value}: must be at most {highest:g}")
            elif name in below_one and value >= 1:
                faults.add(f"augment.{name}={value}: must be below 1")
        faults.raise_if_any()


def _check_style(augment: Augment, faults: Faults) -> None:
    if augment.style_how not in STYLES:
        faults.add(f"augment.style_how={augment.style_how}: choose from {', '.join(STYLES)}")
    if augment.style is not None and augment.target is not None:
        faults.add(
            "augment.style, augment.target: an own augmentation stands instead of all of geoseg's;"
            " leave one of them out"
        )


def build(augment: Augment) -> Pipeline:
    """The callable that augments samples; its first call imports albumentations (a second).

    Mirroring, quarter turns and light need no albumentations: they are done on views of the planes,
    in a sixth of the time.
    """
    return Pipeline(augment)


STYLELESS: dict[str, Any] = {
    f.name: f.default for f in fields(Augment) if f.name.startswith("style")
}


class Pipeline:
    """Augments samples: the same sample and seed give the same result in every process.

    It may be sent to worker processes, where albumentations is then imported.
    """

    def __init__(self, augment: Augment) -> None:
        # Looks of other scenes are given to a sample before, by samples.style.
        augment = replace(augment, **STYLELESS)
        self.augment = augment
        self._compose: Any = None
        self._does_nothing = augment == Augment(chance=augment.chance)
        others = {name: getattr(augment, name) for name in (*_ORIENTING, *_LIGHTING, "chance")}
        self._is_light = augment == Augment(**others)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_compose": None}

    def __call__(
        self, image: np.ndarray, target: np.ndarray, valid: np.ndarray, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Augment one sample. The arrays given stay as they are; they come back if nothing changes.

        image: (C, H, W) float32, scaled. target: (H, W) uint8 indices, 255 = ignored.
        valid: (H, W) bool. seed: a number ≥ 0, another for every sample and epoch.
        Returns: image and target of the same shapes; without image they are 0 and 255.
        """
        void = ~valid
        if not self._does_nothing:
            image, target, void = self._augment(image, target, void, seed)
        if void.any():
            image = np.where(void, np.float32(0), image)
            target = np.where(void, np.uint8(IGNORED), target)
        return image, target

    def _augment(
        self, image: np.ndarray, target: np.ndarray, void: np.ndarray, seed: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        generator = np.random.default_rng(seed)
        image, target, void = _oriented(self.augment, (image, target, void), generator)
        if self._is_light:
            gain, offset = light(self.augment, len(image), generator)
            lit = np.empty(image.shape, np.float32)
            np.multiply(image, gain[:, None, None], out=lit)
            lit += offset[:, None, None]
            return lit, np.ascontiguousarray(target), void
        if self._compose is None:
            self._compose = _compose(self.augment)
        # Not set_random_seed: it gives every transform the same stream of its own, and a sample
        # that is blurred would always be noisy too (albumentations 2.0.8).
        self._compose.set_random_state(generator, random.Random(int(seed)))
        result = self._compose(
            image=np.ascontiguousarray(image.transpose(1, 2, 0)),
            # One mask of two channels, so that target and void cannot part.
            mask=np.stack((target, void.astype(np.uint8)), axis=-1),
        )
        image = np.ascontiguousarray(result["image"].transpose(2, 0, 1))
        target, void = np.ascontiguousarray(result["mask"].transpose(2, 0, 1))
        return image, target, void != 0


def _oriented(
    augment: Augment, layers: tuple[np.ndarray, ...], generator: np.random.Generator
) -> list[np.ndarray]:
    """Layers (…, H, W) mirrored and turned alike, without a copy."""
    flipped = generator.random(2) < 0.5 if augment.flips else (False, False)
    turns = int(generator.integers(4)) if augment.quarter_turns else 0
    H, W = layers[-1].shape
    if H != W:  # the shape of a tile stays as it is
        turns = turns // 2 * 2
    rows, columns = (slice(None, None, -1 if flip else 1) for flip in flipped)
    return [np.rot90(layer[..., rows, columns], turns, axes=(-2, -1)) for layer in layers]


def _compose(augment: Augment) -> Any:
    """What follows mirroring and turning, in order: warp, holes, weather, optics, light."""
    a = augment
    own = _transforms()
    A = own.albumentations
    steps: list[Any] = []
    if a.rotation or a.scale:
        zoom = (1 / (1 + a.scale), 1 + a.scale)
        turn = (-a.rotation, a.rotation)
        steps.append(
            own.Warp(
                rotate=turn, scale=zoom, keep_ratio=True, fill=0, fill_mask=IGNORED, p=a.chance
            )
        )
    if a.cutout:
        side = (a.cutout / 4, a.cutout)
        steps.append(
            A.CoarseDropout(
                num_holes_range=(1, 2),
                hole_height_range=side,
                hole_width_range=side,
                fill=0,
                fill_mask=IGNORED,
                p=a.chance,
            )
        )
    steps += [
        own.Radiometric(partial(suffered, kind, getattr(a, kind)), p=a.chance)
        for kind in SUFFERED
        if getattr(a, kind)
    ]
    if a.blur:
        steps.append(own.Radiometric(partial(blurred, a.blur), p=a.chance))
    if a.brightness or a.contrast or a.band_brightness or a.band_contrast:
        steps.append(own.Radiometric(partial(relit, a), p=1))
    if a.curve:
        steps.append(own.Radiometric(partial(bent, a.curve), p=a.chance))
    if a.noise:
        steps.append(own.Radiometric(partial(noisy, a.noise), p=a.chance))
    if a.band_dropout:
        steps.append(own.Radiometric(without_a_band, p=a.band_dropout))
    return A.Compose(steps)


def suffered(
    kind: str, limit: float, image: np.ndarray, void: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """A corruption of a strength up to `limit`."""
    planes = np.ascontiguousarray(image.transpose(2, 0, 1))
    view = View(planes, ~void, np.zeros(void.shape, np.uint8))
    strength = float(generator.uniform(0, limit))
    made = corrupted(kind, view, strength, Conditions(Levels(), generator, generator))
    return np.ascontiguousarray(made.image.transpose(1, 2, 0))


def blurred(
    limit: float, image: np.ndarray, void: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Gaussian blur of a sigma up to `limit` pixels, over the valid pixels only."""
    import cv2

    sigma = generator.uniform(0, limit)
    if not void.any():
        return cv2.GaussianBlur(image, (0, 0), sigma).reshape(image.shape)
    # Void pixels have no value that could bleed: weigh with what is valid (normalised convolution).
    weight = 1 - void.astype(np.float32)
    total = cv2.GaussianBlur(weight, (0, 0), sigma)
    softened = cv2.GaussianBlur(image * weight[..., None], (0, 0), sigma).reshape(image.shape)
    return softened / np.maximum(total, 1e-6)[..., None]


def relit(
    augment: Augment, image: np.ndarray, void: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Gain and offset of the whole image and of each band."""
    _, W, C = image.shape
    gain, offset = light(augment, C, generator)
    # Whole rows at once: numpy is slow over a last axis of few bands.
    rows = image.reshape(-1, W * C) * np.tile(gain, W)
    rows += np.tile(offset, W)
    return rows.reshape(image.shape)


def light(
    augment: Augment, bands: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Gain and offset (C,) float32 of each band."""
    a = augment

    def draw(limit: float, count: int) -> np.ndarray:
        return generator.uniform(-limit, limit, count)

    gain = (1 + draw(a.contrast, 1)) * (1 + draw(a.band_contrast, bands))
    offset = draw(a.brightness, 1) + draw(a.band_brightness, bands)
    return gain.astype(np.float32), offset.astype(np.float32)


def bent(
    limit: float, image: np.ndarray, void: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """x + g (√(1 + x²) − 1): rises everywhere, keeps the mean in place; slope 1 − g to 1 + g."""
    g = np.float32(generator.uniform(-limit, limit))
    result = image * image
    result += 1
    np.sqrt(result, out=result)
    result -= 1
    result *= g
    result += image
    return result


def noisy(
    limit: float, image: np.ndarray, void: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Gaussian noise of a sigma up to `limit`."""
    sigma = np.float32(generator.uniform(0, limit))
    result = generator.standard_normal(image.shape, dtype=np.float32)
    result *= sigma
    result += image
    return result


def without_a_band(
    image: np.ndarray, void: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """One band put to 0, its mean; a single band stays."""
    C = image.shape[2]
    if C == 1:
        return image
    result = image.copy()
    result[..., generator.integers(C)] = 0
    return result


@cache
def _transforms() -> SimpleNamespace:
    """albumentations and geoseg's own transforms, imported when first needed."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else it asks the network for news
    import albumentations as A
    import cv2

    # Each process works on samples of its own; threads within a sample only get in the way.
    cv2.setNumThreads(0)
    square = np.ones((3, 3), np.uint8)

    class Warp(A.Affine):
        """Affine after which no valid pixel is mixed with void or with the outside."""

        def apply_to_mask(self, mask: np.ndarray, *args: Any, **params: Any) -> np.ndarray:
            # The nearest pixel is one of the four that the image is interpolated from, so the
            # others are its neighbours: void grown by one pixel, edge included, covers them.
            void = np.ascontiguousarray(mask[..., 1])
            void = cv2.dilate(void, square, borderType=cv2.BORDER_CONSTANT, borderValue=1)
            return super().apply_to_mask(np.dstack((mask[..., 0], void)), *args, **params)

    class Radiometric(A.ImageOnlyTransform):
        """A change of the image's values."""

        def __init__(self, change: Change, p: float) -> None:
            super().__init__(p=p)
            self.change = change

        def get_params_dependent_on_data(self, params: dict, data: dict) -> dict:
            return {"void": data["mask"][..., 1] != 0}

        def apply(self, img: np.ndarray, void: np.ndarray, **params: Any) -> np.ndarray:
            return self.change(img, void, self.random_generator)

    return SimpleNamespace(albumentations=A, Warp=Warp, Radiometric=Radiometric)
