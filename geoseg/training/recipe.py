"""Choose what the settings leave open by what the data set holds."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from geoseg.dataset.samples import SeriesDataset
from geoseg.dataset.tiles import Dataset
from geoseg.errors import InputError
from geoseg.models import origin
from geoseg.models.published import fetch
from geoseg.models.published.sources import SOURCES
from geoseg.models.settings import AUTO, CLASSIFY, PROBE, Model
from geoseg.outputs.counted import counted
from geoseg.samples.augment import Augment
from geoseg.samples.settings import LIGHT, STRONG
from geoseg.training.objectives.settings import Loss
from geoseg.training.settings import (
    ADVERSARIAL,
    EPOCH_TILES,
    EPOCHS,
    REMEMBER,
    UNLABELLED,
    Fit,
    TrainingSettings,
)

PHOTOGRAPHS = "lite0"
"""Weights of an encoder that has seen photographs, for images as fine as these. After equal
minutes the IoU of the buildings on other ground is a fifth to a half higher for a U-Net that starts
from them than for one from random weights (docs/benchmarks.md)."""
STARTED = ("unet", "unetplusplus", "fpn", "pspnet", "deeplabv3plus")
"""Networks that gained by them in the same minutes. UPerNet, of which a step takes so long that it
had learnt nothing yet, did not; the others have encoders of their own kind."""
RANDOM = "resnet18"
ENCODERS = {
    "segnet": "vgg16_bn",
    "segformer": "mit_b0",
    "dpt": "tu-vit_small_patch16_224",
    PROBE: SOURCES[PHOTOGRAPHS].encoders[0],
}
"""Encoders of the networks that do not take RANDOM, or are not best with it."""
IMAGE_TERMS = {"cross_entropy": 1.0, "dice": 1.0}
"""Terms of the loss: dice finds the small classes, cross-entropy keeps the others honest."""
SERIES_TERMS = {"cross_entropy": 1.0}
SERIES_SMOOTHING = 0.05
"""Parcels carry wrong labels, and few of them are shown many times."""
SERIES_RATE = 2e-3
SERIES_DROPOUT = 0.5
"""Of TempCNN, as in conf/model/tempcnn.yaml."""
FINE_RATE = 3e-4
"""Of a whole network from weights, and of a new head on a transformer or ConvNeXt."""
CLICKS_RATE = 3e-3
"""Of what sees clicks, where nothing else learns."""
FINE_SCALE = 0.3
"""Of the rate, what an encoder from weights gets below a new head."""
ATTENTIVE = (
    *("mit_", "vit", "swin", "former", "eva", "beit", "deit", "hiera", "pvt", "convnext"),
    *("xcit", "cait", "twins", "coat", "volo", "tnt"),
)
"""Parts of the names of encoders whose layers are normalised one by one (transformers, and what is
built like them): at the rate of a random head they lose what they know."""
LONG = 4
"""Epochs of a training from which on the encoder may stand still in the first."""
SERIES_EPOCH = 1280
"""Samples of an epoch at least: twenty steps between validations."""
VALIDATING = 7
"""Train tiles drawn per val tile: validated ones pass the network once, without a gradient, which
is a third of a step, so that a validation takes a twentieth of an epoch."""
ROUNDS = 4
"""Draws of each train tile between two validations at most."""
CROP = 128
"""Side in pixels of a square that is learnt from at least, where it is chosen."""
CROPPED = ("unet", "unetplusplus", "fpn", "deeplabv3plus", "segnet")
"""Networks that learn from parts of a tile: their layers look at what is near. PSPNet sums up whole
tiles, and UPerNet gained nothing (docs/benchmarks.md)."""
FINE = 2.0
"""Pixel size in metres up to which squares of tiles are enough: orthophotos and drone images, whose
objects are tens of pixels wide, as in photographs."""
FEW = 600_000
"""Labelled pixels (nine tiles of 256²) below which an encoder from weights sees them much varied:
it would know them by heart. With more, light changes teach it more (docs/transfer.md)."""
TERMS = {
    "label_smoothing": "cross_entropy",
    "focal_gamma": "focal",
    **dict.fromkeys(("tversky_alpha", "tversky_beta"), "tversky"),
    **dict.fromkeys(("bootstrap_target", "bootstrap_beta"), "bootstrapped"),
    **dict.fromkeys(("symmetric_alpha", "symmetric_beta", "symmetric_log_zero"), "symmetric"),
}
"""Settings of a loss, and the term that each is of."""
LABELLED = 0.5
"""Share of the train tiles' pixels from which on nearly every square has labels to learn from."""


