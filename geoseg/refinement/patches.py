"""Compute what corrections change in the map of a scene, block by block.

Letters of shapes: K classes, P bands of all rasters of a scene, S side of a window, h and w.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from geoseg.geo import raster
from geoseg.geo.grid import Grid, Window
from geoseg.geo.legend import NODATA, UNDECIDED
from geoseg.geo.raster import BLOCK, Raster
from geoseg.labels.corrections import Corrections
from geoseg.maps.layers import DISAGREEMENT, NOVELTY, SECOND
from geoseg.maps.thresholds import Thresholds
from geoseg.outputs.claims.fingerprint import fingerprint
from geoseg.prediction.layers import RowMaker
from geoseg.prediction.network import TrainedNetwork
from geoseg.refinement.adapt import Adapted, Adapter, way_of
from geoseg.refinement.old_maps import OldMap
from geoseg.refinement.patch import Known, Patch, Shares
from geoseg.refinement.settings import CHANNELS, Refining
from geoseg.refinement.windows import Spots, closeness, influence, inner
from geoseg.scenes.scene import SceneReader

LEAST = 1e-12
UNCHANGED = (DISAGREEMENT, NOVELTY)
"""Layers that a correction does not change: they tell of the networks that made the map."""


@dataclass(frozen=True)
class Followed:
    """What changes in a map that is shown while it is corrected."""

    blocks: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    """As of a patch."""
    keys: dict[Window, str] = field(default_factory=dict)
    """Window → what its result depends on."""
    touched: frozenset[tuple[int, int]] = frozenset()
    """Blocks that were computed, or that are no longer changed."""


class Patcher:
    """Makes patches with one network."""

    def __init__(
        self,
        network: TrainedNetwork,
        settings: Refining,
        how: dict[str, Any],
        *,
        known: Known,
        size: int,
    ) -> None:
        """how: the settings of the prediction that made the maps. size: of windows, in pixels.

        Raises: InputError if the network can't be adapted, or there is no such device.
        """
        self._network, self._settings, self._how = network, settings, how
        self._known, self._size = known, size
        self._adapter: Adapter | None = None
        self._learns = way_of(network, settings) != CHANNELS
        if settings.reach is None:
            self._reach = size // 2
        else:
            self._reach = min(settings.reach, size)

    def __call__(self, old: OldMap, corrections: Corrections) -> Patch:
        """What the corrections change in a map. Raises: InputError if a file is damaged."""
        return self._patched(old, corrections, Followed())[0]

    def follow(self, old: OldMap, corrections: Corrections, before: Followed) -> Followed:
        """As a call, but computes only the blocks that windows touch which are others than before.

        For whoever shows a map while it is corrected. Raises: InputError if a file is damaged.
        """
        patch, keys, touched = self._patched(old, corrections, before)
        return Followed(patch.blocks, keys, frozenset(touched))

    def _patched(
        self, old: OldMap, corrections: Corrections, before: Followed
    ) -> tuple[Patch, dict[Window, str], set[tuple[int, int]]]:
        """The patch, the keys of its windows, and the blocks that were computed."""
        grid = old.scene.grid
        spots = Spots.around(corrections.on(grid), grid, self._size)
        patch = Patch(dict(before.blocks), windows=len(spots.windows))
        with raster.environment(), old.scene.open() as reader:
            keys = {w: self._learn(old, reader, w, corrections, patch) for w in spots.windows}
            changed = {w for w, _ in before.keys.items() ^ keys.items()}
            touched = _touched(grid.window, changed)
            patch.blocks = {at: patch.blocks[at] for at in patch.blocks if at not in touched}
            self._blocks(old, corrections, Shares(self._known, keys), patch, touched)
        return patch, keys, touched

    def _learn(
        self,
        old: OldMap,
        reader: SceneReader,
        window: Window,
        corrections: Corrections,
        patch: Patch,
    ) -> str:
        """Have the network learn from a window, unless it did before. Returns: the result's key."""
        grid, legend = old.scene.grid, self._network.card.legend
        codes = self._codes(corrections, grid, window)
        key = self._key(old, window, codes)
        if not self._known.has(key):
            patch.computed += 1
            image, valid = reader.read(window)
            codes[~valid] = 0
            if self._adapter is None:
                smooth = int(self._how.get("smooth", 0))
                self._adapter = Adapter(self._network, self._settings, smooth=smooth)
            self._known.put(key, self._adapter(image, valid, legend.encode(codes)))
        return key

    def _codes(self, corrections: Corrections, grid: Grid, window: Window) -> np.ndarray:
        """What a window is told (size, size): codes, 0 where nothing was corrected.

        Learning takes a second or two, so that those on a window's rim, which all lie well inside
        another one, are left to that: a further one has few windows learn again.
        """
        codes = corrections.burn(grid, window)
        if self._learns:
            told = np.zeros_like(codes)
            inside = inner(window, grid).intersect(window)
            if inside is not None:
                place = inside.within(window)
                told[place] = codes[place]
            return told
        return codes

    def _key(self, old: OldMap, window: Window, codes: np.ndarray) -> str:
        """Names what a window's result depends on."""
        told = [
            self._network.hash,
            [fingerprint(path) for path in old.scene.inputs],
            [window.top, window.left, window.height],
            asdict(self._settings) | {"device": None},
            self._how.get("smooth", 0),
            hashlib.sha256(codes.tobytes()).hexdigest(),
        ]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:24]

    def _blocks(
        self,
        old: OldMap,
        corrections: Corrections,
        shares: Shares,
        patch: Patch,
        touched: set[tuple[int, int]],
    ) -> None:
        """Fill the patch with all blocks that windows touch; only: of these, None = all."""
        grid = old.scene.grid
        with ExitStack() as stack:
            files = [stack.enter_context(Raster(path)) for path in old.paths]
            for row, column in sorted(touched):
                place = Window(row * BLOCK, column * BLOCK, BLOCK, BLOCK).intersect(grid.window)
                assert place is not None
                near = [w for w in shares.keys if w.intersect(place)]
                parts = []
                for w in near:
                    told = self._codes(corrections, grid, w) > 0
                    counts = influence(w, grid, told, self._reach)
                    parts.append((w, counts, closeness(told, self._reach), shares[w]))
                mixed = _mixed(place, parts, len(self._network.card.legend))
                codes = corrections.burn(grid, place)
                if mixed is None and not codes.any():
                    continue
                before = old.read(files, place)
                patch.blank += int(((codes > 0) & (before[0] == NODATA)).sum())
                if mixed is None:
                    continue
                after = self._made(old, mixed, before, codes, patch)
                mask = (after != before).any(axis=0)
                if mask.any():
                    patch.blocks[row, column] = mask, after
                    patch.changed += int((after[0] != before[0]).sum())

    def _made(
        self,
        old: OldMap,
        mixed: tuple[np.ndarray, np.ndarray, np.ndarray],
        before: np.ndarray,
        codes: np.ndarray,
        patch: Patch,
    ) -> np.ndarray:
        """All bands (P, h, w) of a block. mixed: weights (h, w), shares (K, h, w) before, after."""
        legend, thresholds = self._network.card.legend, self._thresholds()
        weight, shares_before, shares = mixed
        drawn = (codes > 0) & (before[0] != NODATA)
        wanted = legend.encode(codes)
        patch.corrected += int(drawn.sum())
        first = shares_before.argmax(axis=0)
        patch.learnt += int((drawn & (shares.argmax(axis=0) == wanted)).sum())
        # What a person drew is certain.
        for index in np.unique(wanted[drawn]).tolist():
            shares[:, drawn & (wanted == index)] = np.eye(len(legend), dtype=np.float32)[
                index, :, None
            ]
        layers = [name for name in old.layers if name not in UNCHANGED]
        maker = RowMaker(
            len(legend),
            layers,
            thresholds=None if thresholds is None else thresholds.values,
            calibration=self._network.calibration,
        )
        made = maker(torch.from_numpy(shares))
        index = made.indices.numpy()
        new = legend.decode(index)
        if made.undecided is not None:
            new = np.where(made.undecided.numpy(), np.uint8(UNDECIDED), new)
        open_ = before[0] == UNDECIDED
        # A pixel gets another class only if the corrections make the network say another one: what
        # windows, turns or members of an ensemble had decided otherwise stays.
        other = index != first
        if open_.any():
            other = other & ~open_ if self._how.get("refuse_novel") else other | open_
        take = ((weight > 0) & other) | drawn
        code = np.where(take, new, before[0])
        code = np.where(before[0] == NODATA, np.uint8(NODATA), code)
        beside = ((weight > 0) & (code == new) & (before[0] != NODATA)) | drawn
        after = before.copy()
        after[0] = code
        bands = 1
        for name, count in zip(old.layers, old.counts[1:], strict=True):
            if name not in UNCHANGED:
                values = made.layers[name].numpy()
                values = legend.decode(values) if name == SECOND else values
                values = values if values.ndim == 3 else values[None]
                part = slice(bands, bands + count)
                after[part] = np.where(beside, values, before[part])
            bands += count
        return after

    def _thresholds(self) -> Thresholds | None:
        """Those of the prediction."""
        values = self._how.get("threshold")
        return Thresholds(tuple(values), "as predicted") if values else None


