"""Let networks say, beside what they see, how far that is from what they know.

Letters of shapes: B windows of a batch, C channels, K classes, d features, H and W.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoseg.errors import InputError
from geoseg.models.looks import MOST_OF_IT, looks
from geoseg.models.novelty import WIDEST, Applicability, FeatureNovelty, mahalanobis


class Listening(nn.Module):
    """A network for images that keeps its encoder's deepest features for whoever asks."""

    def __init__(self, network: nn.Module) -> None:
        """Raises: InputError if it has no encoder that gives features."""
        super().__init__()
        encoder = getattr(network, "encoder", None)
        if not isinstance(encoder, nn.Module) or isinstance(encoder, nn.ModuleList):
            raise InputError(
                f"novelty: {type(network).__name__} has no encoder whose features could be looked"
                " at; take one that has (model.name=unet, fpn, deeplabv3plus, segnet …)"
            )
        self.network = network

    def both(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, K, H, W) and features (B, C, h, w) of images."""
        kept: list[Tensor] = []

        def keep(module: nn.Module, given: Any, made: Any) -> None:
            kept.append(deepest(made))

        encoder = self.network.encoder
        assert isinstance(encoder, nn.Module)
        handle = encoder.register_forward_hook(keep)
        try:
            logits: Tensor = self.network(images)
        finally:
            handle.remove()
        return logits, kept[-1]


def deepest(made: Any) -> Tensor:
    """The last features of what an encoder returns: a tensor, a list of them, or with indices."""
    if isinstance(made, Tensor):
        return made
    found = made[-1] if isinstance(made[-1], Tensor) else made[0]
    assert isinstance(found, Tensor)
    return found


class ScoredImages(Listening):
    """A network for images whose logits are followed by distance, energy and oddness of looks."""

    mean: Tensor
    precision: Tensor
    mixture: Tensor
    looks_mean: Tensor
    looks_precision: Tensor

    def __init__(self, network: nn.Module, novelty: FeatureNovelty) -> None:
        super().__init__(network)
        for name in ("mean", "precision", "mixture", "looks_mean", "looks_precision"):
            values = torch.tensor(getattr(novelty, name), dtype=torch.float32)
            self.register_buffer(name, values, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, K + 3, H, W): logits, Mahalanobis distance of the encoder's features, energy (Liu et
        al. 2020), and Mahalanobis distance of the looks."""
        logits, features = self.both(images)
        with torch.autocast(images.device.type, enabled=False):
            away = distance(mixed(features.float(), self.mixture), self.mean, self.precision)
            seen, share = looks(images)
            # Less than half a cell says little of its looks; the fill beside it is not new.
            odd = distance(seen, self.looks_mean, self.looks_precision) * (share > MOST_OF_IT)
            logits = logits.float()
            energy = -logits.logsumexp(dim=1, keepdim=True)
            return torch.cat([logits, _wide(away, logits), energy, _wide(odd, logits)], dim=1)


def _wide(values: Tensor, like: Tensor) -> Tensor:
    size = like.shape[-2:]
    return F.interpolate(values, size=size, mode="bilinear", align_corners=False)


def distance(features: Tensor, mean: Tensor, precision: Tensor) -> Tensor:
    """Mahalanobis distance (B, 1, h, w) of features (B, d, h, w)."""
    batch, size, height, width = features.shape
    found: Tensor = mahalanobis(features.movedim(1, -1).reshape(-1, size), mean, precision)
    return found.reshape(batch, 1, height, width)


def mixed(features: Tensor, mixture: Tensor) -> Tensor:
    """Features (B, d, h, w) of an encoder's (B, C, h, w)."""
    if not mixture.numel():
        return features
    return torch.einsum("bchw,cd->bdhw", features, mixture)


class ScoredSeries(nn.Module):
    """A network for series whose logits are followed by the dissimilarity index."""

    points: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, novelty: Applicability) -> None:
        """Raises: InputError if it has no classifier."""
        super().__init__()
        self.features = SeriesFeatures(network)
        for name in ("points", "mean", "std"):
            values = torch.tensor(getattr(novelty, name), dtype=torch.float32)
            self.register_buffer(name, values, persistent=False)
        self._average = float(novelty.average)

    def forward(self, values: Tensor, valid: Tensor, days: Tensor, shape: Tensor) -> Tensor:
        """(N, K + 1): logits and the index, which is 0 where nothing is valid."""
        logits, features = self.features(values, valid, days, shape)
        seen = valid.flatten(1).any(dim=1)
        with torch.autocast(values.device.type, enabled=False):
            index = logits.new_zeros(len(logits), 1, dtype=torch.float32)
            if seen.any():
                away = torch.cdist((features[seen].float() - self.mean) / self.std, self.points)
                index[seen] = away.amin(dim=1, keepdim=True) / self._average
            return torch.cat([logits.float(), index], dim=1)


class SeriesFeatures(nn.Module):
    """A network for series, and what its classifier gets to see."""

    def __init__(self, network: nn.Module) -> None:
        """Raises: InputError if it has no classifier."""
        super().__init__()
        if not isinstance(getattr(network, "classifier", None), nn.Sequential):
            raise InputError(
                f"novelty: {type(network).__name__} has no features that could be looked at; take"
                " a network that has (model.name=ltae, psetae, lstm or tempcnn)"
            )
        self.network = network

    def forward(
        self, values: Tensor, valid: Tensor, days: Tensor, shape: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits (N, K) and features (N, d), 0 where nothing is valid."""
        kept: list[Tensor] = []

        def keep(module: nn.Module, given: tuple[Tensor, ...]) -> None:
            kept.append(given[0])

        handle = self._seat().register_forward_pre_hook(keep)
        try:
            logits: Tensor = self.network(values, valid, days, shape)
        finally:
            handle.remove()
        found = torch.cat(kept) if kept else logits.new_zeros(0, 1)
        if len(found) == len(logits):
            return logits, found
        # Most networks leave out samples of which nothing is valid.
        seen = valid.flatten(1).any(dim=1)
        features = found.new_zeros(len(logits), found.shape[1])
        features[seen] = found
        return logits, features

    def _seat(self) -> nn.Module:
        """The layer before which features are taken: the classifier, or its last one if they are
        too many before it."""
        classifier = self.network.classifier
        assert isinstance(classifier, nn.Sequential)
        for module in classifier.modules():
            if isinstance(module, nn.Linear):
                return classifier if module.in_features <= WIDEST else classifier[-1]
        return classifier