def network_for(
    model: Model,
    dataset: Dataset | SeriesDataset,
    *,
    remember: str | None = None,
    before: Model | None = None,
) -> Model:
    """A network's settings, auto being what is best by default for what a data set holds.

    By measurement: docs/benchmarks.md. remember: an earlier run that it starts from anyway.
    before: the network of the run that goes on, if any, which what is left open follows.
    """
    model = _named(model, dataset)
    if before is not None and before.name == model.name:
        model = replace(
            model,
            encoder=before.encoder if model.encoder == AUTO else model.encoder,
            weights=before.weights if model.weights == AUTO else model.weights,
        )
    if remember is None and _wants_photographs(model, dataset) and not _lacking():
        source = SOURCES[PHOTOGRAPHS]
        return replace(model, encoder=source.encoders[0], weights=source.name)
    return from_what_is_named(model, remember)


def from_what_is_named(model: Model, start: str | None = None) -> Model:
    """A network's settings, auto being random weights, and the encoder of those that are named.

    start: weights that it starts from, besides model.weights. What is wrong with either is for
    `origin.check` to say, beside all else that is.
    """
    if model.weights == AUTO:
        model = replace(model, weights=None)
    if model.encoder != AUTO:
        return model
    found = None
    with suppress(InputError):
        found = origin.encoder_of(start or model.weights)
    return replace(model, encoder=found or ENCODERS.get(model.name, RANDOM))


def what_lacks(model: Model, made: Model, dataset: Dataset | SeriesDataset) -> list[str]:
    """What keeps a network from the weights that are best by default for a data set, for people.

    model, made: before and after `network_for`.
    """
    if made.weights is not None:
        return []
    missing = _lacking() if _wants_photographs(_named(model, dataset), dataset) else ""
    return [f"the network starts from random weights; {missing}"] if missing else []


def _named(model: Model, dataset: Dataset | SeriesDataset) -> Model:
    if model.name != AUTO:
        return model
    if isinstance(dataset, SeriesDataset):
        dropout = SERIES_DROPOUT if model.dropout is None else model.dropout
        return replace(model, name="tempcnn", dropout=dropout)
    return replace(model, name="unet" if dataset.reference is None else "utae")


def _wants_photographs(model: Model, dataset: Dataset | SeriesDataset) -> bool:
    """Whether a network leaves open what it starts from, and a data set holds photographs."""
    if (model.encoder, model.weights) != (AUTO, AUTO) or model.name not in STARTED:
        return False
    # Of whatever bands: in disorder the filters of the first layer were worth about as much, and
    # even all alike, as a single band gets them, far more than random weights.
    return not isinstance(dataset, SeriesDataset) and is_fine(dataset)


def _lacking() -> str:
    """What keeps this installation from the weights of photographs; "" if nothing does."""
    try:
        fetch.check(SOURCES[PHOTOGRAPHS])
    except InputError as fault:
        return str(fault)
    return ""


def for_images(
    study: TrainingSettings, dataset: Dataset, *, on_cpu: bool = True
) -> TrainingSettings:
    """The settings of a training on images or on windows through time, none left open."""
    fit = replace(study.fit, crop=_crop(study, dataset, on_cpu=on_cpu))
    if fit.epoch_tiles is None:
        train, val = len(dataset.tiles("train")), len(dataset.tiles("val"))
        fit = replace(fit, epoch_tiles=max(EPOCH_TILES, min(VALIDATING * val, ROUNDS * train)))
    if not study.lr_find:  # which looks for the rate of what learns later on, the encoder, too
        fit = fine_tuning(fit, study.model)
    return replace(
        study,
        fit=fit,
        loss=_loss(study, weights="none", smoothing=0.0),
        augment=_augment(study, dataset),
    )


def _augment(study: TrainingSettings, dataset: Dataset) -> Augment:
    """What varies the samples: an encoder from weights soon knows a few tiles by heart, which a
    random one does not in as many steps."""
    given, model = replace(study.augment, auto=False), study.model
    if not study.augment.auto or given != LIGHT:
        return given
    starts = model.weights is not None and model.keep == "encoder" and not model.frozen
    if not starts or not is_fine(dataset) or model.name == CLASSIFY:
        return given
    labelled = sum(sum(tile.counts) for tile in dataset.tiles("train"))
    return STRONG if study.fit.train_share * labelled < FEW else given


def is_fine(dataset: Dataset) -> bool:
    """Whether its images have the pixels of orthophotos and drone images."""
    return dataset.pixel_size_m <= FINE and dataset.reference is None


