"""Hold a trained network, loaded when it is first needed, with its inference settings."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geoseg.errors import Faults, InputError
from geoseg.maps.layers import CONFIDENCE, DISAGREEMENT, NOVELTY
from geoseg.maps.thresholds import Thresholds
from geoseg.models.calibration import Calibration
from geoseg.models.card import JUDGED, ModelCard, find_weights, weights_hash
from geoseg.models.novelty import FeatureNovelty, Novelty
from geoseg.models.novelty import read as read_novelty
from geoseg.models.settings import CLASSIFY, FOREST, OWN
from geoseg.models.suitability import PIXEL_TOLERANCE
from geoseg.prediction.network.settings import TTA, WITH_FEATURES, InferenceSettings
from geoseg.received import tensor_file

if TYPE_CHECKING:
    from torch import nn


@dataclass
class TrainedNetwork:
    """A trained network, and how it is to run."""

    card: ModelCard
    hash: str
    """Names the model in its maps."""
    source: Path | nn.Module
    """Weights file, or the network itself: what a network of its kind takes → logits."""
    running: InferenceSettings = field(default_factory=InferenceSettings)
    tta: str = "none"
    """Test-time augmentation: none, flips, or d4 (all symmetries of the square)."""
    others: tuple[TrainedNetwork, ...] = ()
    """Networks whose probabilities are averaged with those of this one."""
    own_hash: str = ""
    """Of this network alone, where `hash` names an ensemble."""
    named: Any = None
    """Code outside geoseg that the user named for it: an import path, or a module."""
    known: Novelty | None = None
    """What the network knows, if that is not to be taken from its file."""
    _loaded: nn.Module | None = field(default=None, init=False, repr=False, compare=False)

    @classmethod
    def open(
        cls,
        checkpoint: Any,
        running: InferenceSettings | None = None,
        *,
        tta: str = "none",
        model: Any = None,
    ) -> TrainedNetwork:
        """Of a run folder or a weights file, or of a list of these: an ensemble.

        model: for a network of other code its import path, module:attribute, or a list of them, or
        a torch module that takes its weights: a checkpoint never imports code by itself.
        Raises: InputError if one isn't whole, or they can't be averaged.
        """
        running = running or InferenceSettings()
        faults = Faults()
        if tta not in TTA:
            faults.add(f"tta={tta}: choose from {', '.join(TTA)}")
        members = []
        for part in checkpoint if isinstance(checkpoint, (list, tuple)) else [checkpoint]:
            with faults.collect():
                path = find_weights(part)
                card = ModelCard.read(path)
                tensor_file.check(path)
                if card.model.name == CLASSIFY:
                    raise InputError(
                        f"{path}: gives whole tiles a class (model=classify), which geoseg.predict"
                        " alone can use, one such checkpoint at a time; give a network that"
                        " classifies pixels"
                    )
                member = cls(card, weights_hash(path), path, running, tta, named=model)
                if card.model.name == OWN:
                    member.load()  # what can't be imported is to be said now
                members.append(member)
        faults.attempt(_check_named, [member.card for member in members], checkpoint, model)
        for member in members[1:]:
            faults.attempt(_check_alike, members[0], member)
        for member in members:
            series = member.card.series
            if tta in TTA[1:] and series is not None and series.unit != "map":
                faults.add(
                    f"tta={tta}: {member.source} is a network for series of single pixels or"
                    " parcels, to which no turn makes a difference; leave it out"
                )
        faults.raise_if_any()
        if len(members) == 1:
            return members[0]
        return replace(
            members[0],
            hash=_joint_hash(members),
            own_hash=members[0].hash,
            others=tuple(members[1:]),
        )

    @property
    def thresholds(self) -> Thresholds | None:
        """Below which probabilities pixels stay without class; None = each gets one.

        Raises: InputError for unknown classes and numbers outside 0..1.
        """
        running, legend = self.running, self.card.legend
        if running.undecided is not None:
            calibration = self.calibration
            if calibration is None:
                raise InputError(
                    f"predict.undecided={running.undecided:g}: the checkpoint has no calibration;"
                    " make one (python -m geoseg.calibrate), or set predict.threshold"
                )
            least = calibration.threshold(running.undecided)
            said = f"risk {running.undecided:g}, threshold {least:g}"
            return Thresholds((least,) * len(legend), said)
        if running.threshold is None:
            return None
        made = Thresholds.parse(running.threshold, legend)
        return made if made.matter else None

    @property
    def calibration(self) -> Calibration | None:
        """That of the mean of all members; None without.

        Raises: InputError if it is that of other networks, or of other turns.
        """
        found = [m.card.calibration for m in self.members if m.card.calibration is not None]
        if not found:
            return None
        made, hashes = found[0], [m.origin for m in self.members]
        before = [m.before_refit for m in self.members if m.origin not in made.pooled]
        made.check_pooled(hashes, self.tta, self.smooth, before=[p for p in before if p])
        return made

    @property
    def before_refit(self) -> Path | None:
        """The weights of its run from before it learnt from val, too; None if it has none."""
        if not self.card.refit or not isinstance(self.source, Path):
            return None
        path = self.source.parent / JUDGED
        return path if path.is_file() else None

    @property
    def smooth(self) -> int:
        """Side of the squares over which probabilities are averaged, in pixels; 0 = none.

        Of several networks, whose mean is less noisy than each of them, the least that they want.
        """
        if self.running.smooth is not None:
            return self.running.smooth
        return min(member.card.smooth for member in self.members)

    @property
    def origin(self) -> str:
        """Hash of the weights, those without a calibration."""
        made = self.card.calibration
        return self.hash_alone if made is None else made.copied_from

    @property
    def hash_alone(self) -> str:
        """Names this network, without those that are averaged with it."""
        return self.own_hash or self.hash

    def check_layers(self) -> None:
        """Raises: InputError for layers that this network can't have, and for faulty thresholds."""
        faults = Faults()
        with faults.collect():
            self.calibration  # noqa: B018
            self.thresholds  # noqa: B018
        faults.attempt(self.check_novelty)
        if DISAGREEMENT in self.running.chosen_layers and not self.others and self.tta == "none":
            faults.add(
                "predict.layers: disagreement is that of several networks or turns, and there is"
                " one; set checkpoint=[<run>,<run>,…] or tta=flips, or leave it out"
            )
        self._check_resample(faults)
        faults.raise_if_any()

    def _check_resample(self, faults: Faults) -> None:
        if self.running.resample and self.card.series is not None:
            faults.add(
                "predict.resample=true: is for networks for images; this one is for series, whose"
                " images must have the pixel size of the training; leave it out"
            )

    @property
    def novelty(self) -> Novelty | None:
        """What tells how far a pixel is from what this network knows; None if its file doesn't.

        Raises: InputError if that is incomplete.
        """
        if self.known is None and isinstance(self.source, Path):
            self.known = read_novelty(self.source, series=self.card.series is not None)
        return self.known

    @property
    def wants_novelty(self) -> bool:
        """Whether predictions are to say how far pixels are from what the network knows."""
        return self.running.wants_novelty

    @property
    def knowing(self) -> TrainedNetwork | None:
        """The first of the members that says what it knows; None if nobody asks, or none does."""
        if not self.wants_novelty:
            return None
        return next((member for member in self.members if member.novelty is not None), None)

    @property
    def score_planes(self) -> int:
        """Planes that this network adds to its logits to say how novel pixels are."""
        return len(self.novelty.scores) if isinstance(self.novelty, FeatureNovelty) else 1

    def check_novelty(self) -> None:
        """Raises: InputError if nobody can tell how novel pixels are, and what to do about it."""
        if not self.wants_novelty:
            return
        faults = Faults()
        asked = "refuse_novel=true" if self.running.refuse_novel else "layers: novelty"
        if all(member.card.model.name == FOREST for member in self.members):
            faults.add(
                f"predict.{asked}: a forest has no features by which ground is known or new; take a"
                " network, or look at predict.layers=[entropy]"
            )
        elif self.card.series is not None and self.card.series.unit == "map":
            faults.add(
                f"predict.{asked}: is not for networks for dated maps (unit=map); leave it out"
            )
        elif self.knowing is None:
            # A forest beside it can't be taught that.
            sources = [m.source for m in self.members if m.card.model.name != FOREST]
            name = sources[0] if isinstance(sources[0], Path) else "<run>"
            run = name.parent if isinstance(name, Path) else name
            faults.add(
                f"predict.{asked}: {name} does not say what its network knows; make weights that"
                f" do: python -m geoseg.calibrate checkpoint={run} dataset=<its data set>"
                f" out={run}/calibrated.safetensors novelty=true, and predict with these"
            )
        if self.running.wanted_backend not in WITH_FEATURES:
            faults.add(
                f"predict.backend={self.running.wanted_backend}: does not let anybody look at the"
                f" network's features, which predict.{asked} needs; take predict.backend=torch"
            )
        faults.raise_if_any()

    @property
    def members(self) -> tuple[TrainedNetwork, ...]:
        """This network and those that are averaged with it."""
        return (self, *self.others)

    def load(self) -> nn.Module:
        """The network in evaluation mode. Raises: InputError if the file is damaged."""
        if self._loaded is None and isinstance(self.source, Path):
            from geoseg.models import checkpoint

            self._loaded, _ = checkpoint.load(self.source, self.named)
        loaded = self._loaded or self.source
        assert not isinstance(loaded, Path)
        return loaded.eval()

    def __getstate__(self) -> dict[str, Any]:
        """To another process goes the name of the weights, not the weights."""
        return self.__dict__ | {"_loaded": None}

    def for_windows(self, *, scored: bool = False) -> nn.Module:
        """The network as a function of windows: (B, C, H, W) float32 → logits (B, K, H, W).

        scored: `score_planes` follow the logits. Raises: InputError if it has no features.
        """
        network = self.scored() if scored else self.load()
        if self.card.series is None:
            return network
        from geoseg.models.view import View
        from geoseg.prediction.windows import CubeWindows, PixelWindows

        view, bands = View(self.card.statistics, self.card.series), len(self.card.bands)
        if self.card.series.unit == "map":
            return CubeWindows(network, bands)
        planes = len(self.card.legend) + (self.score_planes if scored else 0)
        return PixelWindows(network, view, planes)

    def scored(self) -> nn.Module:
        """The network, whose logits are followed by scores of how novel it is what it sees.

        Raises: InputError if it has no features.
        """
        from geoseg.models.scored import ScoredImages, ScoredSeries

        novelty = self.novelty
        assert novelty is not None
        if isinstance(novelty, FeatureNovelty):
            return ScoredImages(self.load(), novelty).eval()
        return ScoredSeries(self.load(), novelty).eval()

    def check_of_samples(self, what: str) -> None:
        """Raises: InputError for what only maps of pixels can have."""
        faults = Faults()
        others = [x for x in self.running.chosen_layers if x not in (CONFIDENCE, NOVELTY)]
        if others:
            faults.add(
                f"predict.layers={self.running.layers}: {what} have their second class and its"
                f" confidence in the table; leave out {', '.join(others)}"
            )
        faults.attempt(self.check_novelty)
        if self.running.refuse_novel:
            faults.add(
                f"predict.refuse_novel=true: is for maps of pixels; {what} have a column that says"
                " whether they are novel: predict.layers=[confidence,novelty]"
            )
        if self.running.threshold is not None or self.running.undecided is not None:
            faults.add(
                f"predict.threshold, predict.undecided: are for maps of pixels; {what} have"
                " threshold=<number>"
            )
        self._check_resample(faults)
        if self.tta != "none":
            faults.add(f"tta={self.tta}: {what} can't be turned; leave it out")
        if self.running.smooth:
            faults.add(
                f"predict.smooth={self.running.smooth}: {what} have no neighbours to be averaged"
                " with; leave it out"
            )
        if self.running.wanted_backend not in (None, "torch"):
            faults.add(
                f"predict.backend={self.running.wanted_backend}: torch classifies {what}; leave it"
                " out"
            )
        faults.raise_if_any()


