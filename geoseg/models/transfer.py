"""Load weights into a network for other bands and classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geoseg.errors import InputError
from geoseg.models import weights
from geoseg.models.card import BEST, ModelCard
from geoseg.models.ends import CLICKS, SEASON, Ends, in_encoder, part_of, without_scaling
from geoseg.models.origin import SIZES, Origin, check, goes_on, published
from geoseg.models.published import dialects, fetch
from geoseg.models.published.sources import RGB, Timm
from geoseg.models.published.sources import places as find_places
from geoseg.models.settings import Model
from geoseg.models.weights import COUNTER, Loaded
from geoseg.scenes.bands import is_nameless


def begin(
    network: nn.Module, model: Model, card: ModelCard, folder: Path | None
) -> tuple[ModelCard, str]:
    """Fill a new network with what `model.weights` names, unless `folder` holds one to go on with.

    folder: of the run; None = nothing is gone on with.
    Returns: its card with what it started from, and what is to be said, with a line's end.
    Raises: InputError for weights that do not exist or do not fit.
    """
    if folder is not None and goes_on(folder):
        best = folder / BEST
        before = ModelCard.read(best).started_from if best.is_file() else None
        return replace(card, started_from=before), ""
    loaded = load(network, model, card)
    if loaded is None:
        return card, ""
    start = Origin.find(model.weights)
    source = start.provenance(model.keep) if start else _provenance(model, loaded.source)
    return replace(card, started_from=source), f"{loaded}\n"


def _provenance(model: Model, name: str) -> dict[str, str]:
    """What a model card says of published weights."""
    named = published(model.weights)
    if named is None or isinstance(named.place, Timm):
        from geoseg.models.networks import smp

        place, licence = smp.terms(model)
        return {"name": name, "from": place, "licence": licence, "kept": model.keep}
    made = {"name": name, "from": str(named.place), "licence": named.licence}
    return made | {"hash": named.place.sha256, "kept": model.keep}


def load(network: Any, model: Model, card: ModelCard) -> Loaded | None:
    """Fill a network with what `model.weights` names, if anything.

    network: as built by checkpoint.build for the card, whose bands and legend are the new ones.
    Raises: InputError for weights that do not exist or do not fit.
    """
    if model.weights is None:
        return None
    check(model)
    start = Origin.find(model.weights)
    if start is not None and (start.card is not None or model.keep == "network"):
        return inherit(network, start, card, keep=model.keep)
    return _load_encoder(network.encoder, start, model, card.bands)


def _load_encoder(
    encoder: nn.Module, start: Origin | None, model: Model, bands: tuple[str, ...]
) -> Loaded:
    """Fill an encoder with weights that geoseg did not make, each band with the filter of its name.

    Raises: InputError as `load`.
    """
    before, described = _bands_of(model, start), ""
    named = None if start is not None else published(model.weights)
    if start is not None:
        source, state = str(start.path), weights.read(start.path)
    elif named is not None and not isinstance(named.place, Timm):
        path = fetch.find(named)
        is_onnx = path.suffix == ".onnx"
        state = dialects.read_onnx(path) if is_onnx else weights.read(path)
        source, described = named.name, named.described()
    else:
        from geoseg.models.networks import smp

        state = smp.download(model)
        source = f"{model.encoder} {model.weights}"
        described = "{}: {}, licence {}".format(source, *smp.terms(model))
        described += f"; learnt from {named.learnt}" if named else ""
    places = _places_by_name(before, bands, model) if before else None
    if places is not None:
        _check_count(state, encoder, before, model)
    loaded = weights.load_state(encoder, state, channels=len(bands), source=source, places=places)
    in_turn = "bands: taken in their order; name them by model.weights_bands=[…]"
    of_bands = said_of_bands(before, bands, places) if before else in_turn
    said = [described, of_bands, *loaded.said]
    return replace(loaded, said=tuple(line for line in said if line))


def _bands_of(model: Model, start: Origin | None) -> tuple[str, ...]:
    """What the bands of weights from elsewhere are called; empty where nobody says."""
    if model.weights_bands is not None:
        return tuple(model.weights_bands)
    if start is not None:
        return ()
    named = published(model.weights)
    # What SMP and timm publish as encoders was trained on photographs.
    return RGB if named is None else named.bands


def _places_by_name(
    before: tuple[str, ...], bands: tuple[str, ...], model: Model
) -> tuple[int | None, ...] | None:
    """Where each band is among those of the weights; None = as they come, as photographs do.

    Of photographs' weights, one or two bands that are neither red, green nor blue have no place.
    Raises: InputError if no band is among those of other weights.
    """
    found = find_places(before, bands)
    if any(place is not None for place in found):
        return found
    if before == RGB and model.weights_bands is None:
        return None if len(bands) >= len(before) else found
    asked = ",".join(bands[: len(before)])
    raise InputError(
        f"model.weights={model.weights}: its bands are {', '.join(before)}, and the data set has"
        f" none of them ({', '.join(bands)}); say which of the data set's they are, in that order:"
        f" model.weights_bands=[{asked}], or name the bands in prepare: bands.names"
    )


def _check_count(
    state: Mapping[str, Tensor], encoder: nn.Module, before: tuple[str, ...], model: Model
) -> None:
    """Raises: InputError if the first layer takes another number of bands than have names."""
    renamed = dialects.translated(state, encoder.state_dict())
    pairs = weights.match(encoder.state_dict(), renamed)
    first = next((n for n, t in encoder.state_dict().items() if n in pairs and t.ndim == 4), None)
    if first is None:
        return  # another network's weights, which are refused for that
    count = renamed[pairs[first]].shape[1]
    if count != len(before):
        raise InputError(
            f"model.weights_bands={list(before)}: {len(before)} names, but the first layer of"
            f" {model.weights} takes {count} bands; name each of them, in its order"
        )


def inherit(network: nn.Module, start: Origin, card: ModelCard, *, keep: str) -> Loaded:
    """Fill a network's encoder, or all of it (keep=network), from a file that names it alike.

    Raises: InputError for a file that can't be read, or that is another network's.
    """
    new = {SEASON} if _same_clicks(start, card) else {SEASON, CLICKS}
    state = {n: t for n, t in weights.read(start.path).items() if part_of(n) not in new}
    ends = Ends.of(network, card)
    places = start.places(card.bands)
    if places != tuple(range(len(places or ()))):
        state = without_scaling(state)
    own = {
        name: tensor
        for name, tensor in network.state_dict().items()
        if in_encoder(name) or (keep == "network" and part_of(name) not in new)
    }
    body = {name: tensor for name, tensor in own.items() if name not in ends.classes}
    names = _match(own, state)
    given = {name: state[names[name]] for name in body if name in names}
    fitting = {
        name: placed
        for name, tensor in given.items()
        if (placed := ends.fit(name, tensor, body[name], places)) is not None
    }
    source = str(start.path)
    if keep == "network":
        _check_whole(body, fitting, source=source)
    remedy = _remedy(start, card)
    weights.check_enough(body, fitting, state, source=source, remedy=remedy)
    kept = start.classes(card.legend.names) if keep == "network" else {}
    with torch.no_grad():
        for name, tensor in fitting.items():
            own[name].copy_(tensor)
        for name in ends.classes & names.keys():
            _copy_rows(own[name], state[names[name]], kept)
    used = {names[name] for name in fitting} | {names[n] for n in ends.classes & names.keys()}
    rest = [name for name in state if name not in used and not name.endswith(COUNTER)]
    said = [_of_bands(start, card.bands), _of_classes(card.legend.names, kept, keep)]
    if card.clicks and (keep != "network" or CLICKS in new):
        said.append("clicks: what sees them is new")
    return Loaded(
        source,
        loaded=tuple(name for name in fitting if not name.endswith(COUNTER)),
        missing=tuple(n for n in body if n not in fitting and not n.endswith(COUNTER)),
        unused=tuple(name for name in rest if not weights.is_head(name)),
        heads=tuple(name for name in rest if weights.is_head(name)),
        adapted=tuple(n for n in ends.bands if n in fitting and fitting[n] is not given[n]),
        part=keep,
        said=tuple(line for line in (*said, *start.notes(card)) if line),
    )


def _same_clicks(start: Origin, card: ModelCard) -> bool:
    """Whether a file's network sees clicks of the same classes beside the same bands."""
    before = start.card
    if not isinstance(before, ModelCard) or not (before.clicks and card.clicks):
        return False
    return before.bands == card.bands and before.legend.names == card.legend.names


