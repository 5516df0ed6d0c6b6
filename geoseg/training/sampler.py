"""Decide which samples an epoch draws, in which order, by seed and epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from geoseg.samples.draw import Draw
from geoseg.training.processes.ranks import Ranks
from geoseg.training.settings import Fit


class Shuffle(Sampler[Draw]):
    """Draws samples as often as their chances say, else all equally often.

    The last batch is filled up: batch normalisation can't live with one sample.
    """

    def __init__(
        self,
        samples: int,
        *,
        least: int,
        batch: int,
        seed: int,
        chances: npt.ArrayLike | None = None,
        hard: float = 0.0,
    ) -> None:
        """least: draws of an epoch at least. chances: (samples,), in any unit; None = all alike.

        hard: share of the draws that go by `difficulty`, once that is known.
        """
        rounds = max(1, -(-least // samples))
        self._samples = samples
        self._length = -(-samples * rounds // batch) * batch
        self._seed = seed
        self._chances = None if chances is None else _shares(chances)
        self._hard = hard
        self.difficulty: Sequence[float] | None = None
        """(samples,), such as losses; where all are 0 they count for nothing."""
        self.epoch = 0

    @classmethod
    def of(cls, counts: npt.ArrayLike, fit: Fit, seed: int, *, parts: int = 1) -> Shuffle:
        """As the settings of a training say. counts: labelled pixels (samples, K).

        parts: how many draws make up a sample.
        """
        samples, chances = len(np.asarray(counts)), balanced(counts, fit.balance)
        return cls(
            samples,
            least=parts * max(fit.least, samples),
            batch=fit.batch_size,
            seed=seed,
            chances=chances,
            hard=fit.hard,
        )

    def __iter__(self) -> Iterator[Draw]:
        random = np.random.default_rng((self._seed, self.epoch))
        order = self._order(random)
        seeds = random.integers(2**31, size=self._length)
        for number, seed in zip(order, seeds, strict=True):
            yield int(number), int(seed)

    def __len__(self) -> int:
        return self._length

    def _order(self, random: np.random.Generator) -> np.ndarray:
        shares = self._shares()
        if shares is None:
            rounds = -(-self._length // self._samples)
            order = np.concatenate([random.permutation(self._samples) for _ in range(rounds)])
            return order[: self._length]
        return random.permutation(drawn(shares, self._length, random))

    def _shares(self) -> np.ndarray | None:
        """Shares of the draws (samples,), None if all are alike."""
        if not self._hard or self.difficulty is None or not any(self.difficulty):
            return self._chances
        even = np.full(self._samples, 1 / self._samples)
        usual = even if self._chances is None else self._chances
        return (1 - self._hard) * usual + self._hard * _shares(self.difficulty)


def _shares(chances: npt.ArrayLike) -> np.ndarray:
    chances = np.asarray(chances, np.float64)
    shares: np.ndarray = chances / chances.sum()
    return shares


def drawn(shares: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Numbers (count,) of what is drawn, sorted: each ⌊share × count⌋ times or once more.

    Systematic resampling: one random offset, then equal steps along the summed shares. Independent
    draws would leave out a third of the samples in each epoch.
    """
    steps = (random.random() + np.arange(count)) / count
    places = np.searchsorted(np.cumsum(shares), steps, side="right")
    return np.minimum(places, len(shares) - 1)


def balanced(counts: npt.ArrayLike, alpha: float) -> np.ndarray | None:
    """Chances (samples,) between all alike (alpha 0) and all classes alike (alpha 1).

    At 1, a class is drawn first, each with the same chance, and then a sample by its share of that
    class's pixels (Shen et al. 2016, class-aware sampling). counts: pixels (samples, K).
    Returns: None for alpha 0. A sample without any label has the chance that alpha leaves it.
    """
    if not alpha:
        return None
    counts = np.asarray(counts, np.float64)
    totals = counts.sum(axis=0)
    present = totals > 0
    if not present.any():
        return None
    by_class = (counts[:, present] / totals[present]).mean(axis=1)
    chances: np.ndarray = (1 - alpha) / len(counts) + alpha * by_class
    return chances


class Share(Sampler[Draw]):
    """The part of each batch of a shuffle that is one process's.

    Parts have the same size, and one after the other, by rank, they are the batch.
    """

    def __init__(self, shuffle: Shuffle, *, batch: int, rank: int = 0, ranks: int = 1) -> None:
        """batch: of all processes together, a multiple of their number."""
        self.shuffle = shuffle
        self._batch, self._rank, self._ranks = batch, rank, ranks
        self.epoch = 0

    @classmethod
    def of(cls, shuffle: Shuffle, fit: Fit, ranks: Ranks) -> Share:
        """This process's part of the batches of a training."""
        return cls(shuffle, batch=fit.batch_size, rank=ranks.number, ranks=ranks.count)

    def __iter__(self) -> Iterator[Draw]:
        draws, part = self._draws(), self._batch // self._ranks
        for start in range(self._rank * part, len(draws), self._batch):
            yield from draws[start : start + part]

    def __len__(self) -> int:
        return len(self.shuffle) // self._ranks

    def batch(self, number: int) -> list[Draw]:
        """The draws of a batch of this epoch, those of all processes."""
        return self._draws()[number * self._batch : (number + 1) * self._batch]

    def _draws(self) -> list[Draw]:
        self.shuffle.epoch = self.epoch
        return list(self.shuffle)


class BatchShuffle(Sampler[list[Draw]]):
    """Lists of draws for SeriesBatches, those of a process's part of each batch."""

    def __init__(self, share: Share, size: int) -> None:
        """size: of the part."""
        self.share = share
        self._size = size
        self.epoch = 0

    @property
    def shuffle(self) -> Shuffle:
        return self.share.shuffle

    def __iter__(self) -> Iterator[list[Draw]]:
        self.share.epoch = self.epoch
        draws = list(self.share)
        for start in range(0, len(draws), self._size):
            yield draws[start : start + self._size]

    def __len__(self) -> int:
        return -(-len(self.share) // self._size)

    def batch(self, number: int) -> list[Draw]:
        """The draws of a batch of this epoch, those of all processes."""
        self.share.epoch = self.epoch
        return self.share.batch(number)
