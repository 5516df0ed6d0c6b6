"""Augment training samples by other people's code, albumentations or any function.

Letters in shapes: C bands, H rows, W columns.
"""

from __future__ import annotations

import copy
import inspect
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from geoseg.errors import InputError, shown
from geoseg.geo.legend import IGNORED
from geoseg.received.target import called, load_target, what_went_wrong
from geoseg.samples.augment import Augment

VOID = 254
"""Index, in the mask of a function, of pixels without image."""
SHIFT = 2
"""Albumentations fills masks with 0 unless told otherwise, and geoseg's 0 is a class: so it gets
0 = no image, 1 = no label, and the classes from 2 on. What lies beyond them is no image, too."""
MISPLACED = {
    "Normalize": "images are standardised already, in training as in prediction",
    "ToFloat": "images are float32 already",
    "ToTensorV2": "geoseg makes tensors itself, after augmentation",
    "ToTensor3D": "geoseg makes tensors itself, after augmentation",
}
"""Transforms by name that would change what only training sees."""
TRIES = 24
"""Calls in which a transform has to show what it does."""


class OwnAugmentation(Protocol):
    """An augmentation that is no albumentations transform."""

    def __call__(self, *, image: np.ndarray, mask: np.ndarray) -> Mapping[str, np.ndarray]:
        """`image` and `mask` anew, of the same shapes.

        image: (H, W, C) float32, standardised, 0 where there is none. mask: (H, W) uint8: class
        indices, 255 = no label, 254 = no image. What moves pixels moves both.
        """
        ...


def own_augment(settings: Augment, given: Any = None) -> OwnPipeline:
    """The callable that augments samples as the settings name it.

    given: an object instead. Raises: InputError if it can't be had.
    """
    made = load_target("augment.target", str(settings.target)) if given is None else given
    key = f"augment.target={settings.target}" if given is None else "augment"
    if given is None and (isinstance(made, type) or (inspect.isroutine(made) and not _takes(made))):
        made = called(key, made, **settings.options)
    elif settings.options:
        if not inspect.isroutine(made):
            raise InputError(
                f"augment.options: {settings.target} is a finished {type(made).__name__}, which"
                " takes none; name a class or function that makes it, or leave them out"
            )
        made = _WithOptions(made, settings.options)
    if isinstance(made, type) or not callable(made):
        raise InputError(
            f"{key}: is {shown(made)}; expected an albumentations transform, or a function of"
            " image and mask"
        )
    return OwnPipeline(key, made)


def _takes(function: Callable[..., Any]) -> bool:
    """Whether a function augments, and does not make what does."""
    return "image" in inspect.signature(function).parameters


class _WithOptions:
    """A function with its options; a partial of it, which can be sent to other processes."""

    def __init__(self, function: Callable[..., Any], options: Mapping[str, Any]) -> None:
        self._function, self._options = function, dict(options)

    def __call__(self, **given: Any) -> Any:
        return self._function(**given, **self._options)


