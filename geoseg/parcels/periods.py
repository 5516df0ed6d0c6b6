"""Tell which dates count for which parcels."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from geoseg.dataset.arrays import Period, Periods, period
from geoseg.parcels.parcels import Parcels
from geoseg.scenes.calendar import anchors
from geoseg.scenes.stack import Stack, first_dates

if TYPE_CHECKING:
    from geoseg.models.card import SeriesCard
    from geoseg.series.settings import Series


class When:
    """Which dates count for which parcels, and what days are counted from.

    card: of the network, where parcels are predicted: days are then counted as in its training.
    """

    def __init__(
        self,
        stacks: list[Stack],
        series: Series,
        parcels: Parcels,
        card: SeriesCard | None = None,
    ) -> None:
        self._start, self._end = _date(series.start), _date(series.end)
        self._own, self._card, self._stacks = parcels.own_periods, card, stacks
        self._first = first_dates(stacks)
        firsts = set(self._first.values())
        own = _dates(np.unique(parcels.start[~np.isnat(parcels.start)]))
        self.reference = series.counted_from(own[0] if own else None)
        begins = {day for day in own if day} | ({self._start} if self._start else firsts)
        self._zeros = anchors(begins, self.reference)

    def periods(self, stack: Stack, parcels: Parcels) -> tuple[np.ndarray, list[Period]]:
        """Number of each parcel's period (N,), and the periods."""
        wanted: dict[tuple[date | None, date | None], int] = {}
        pairs = zip(_dates(parcels.start), _dates(parcels.end), strict=True)
        numbers = [wanted.setdefault(pair, len(wanted)) for pair in pairs]
        found = []
        for own_start, own_end in wanted:
            start, end = own_start or self._start, own_end or self._end
            found.append(period(stack, self._zero(stack, start, end), start=start, end=end))
        return np.array(numbers, np.int64), found

    def _zero(self, stack: Stack, start: date | None, end: date | None) -> date:
        """The anchor of a period; one for all tiles that begin at about the same time."""
        since = start or self._first[stack.name]
        if self._card is None:
            return self._zeros[since]
        mine = [one for one in self._stacks if self._first[one.name] == self._first[stack.name]]
        dates = {day for one in mine for day in one.dates}
        kept = [d for d in dates if (start is None or d >= start) and (end is None or d < end)]
        return self._card.anchor(kept, since)

    def check(self, parcels: Parcels) -> list[str]:
        """What is to be said of the part of the year of these periods.

        Raises: InputError if the network has not seen it.
        """
        assert self._card is not None
        dates, days = [], []
        for stack in self._stacks:
            for one in self.periods(stack, parcels)[1]:
                dates.append(np.array(stack.dates, "datetime64[D]")[one.index])
                days.append(one.days.astype(int))
        given = parcels.named, np.concatenate(dates), np.concatenate(days)
        self._card.check_days(*given)
        return self._card.said_of_days(*given)

    def spread(self, of: np.ndarray, found: list[Period], counts: np.ndarray) -> Periods:
        """The periods (N,) of parcels with that many pixels each, as those of the pixels."""
        return Periods(np.repeat(of, counts), found, self._own)


def _date(value: Any) -> date | None:
    if value is None or isinstance(value, date):
        return value
    return date.fromisoformat(str(value))


def _dates(values: np.ndarray) -> list[date | None]:
    """datetime64[D] (N,) → dates; None for NaT."""
    return values.astype(object).tolist()
