"""Classify samples and decide where the network is sure enough."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geoseg.dataset.samples import Samples
from geoseg.errors import Faults, InputError
from geoseg.geo.legend import NO_DECISION, NODATA, UNDECIDED, Legend
from geoseg.models.card import SeriesCard
from geoseg.models.novelty import LARGEST_SHARE, Applicability
from geoseg.outputs.summary import Summary
from geoseg.prediction.writer.scene_writer import no_number

if TYPE_CHECKING:
    from geoseg.prediction.network import TrainedNetwork

DIGITS = 4
"""Of confidences: more of them say nothing."""
_JUST_BELOW = 1e-6
"""What rounding may take from a whole percent."""


@dataclass(frozen=True)
class Decisions:
    """What a network says of N samples; all arrays have length N.

    The second class is the best one besides the first: where there is no decision, the best guess.
    """

    code: np.ndarray
    """Class code, int64; 0 = no decision."""
    confidence: np.ndarray
    """0..1; NaN where there is no decision."""
    code2: np.ndarray
    """Second class; 0 where nothing was observed."""
    confidence2: np.ndarray
    clear: np.ndarray
    """Mean number of clear dates of the sample's pixels."""

    @classmethod
    def of(
        cls,
        probabilities: np.ndarray,
        clear: np.ndarray,
        legend: Legend,
        *,
        threshold: float = 0.0,
        min_clear: int = 1,
    ) -> Decisions:
        """probabilities: (N, K), NaN for samples that were not observed. clear: (N,).

        threshold: confidence from which on, min_clear: clear dates from which on there is a class.
        """
        codes = np.array([*legend.codes, NODATA])
        # A class that nobody has stands in where a legend has but one.
        filled = np.where(np.isnan(probabilities), -1.0, probabilities)
        filled = np.concatenate([filled, np.full((len(filled), 1), -2.0)], axis=1)
        ranked = np.argsort(-filled, axis=1, kind="stable")[:, :2]
        given = np.take_along_axis(filled, ranked, axis=1)
        best, second = np.where(given >= 0, np.round(given, DIGITS), np.nan).T
        first_code, second_code = np.where(np.isnan([best, second]), NODATA, codes[ranked.T])
        decided = (best >= threshold) & (clear >= min_clear)
        return cls(
            code=np.where(decided, first_code, NODATA),
            confidence=np.where(decided, best, np.nan),
            code2=np.where(decided, second_code, first_code),
            confidence2=np.where(decided, second, best),
            clear=clear.astype(np.float64),
        )

    def __len__(self) -> int:
        return len(self.code)

    @property
    def is_observed(self) -> np.ndarray:
        """(N,) bool: whether there is a best guess at least."""
        return np.asarray((self.code != NODATA) | (self.code2 != NODATA))

    @property
    def map_code(self) -> np.ndarray:
        """Code as maps hold it, uint8: UNDECIDED where there is a guess only, 0 without image."""
        guessed = np.where(self.is_observed, UNDECIDED, NODATA)
        return np.where(self.code != NODATA, self.code, guessed).astype(np.uint8)

    @property
    def percent(self) -> np.ndarray:
        """Confidence as maps hold it: 1..100, rounded down, uint8; 0 without image.

        Without decision it is that of the best guess, as in maps of pixels.
        """
        shown = np.where(self.code != NODATA, self.confidence, self.confidence2)
        whole = np.floor(np.nan_to_num(shown) * 100 + _JUST_BELOW)
        return np.where(self.is_observed, np.clip(whole, 1, 100), NODATA).astype(np.uint8)

    def names(self, legend: Legend) -> list[str]:
        """Name of each one's class."""
        known = {c.code: c.name for c in legend.classes} | {NODATA: NO_DECISION}
        return [known[code] for code in self.code.tolist()]

    def names2(self, legend: Legend) -> list[str | None]:
        """Name of each one's second class; None without."""
        known = {c.code: c.name for c in legend.classes}
        return [known.get(code) for code in self.code2.tolist()]

    def tell(self, summary: Summary, legend: Legend, what: str, unseen: int = 0) -> None:
        """Say how many have which class, and how sure the network is of these.

        unseen: further ones without decision.
        """
        total = len(self) + unseen
        names, rows = np.array(self.names(legend), object), []
        for name in (*legend.names, NO_DECISION):
            mine = names == name
            middle = f"{np.median(self.confidence[mine]):.2f}" if mine.any() else "–"
            count = int(mine.sum()) + (unseen if name == NO_DECISION else 0)
            rows.append([name, count, f"{count / total:.1%}", middle.replace("nan", "–")])
        summary.table(what.capitalize(), ["class", what, "share", "confidence"], rows)

    def rows(self, legend: Legend) -> Iterator[tuple[str, ...]]:
        """For a CSV file: code, name, confidence, code2, name2, confidence2, clear; "" = none."""
        names, names2 = self.names(legend), self.names2(legend)
        for i, (name, name2) in enumerate(zip(names, names2, strict=True)):
            yield (
                *(_code(self.code[i]), name, _share(self.confidence[i])),
                *(_code(self.code2[i]), name2 or "", _share(self.confidence2[i])),
                f"{self.clear[i]:g}",
            )


def settings_of(network: TrainedNetwork, threshold: float) -> dict[str, Any]:
    """What decides on the classes of samples, besides the network and what it sees."""
    made = {"threshold": threshold, "precision": network.running.precision}
    # Named only where it is asked for, or outputs of older versions would be others.
    return made | ({"novelty": True} if network.wants_novelty else {})