def _check_named(cards: Sequence[ModelCard], checkpoint: Any, model: Any) -> None:
    """Raises: InputError for code that no checkpoint asks for: it would be passed over."""
    if model is None or not cards:
        return
    if all(card.model.name != OWN for card in cards):
        said = f"model.target={model}" if isinstance(model, str | list | tuple) else "model"
        raise InputError(
            f"{said}: {checkpoint} is of geoseg's own network {cards[0].model.name}, which needs"
            " no other code; leave it out"
        )


def _check_alike(first: TrainedNetwork, other: TrainedNetwork) -> None:
    """Raises: InputError with all that keeps two networks from being averaged."""
    faults = Faults()
    one, two = first.card, other.card
    where = f"checkpoint {other.source}"
    if one.legend.meaning != two.legend.meaning:
        faults.add(
            f"{where}: classes {two.legend}, but {first.source} knows {one.legend}; average"
            " networks of one legend"
        )
    if one.bands != two.bands:
        faults.add(
            f"{where}: sees the bands {', '.join(two.bands)}, but {first.source}"
            f" {', '.join(one.bands)}; average networks of the same bands"
        )
    sizes = one.pixel_size_m, two.pixel_size_m
    if all(sizes) and not 1 / PIXEL_TOLERANCE <= sizes[0] / sizes[1] <= PIXEL_TOLERANCE:
        faults.add(
            f"{where}: saw pixels of {sizes[1]:g} m, but {first.source} {sizes[0]:g} m; average"
            " networks of one pixel size"
        )
    pairs = [[tags.pair for tags in card.tags] for card in (one, two)]
    if one.bands == two.bands and pairs[0] != pairs[1] and all(pairs):
        faults.add(
            f"{where}: was trained on values of another scale or offset than {first.source};"
            " average networks that were trained on values of one unit"
        )
    if said := _differences(one, two):
        faults.add(
            f"{where}: was trained on series or nodata of another kind than {first.source}"
            f" ({', '.join(said)}); average networks that were trained on one data set"
        )
    elif one.series is not None and not _same_scaling(one, two):
        faults.add(
            f"{where}: scales its series otherwise than {first.source}; average networks for"
            " series that were trained on one data set"
        )
    faults.raise_if_any()


def _differences(one: ModelCard, two: ModelCard) -> list[str]:
    """In what the inputs of two networks differ that one pass can't give both: name and values.

    Gaps each network fills as it was trained.
    """
    pairs = [(name, getattr(one, name), getattr(two, name)) for name in ("nodata", "partial")]
    if one.series is None or two.series is None:
        pairs.append(("series", one.series is not None, two.series is not None))
    else:
        mine, other = one.series.to_dict(), two.series.to_dict()
        pairs += [(name, mine[name], other[name]) for name in mine if name not in ("fill", "step")]
    # NaN, which may mean nodata, differs from itself.
    return [f"{name} {b}, not {a}" for name, a, b in pairs if a != b and (a == a or b == b)]


def _same_scaling(one: ModelCard, two: ModelCard) -> bool:
    pairs = zip(one.statistics.scaling(), two.statistics.scaling(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def _joint_hash(members: Sequence[TrainedNetwork]) -> str:
    return hashlib.sha256("+".join(m.hash for m in members).encode()).hexdigest()[:16]