def _crop(study: TrainingSettings, dataset: Dataset, *, on_cpu: bool) -> int:
    size, fit = dataset.tiling.size, study.fit
    if fit.crop is not None:
        return min(fit.crop, size)
    if not (on_cpu and is_fine(dataset) and study.model.name in CROPPED):
        return size
    tiles = dataset.tiles("train")
    labelled = sum(sum(tile.counts) for tile in tiles)
    if labelled < LABELLED * sum(tile.window.height * tile.window.width for tile in tiles):
        return size
    return min(size, max(CROP, size // 2))


def fine_tuning(fit: Fit, model: Model) -> Fit:
    """The loop's settings of a network that starts from weights, where they are left open.

    What an encoder knows is soon forgotten at the rate that a random one needs.
    """
    if model.weights is None or model.for_series or model.frozen:
        return fit
    head_is_new = model.keep == "encoder"
    attentive = any(part in model.encoder for part in ATTENTIVE)
    rate = fit.learning_rate
    if fit.clicks_only:
        rate = rate or CLICKS_RATE
    elif attentive or not head_is_new:
        rate = rate or FINE_RATE
    # How many epochs some minutes make nobody knows yet: it may be one.
    epochs = EPOCHS if fit.epochs is None and fit.max_minutes is None else fit.epochs
    wait = attentive and head_is_new and epochs is not None and epochs >= LONG
    return replace(
        fit,
        learning_rate=rate,
        encoder_lr_scale=fit.encoder_lr_scale or (FINE_SCALE if head_is_new else 1.0),
        freeze=int(wait) if fit.freeze is None else fit.freeze,
    )


def for_series(study: TrainingSettings) -> TrainingSettings:
    """The settings of a training on series of parcels or pixels, none left open.

    Their networks are small: float32 costs them nothing, and a loader process more than it gives.
    """
    fit = study.fit
    return replace(
        study,
        loss=_loss(study, weights="tempered", smoothing=SERIES_SMOOTHING),
        fit=replace(
            fit,
            learning_rate=fit.learning_rate or SERIES_RATE,
            epoch_tiles=fit.epoch_tiles or SERIES_EPOCH,
            precision="32" if fit.precision == "auto" else fit.precision,
            workers=fit.workers or 0,
        ),
    )


def without_part(study: TrainingSettings) -> list[str]:
    """Names of the settings that were given, but belong to what the training does not do."""
    found = []
    for leader, *followers in (ADVERSARIAL, REMEMBER, UNLABELLED):
        if not getattr(study.fit, leader):
            found += [f"fit.{key}" for key in followers if _is_given(study.fit, key)]
    if study.loss.target is None and not study.scene.several:
        for key, term in TERMS.items():
            if not study.loss.terms.get(term) and _is_given(study.loss, key):
                found.append(f"loss.{key}")
    if study.augment.style is None:
        styles = ("style_how", "style_chance", "style_beta")
        found += [f"augment.{key}" for key in styles if _is_given(study.augment, key)]
    return found


def _is_given(settings: object, key: str) -> bool:
    """Whether a setting is another than the usual one, and not none or 0."""
    value = getattr(settings, key)
    return bool(value) and value != getattr(type(settings)(), key)


def said(study: TrainingSettings) -> str:
    """What a training goes by, in a line: what the settings said and what was chosen for them.

    A second line names settings that were given in vain.
    """
    fit, loss = study.fit, study.loss
    of_loss = " + ".join(
        name if share == 1 else f"{share:g} {name}" for name, share in loss.terms.items()
    )
    if study.scene.several:
        of_loss = "binary cross-entropy"
    parts = [f"loss {loss.target or of_loss}"]
    if loss.class_weights not in ("none", "auto"):
        parts.append(f"class weights {loss.class_weights}")
    if loss.label_smoothing:
        parts.append(f"label smoothing {loss.label_smoothing:g}")
    if study.augment == STRONG:
        parts.append("strong augmentation")
    if study.augment.target is not None:
        parts.append(f"augmentation {study.augment.target} alone")
    if study.augment.style is not None:
        share, how = study.augment.style_chance, study.augment.style_how
        parts.append(f"{share:.0%} of the samples in looks of other scenes ({how})")
    parts.append(f"batches of {fit.batch_size}, learning rate {fit.peak:g}")
    if study.model.frozen:
        parts.append("the encoder stays as it is")
    if fit.encoder_scale != 1:
        parts.append(f"of the encoder {fit.peak * fit.encoder_scale:g}")
    if fit.frozen:
        parts.append(f"which is frozen for {counted(fit.frozen, 'epoch')}")
    recipe = f"recipe: {', '.join(parts)}"
    idle = without_part(study)
    return f"{recipe}\nnote: without a part in this training: {', '.join(idle)}" if idle else recipe


def terms(loss: Loss, model: Model) -> dict[str, float]:
    """The terms of a loss, with their weights."""
    of_samples = model.for_series or model.name == CLASSIFY
    return loss.terms or (SERIES_TERMS if of_samples else IMAGE_TERMS)


def _loss(study: TrainingSettings, *, weights: str, smoothing: float) -> Loss:
    loss = study.loss
    if loss.target is not None:
        return loss
    found = terms(loss, study.model)
    smoothing = smoothing if found.get("cross_entropy") else 0.0
    return replace(
        loss,
        terms=found,
        class_weights=weights if loss.class_weights == "auto" else loss.class_weights,
        label_smoothing=smoothing if loss.label_smoothing is None else loss.label_smoothing,
    )