def _match(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, str]:
    """The file's name for each tensor; that of an encoder alone may lie under any prefix."""
    prefix = "network.encoder."
    if not all(name.startswith(prefix) for name in own):
        return weights.match(own, state)
    bare = {name.removeprefix(prefix): tensor for name, tensor in own.items()}
    return {prefix + name: other for name, other in weights.match(bare, state).items()}


def _check_whole(body: Mapping[str, Tensor], fitting: Mapping[str, Tensor], *, source: str) -> None:
    """Raises: InputError if anything but the last layer would stay random."""
    left = [name for name in body if name not in fitting and not name.endswith(COUNTER)]
    if left:
        raise InputError(
            f"{source}: has no {weights.some(left)} as this network needs them;"
            " model.keep=network takes all but the last layer, so train the same architecture on"
            " as many dates, or set model.keep=encoder"
        )


def _remedy(start: Origin, card: ModelCard) -> str:
    """What to do about a file that does not fit."""
    if not isinstance(start.card, ModelCard) or card.series is None:
        return "give the weights of this encoder, or set model.encoder to the file's"
    sizes = [f"model.{key}={getattr(start.card.model, key)}" for key in SIZES]
    return f"give the network the sizes of the file's: {' '.join(sizes)}"


def _copy_rows(own: Tensor, tensor: Tensor, kept: Mapping[int, int]) -> None:
    """Give classes that are kept their rows of the file's last layer."""
    if kept and tensor.shape[1:] == own.shape[1:]:
        own[list(kept)] = tensor[list(kept.values())].to(own.dtype)