def _touched(whole: Window, windows: Iterable[Window]) -> set[tuple[int, int]]:
    """Rows and columns of the blocks that windows touch."""
    found = set()
    for window in windows:
        inside = window.intersect(whole)
        if inside is not None:
            for row in range(inside.top // BLOCK, (inside.bottom - 1) // BLOCK + 1):
                for column in range(inside.left // BLOCK, (inside.right - 1) // BLOCK + 1):
                    found.add((row, column))
    return found


def _mixed(
    place: Window, parts: list[tuple[Window, np.ndarray, np.ndarray, Adapted]], classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Of a block: how much windows count (h, w), and shares (K, h, w) before and after.

    parts: windows, how much they count, how close their corrections are, and what they came to.
    Where windows overlap their mean counts, the closest most; where they count for less than 1, the
    rest is what the network said before. None where none of them counts.
    """
    weight = np.zeros((place.height, place.width), np.float32)
    total = np.zeros_like(weight)
    before = np.zeros((classes, *weight.shape), np.float32)
    after = np.zeros_like(before)
    for window, counts, close, made in parts:
        common = window.intersect(place)
        if common is None:
            continue
        here, there = common.within(place), common.within(window)
        share = counts[there] * close[there]
        weight[here] += counts[there]
        total[here] += share
        before[(slice(None), *here)] += share * made.before[(slice(None), *there)]
        after[(slice(None), *here)] += share * made.after[(slice(None), *there)]
    if not weight.any():
        return None
    total = np.maximum(total, LEAST)
    before /= total
    after /= total
    moved = np.minimum(weight, 1)
    return weight, before, before + moved * (after - before)