class OwnPipeline:
    """Augments samples as `geoseg.samples.augment.Pipeline` does, by other code."""

    def __init__(self, key: str, transform: Callable[..., Any]) -> None:
        self._key = key
        self._by_albumentations = _is_albumentations(transform)
        self._transform = transform
        if self._by_albumentations:
            import albumentations as A

            for part in _parts(transform):
                if why := MISPLACED.get(type(part).__name__):
                    raise InputError(f"{key}: leave out {type(part).__name__}: {why}")
            one = copy.deepcopy(transform)
            self._transform = one if isinstance(one, A.Compose) else A.Compose([one])

    def __call__(
        self, image: np.ndarray, target: np.ndarray, valid: np.ndarray, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `Pipeline`: image (C, H, W), target and valid (H, W); image and target come back.

        Raises: InputError if the code fails, or gives something else.
        """
        void = ~valid
        ready = np.ascontiguousarray(image.transpose(1, 2, 0))
        ready[void] = 0
        if self._by_albumentations:
            made, found, void = self._composed(ready, target, void, seed)
        else:
            made, found, void = self._called(ready, target, void, seed)
        if void.any():
            made = np.where(void[..., None], np.float32(0), made)
            found = np.where(void, np.uint8(IGNORED), found)
        return np.ascontiguousarray(made.transpose(2, 0, 1)), np.ascontiguousarray(found)

    def _composed(
        self, image: np.ndarray, target: np.ndarray, void: np.ndarray, seed: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        most = int(target[target != IGNORED].max(initial=0))
        if most + SHIFT > IGNORED - 1:
            raise InputError(f"{self._key}: for {IGNORED - SHIFT} classes at most; this is {most}")
        mask = np.where(target == IGNORED, np.uint8(1), target + np.uint8(SHIFT))
        mask[void] = 0
        self._transform.set_random_state(  # type: ignore[attr-defined]
            np.random.default_rng(seed), random.Random(int(seed))
        )
        made, mask = self._made(image, mask)
        void = (mask == 0) | (mask > most + SHIFT)
        return made, np.where(mask >= SHIFT, mask - np.uint8(SHIFT), np.uint8(IGNORED)), void

    def _called(
        self, image: np.ndarray, target: np.ndarray, void: np.ndarray, seed: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        before = random.getstate(), np.random.get_state()  # noqa: NPY002
        # What such code draws by, as a rule; so that a run that was stopped sees the same again.
        random.seed(int(seed))
        np.random.seed(int(seed) % 2**32)  # noqa: NPY002
        try:
            mask = np.where(void, np.uint8(VOID), target)
            made, mask = self._made(image, mask)
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])  # noqa: NPY002
        return made, mask, mask == VOID

    def _made(self, image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Image and mask as the code gives them. Raises: InputError."""
        try:
            made = self._transform(image=image, mask=mask)
        except Exception as error:  # foreign code may raise anything
            raise InputError(
                f"{self._key}: called with an image {image.shape} float32 and a mask {mask.shape}"
                f" uint8: {what_went_wrong(error)}"
            ) from None
        if not isinstance(made, Mapping) or not {"image", "mask"} <= made.keys():
            raise InputError(
                f"{self._key}: gives a {type(made).__name__}; expected a dictionary with image and"
                " mask"
            )
        for name, one in (("image", image), ("mask", mask)):
            found = made[name]
            if not isinstance(found, np.ndarray):
                raise InputError(
                    f"{self._key}: {name} is a {type(found).__name__}; expected a numpy array"
                )
            if found.shape != one.shape:
                raise InputError(
                    f"{self._key}: {name} has the shape {found.shape}, expected {one.shape}: all"
                    " samples of a batch have one size"
                )
        if made["mask"].dtype != np.uint8:
            raise InputError(
                f"{self._key}: mask is of {made['mask'].dtype}; expected uint8, as it was given"
            )
        return made["image"].astype(np.float32, copy=False), made["mask"]


def check_augment(augment: OwnPipeline, key: str, bands: int, classes: int) -> None:
    """Try an augmentation on made-up samples.

    Raises: InputError if it fails, gives what is no number or of another shape, is not the same for
    the same seed, or clips what is standardised.
    """
    draw = np.random.default_rng(0)
    image = draw.standard_normal((bands, 64, 64), dtype=np.float32)
    target = draw.integers(0, classes, (64, 64)).astype(np.uint8)
    target[:4] = IGNORED
    valid = np.ones((64, 64), bool)
    valid[-4:] = False
    image[:, ~valid] = 0
    clipped = False
    for seed in range(TRIES):
        made, found = augment(image.copy(), target.copy(), valid, seed)
        if not np.isfinite(made).all():
            raise InputError(f"{key}: gives values that are no numbers (NaN or infinite)")
        strange = np.setdiff1d(found, [*range(classes), IGNORED])
        if len(strange):
            raise InputError(
                f"{key}: gives the label {strange[0]}, which is no class: there are {classes},"
                f" from 0 on, and {IGNORED} where nothing is labelled"
            )
        clipped |= bool(made.min() >= 0 and made.max() <= 1)
    if clipped:
        raise InputError(
            f"{key}: clips images to 0..1, but these are standardised, about -3 to 3; take"
            " transforms without such limits, or geoseg's: augment.brightness, augment.contrast, …"
        )
    first, again = (augment(image.copy(), target.copy(), valid, 7) for _ in range(2))
    if not all(map(np.array_equal, first, again)):
        raise InputError(
            f"{key}: gives something else for the same seed; draw by random or numpy.random, whose"
            " seeds geoseg sets, so that a training that was stopped goes on as if it were not"
        )


def _is_albumentations(transform: Any) -> bool:
    """Whether it is a transform of albumentations; what is one has imported it."""
    library: Any = sys.modules.get("albumentations")
    return library is not None and isinstance(
        transform, library.BasicTransform | library.BaseCompose
    )


def _parts(transform: Any) -> Iterator[Any]:
    """A transform and those in it."""
    yield transform
    for part in getattr(transform, "transforms", ()):
        yield from _parts(part)