def _of_bands(start: Origin, bands: Sequence[str]) -> str:
    """What became of the bands; nothing if they are the same, or nothing is known of them."""
    places = start.places(bands)
    before = () if start.card is None else start.card.bands
    return said_of_bands(before, bands, places if before else None)


def said_of_bands(
    before: Sequence[str], bands: Sequence[str], places: Sequence[int | None] | None
) -> str:
    """What became of the bands of before; nothing if they are the same.

    places: of each band among those of before; None = nothing is known of them.
    """
    if places is None:
        if any(map(is_nameless, (*before, *bands))):
            return "bands: without names, taken as they come"
        return f"bands: {', '.join(bands)} are taken for {', '.join(before)}, as they come"
    if tuple(before) == tuple(bands):
        return ""
    kept = [band for band, place in zip(bands, places, strict=True) if place is not None]
    new = [band for band, place in zip(bands, places, strict=True) if place is None]
    left = [band for place, band in enumerate(before) if place not in places]
    parts = []
    if kept:
        parts.append(f"{', '.join(kept)} {_verb(kept, 'keep')} {_its(kept)} filters")
    if new:
        parts.append(f"{', '.join(new)} {_verb(new, 'get')} the mean of {', '.join(before)}")
    if left:
        parts.append(f"{', '.join(left)} {_verb(left, 'have')} no place here")
    return f"bands: {'; '.join(parts)}"


def _of_classes(names: Sequence[str], kept: Mapping[int, int], keep: str) -> str:
    """What became of the last layer."""
    if keep == "encoder":
        return "the head is new"
    old = [names[index] for index in kept]
    new = [name for index, name in enumerate(names) if index not in kept]
    parts = []
    if old:
        parts.append(f"{', '.join(old)} {_verb(old, 'keep')} {_its(old)} weights")
    if new:
        parts.append(f"{', '.join(new)} {_verb(new, 'be')} new")
    return f"classes: {'; '.join(parts)}"


def _verb(subjects: Sequence[str], verb: str) -> str:
    if len(subjects) > 1:
        return "are" if verb == "be" else verb
    return {"be": "is", "have": "has"}.get(verb, f"{verb}s")


def _its(subjects: Sequence[str]) -> str:
    return "their" if len(subjects) > 1 else "its"