def check_asked(card: SeriesCard, threshold: float, remedy: str) -> None:
    """Raises: InputError for a threshold that is no share, or a network that sees maps only."""
    faults = Faults()
    if not 0 <= threshold <= 1:
        faults.add(f"threshold={threshold}: must lie in 0..1; it is a confidence")
    if card.unit == "map":
        faults.add(
            f"this network classifies maps (unit=map), not samples: {remedy}, or train one on a"
            " data set of unit=parcel or unit=pixel"
        )
    faults.raise_if_any()


def _code(code: np.integer) -> str:
    return "" if code == NODATA else str(code)


def _share(value: np.floating) -> str:
    return "" if np.isnan(value) else f"{value:.{DIGITS}f}"


AT_ONCE = 4096
"""Samples whose probabilities, of each of their pixels, are held in memory."""


class Classifier:
    """A network, or several that are averaged, that give classes to samples, on their device."""

    def __init__(self, network: TrainedNetwork) -> None:
        # From here on torch is needed; whatever could be wrong without it has been said.
        from geoseg.models.device import choose
        from geoseg.models.view import view_of

        running, knowing = network.running, network.knowing
        self._device = choose(running.device, running.precision)
        self.scores = 0 if knowing is None else knowing.score_planes
        """Columns after the probabilities: the dissimilarity index, if that is asked for."""
        self._members = [
            (
                self._device.place(member.scored() if member is knowing else member.load()),
                view_of(member.card),
                self.scores if member is knowing else 0,
            )
            for member in network.members
        ]
        """Each network, what it sees, and how many columns it adds."""
        self._calibration = network.calibration

    def probabilities(self, folder: Path, samples: Samples) -> Iterator[np.ndarray]:
        """Probabilities (n, K) float32 of the next samples, until all had their turn.

        With `scores`, (n, K + 1): the last column is the dissimilarity index.
        folder: that holds their pixel arrays.
        """
        for first in range(0, len(samples), AT_ONCE):
            part = samples.take(np.arange(first, min(first + AT_ONCE, len(samples))))
            found = self._mean(folder, part)
            strange = ~np.isfinite(found).all(axis=1)
            if strange.any():
                raise InputError(no_number(f"sample {samples.id[first + int(strange.argmax())]}"))
            if self._calibration is not None:
                classes = found.shape[1] - self.scores
                sure = self._calibration.apply(found[:, :classes])
                found = np.concatenate([sure, found[:, classes:]], axis=1)
            yield found

    def _mean(self, folder: Path, samples: Samples) -> np.ndarray:
        """The mean of the probabilities (n, K) of all networks, and the columns that one adds."""
        from geoseg.samples.predict import predict_samples

        made = [
            predict_samples(module, folder, samples, view, device=self._device, scores=scores)
            for module, view, scores in self._members
        ]
        if len(made) == 1:
            return made[0]
        classes = made[0].shape[1] - self._members[0][2]
        mean = np.mean([found[:, :classes] for found in made], axis=0)
        return np.concatenate([mean, *(found[:, classes:] for found in made)], axis=1)


@dataclass(frozen=True)
class Dissimilarity:
    """How far N samples are from the training of a network for series (Meyer & Pebesma 2021)."""

    index: np.ndarray
    """(N,) NaN for samples that were not observed."""
    threshold: float

    @classmethod
    def of(cls, index: np.ndarray, network: TrainedNetwork) -> Dissimilarity | None:
        """None if nobody asked. index: (N, 0) or (N, 1), as `Classifier` gives it."""
        novelty = None if network.knowing is None else network.knowing.novelty
        if not index.shape[1] or not isinstance(novelty, Applicability):
            return None
        return cls(np.round(index[:, 0].astype(np.float64), DIGITS), float(novelty.threshold))

    @property
    def novel(self) -> np.ndarray:
        """(N,) bool: outside the area of applicability."""
        return np.asarray(self.index > self.threshold)

    def tell(self, summary: Summary, what: str) -> None:
        """Say how many are outside; a warning if these are many."""
        seen, count = ~np.isnan(self.index), int(self.novel.sum())
        is_much = bool(seen.any() and self.novel[seen].mean() > LARGEST_SHARE)
        (summary.warn if is_much else summary.note)(
            f"{count} {what} ({count / max(1, int(seen.sum())):.1%} of those observed) are outside"
            f" the area of applicability (dissimilarity above {self.threshold:.3f}): novel"
        )

    def rows(self) -> Iterator[tuple[str, str]]:
        """For a CSV file: dissimilarity and novel; "" = not observed."""
        for index, novel in zip(self.index, self.novel, strict=True):
            nothing = bool(np.isnan(index))
            yield _share(index), "" if nothing else str(int(novel))


def decide(
    network: TrainedNetwork, found: np.ndarray, clear: np.ndarray, *, threshold: float,
    min_clear: int,
) -> tuple[Decisions, Dissimilarity | None]:  # fmt: skip
    """Classes of samples, and how dissimilar they are if that is asked for.

    found: (N, K) or (N, K + 1), as `Classifier` gives it; NaN for samples that were not observed.
    """
    legend = network.card.legend
    made = Decisions.of(
        found[:, : len(legend)], clear, legend, threshold=threshold, min_clear=min_clear
    )
    return made, Dissimilarity.of(found[:, len(legend) :], network)
