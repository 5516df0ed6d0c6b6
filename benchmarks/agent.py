"""Whether an agent that learnt which tiles to label next chooses better than simple rules.

    python -m benchmarks.agent [--work work/agent] [--size 500] [--seeds 0 1 2 3 4] [--episodes 15]

Labelling is simulated on the demo's landscapes, with networks that train in a tenth of a second:
forests of single pixels, told colours and textures. Begun with three tiles of 25 metres drawn by
chance, one tile after the other gets its labels, twenty in all; after each a forest learns anew and
is judged on scenes that are never labelled. The agent is Q-learning (Watkins 1989) with a Q that is
linear in what is known of a tile without its labels: how unsure the forest is, how unlike all
labelled tiles it is, how rare the classes are that it seems to show. What it is rewarded by is the
gain in mean IoU. It learns on landscapes of other seeds, by such simulations, and then chooses on
one that it has not seen, beside chance, the highest entropy, and the tile most unlike the labelled.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from scipy import ndimage
from sklearn.ensemble import ExtraTreesClassifier

from benchmarks.points import labels_of
from geoseg.commands.conf import CONF
from geoseg.demo.__main__ import demo
from geoseg.evaluation.accuracy import Scores, confusion
from geoseg.geo import raster
from geoseg.geo.legend import IGNORED, Legend
from geoseg.labels.find import open_labels

SIDE = 50
"""Pixels of a tile."""
DRAWN = 64
"""Pixels of a tile that are looked at, and learnt from."""
BEGUN, BUDGET = 3, 20
"""Tiles that are labelled by chance, and in all."""
TREES = 20
POOL, JUDGES = ("north_west", "north_east", "south_west"), ("south_east", "east")
"""Scenes that tiles are chosen from, and that only judge."""
LEARNT_ON = (1, 2, 3)
"""Seeds of the landscapes that the agent learns on; it is judged on that of seed 0."""
DISCOUNT, RATE, CHANCE = 0.9, 0.05, 0.3
"""Of Q-learning: worth of a step later, step of learning, share of choices by chance."""
TOLD = ("always", "entropy", "unlikeness", "rarity", "entropy × left", "unlikeness × left")
Choice = Callable[["State"], int]


@dataclass(frozen=True)
class Place:
    """Tiles of a landscape: T tiles of P pixels with F features each."""

    tiles: np.ndarray
    """(T, P, F) float32."""
    truth: np.ndarray
    """(T, P) uint8: classes, IGNORED without label."""
    judging: np.ndarray
    """(N, F): pixels to judge by."""
    judged: np.ndarray
    """(N,) uint8: their classes."""
    classes: int


@dataclass
class State:
    """What is labelled, and what the forest that learnt from it says of all tiles."""

    place: Place
    labelled: list[int]
    random: np.random.Generator
    shares: np.ndarray = field(init=False)
    """(T, P, K) probabilities."""
    miou: float = field(init=False)

    def __post_init__(self) -> None:
        self.learn()

    def learn(self) -> None:
        """Train on all labelled tiles; judge."""
        place = self.place
        x = place.tiles[self.labelled].reshape(-1, place.tiles.shape[-1])
        y = place.truth[self.labelled].ravel()
        forest = ExtraTreesClassifier(TREES, max_depth=12, random_state=0)
        forest.fit(x[y != IGNORED], y[y != IGNORED])
        known = forest.classes_.astype(int)
        said = forest.predict_proba(place.tiles.reshape(-1, place.tiles.shape[-1]))
        self.shares = np.zeros((*place.truth.shape, place.classes))
        self.shares[..., known] = said.reshape(*place.truth.shape, len(known))
        found = forest.predict(place.judging).astype(np.uint8)
        matrix = confusion(place.judged, found, place.classes)
        self.miou = Scores.of(matrix, [str(n) for n in range(place.classes)]).miou

    @property
    def free(self) -> np.ndarray:
        """Tiles that have no labels yet."""
        return np.setdiff1d(np.arange(len(self.place.tiles)), self.labelled)

    def entropy(self) -> np.ndarray:
        """(T,) mean entropy of the pixels of each tile, 0..1."""
        p = np.clip(self.shares, 1e-9, 1)
        return np.asarray(-(p * np.log(p)).sum(-1).mean(1) / np.log(self.place.classes))

    def unlikeness(self) -> np.ndarray:
        """(T,) distance of each tile's mean features to the nearest labelled tile's, 0..1."""
        means = self.place.tiles.mean(axis=1)
        far = np.linalg.norm(means[:, None] - means[self.labelled], axis=-1).min(axis=1)
        return np.asarray(far / max(far.max(), 1e-9))

    def rarity(self) -> np.ndarray:
        """(T,) how rare the classes that a tile seems to show are among the labelled ones, 0..1."""
        known = self.place.truth[self.labelled]
        counts = np.bincount(known[known != IGNORED], minlength=self.place.classes)
        rare = 1 / np.sqrt(counts + 1.0)
        return np.asarray(self.shares.mean(axis=1) @ (rare / rare.max()))

    def told(self) -> np.ndarray:
        """(T, len(TOLD)): what the agent knows of each tile."""
        left = 1 - len(self.labelled) / BUDGET
        entropy, unlike = self.entropy(), self.unlikeness()
        rows = (np.ones_like(entropy), entropy, unlike, self.rarity(), entropy * left,
                unlike * left)  # fmt: skip
        return np.stack(rows, axis=1)

    def label(self, tile: int) -> float:
        """Label a tile, learn anew; returns the gain in mean IoU."""
        before = self.miou
        self.labelled.append(tile)
        self.learn()
        return self.miou - before


def begin(place: Place, seed: int) -> State:
    """Some labelled tiles, the same for the same seed."""
    random = np.random.default_rng(seed)
    labelled = (place.truth != IGNORED).mean(axis=1) > 0.5
    return State(place, random.choice(np.flatnonzero(labelled), BEGUN, replace=False).tolist(),
                 random)  # fmt: skip


def by_chance(state: State) -> int:
    return int(state.random.choice(state.free))


def by_entropy(state: State) -> int:
    return int(state.free[state.entropy()[state.free].argmax()])


def by_diversity(state: State) -> int:
    return int(state.free[state.unlikeness()[state.free].argmax()])


@dataclass
class Agent:
    """Chooses the tile with the largest Q, which is linear in what is told of a tile."""

    weights: np.ndarray = field(default_factory=lambda: np.zeros(len(TOLD)))

    def __call__(self, state: State) -> int:
        return int(state.free[(state.told()[state.free] @ self.weights).argmax()])

    def learn_on(self, state: State, random: np.random.Generator) -> None:
        """One episode of simulated labelling; each step moves the weights (semi-gradient)."""
        while len(state.labelled) < BUDGET:
            tile = self(state) if random.random() > CHANCE else int(random.choice(state.free))
            told = state.told()[tile]
            gain = 100 * state.label(tile)
            after = state.told()[state.free] @ self.weights
            last = len(state.labelled) == BUDGET
            wanted = gain if last else gain + DISCOUNT * after.max()
            self.weights = self.weights + RATE * (wanted - told @ self.weights) * told


def curve(place: Place, choose: Choice, seed: int) -> list[float]:
    """Mean IoU after each number of labelled tiles, from BEGUN to BUDGET."""
    state = begin(place, seed)
    found = [state.miou]
    while len(state.labelled) < BUDGET:
        state.label(choose(state))
        found.append(state.miou)
    return found


def features(image: np.ndarray) -> np.ndarray:
    """Colours and textures (H, W, F) of an image (C, H, W)."""
    layers = [image]
    for side in (5, 15):
        middle = np.stack([ndimage.uniform_filter(band, side) for band in image])
        squares = np.stack([ndimage.uniform_filter(band**2, side) for band in image])
        layers += [middle, np.sqrt(np.maximum(squares - middle**2, 0))]
    return np.concatenate(layers).transpose(1, 2, 0)


def open_place(folder: Path, legend: Legend, seed: int) -> Place:
    """The tiles of a demo."""
    random = np.random.default_rng(seed)
    tiles, truths, judging, judged = [], [], [], []
    with open_labels(labels_of(folder), legend) as source:
        for name in (*POOL, *JUDGES):
            with raster.Raster(folder / "scenes" / f"{name}.tif") as file:
                grid = file.grid
                image, valid = file.read(grid.window)
            told = features(image.astype(np.float32) / 1000)
            truth = np.where(valid, legend.encode(source.burn(grid, scene=name)), IGNORED)
            for top in range(0, grid.height - SIDE + 1, SIDE):
                for left in range(0, grid.width - SIDE + 1, SIDE):
                    part = slice(top, top + SIDE), slice(left, left + SIDE)
                    chosen = random.choice(SIDE * SIDE, DRAWN, replace=False)
                    x = told[part].reshape(SIDE * SIDE, -1)[chosen]
                    y = truth[part].ravel()[chosen]
                    if name in JUDGES:
                        judging.append(x[y != IGNORED])
                        judged.append(y[y != IGNORED])
                    elif (y != IGNORED).mean() > 0.5:
                        tiles.append(x)
                        truths.append(y)
    truth = np.stack(truths).astype(np.uint8)
    return Place(np.stack(tiles), truth, np.concatenate(judging),
                 np.concatenate(judged).astype(np.uint8), len(legend))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("work/agent"))
    parser.add_argument("--size", type=int, default=500)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)))
    parser.add_argument("--episodes", type=int, default=15)
    given = parser.parse_args()
    legend = Legend.load(CONF / "legend" / "demo.yaml")

    def place_of(landscape: int) -> Place:
        folder = given.work / f"demo_{landscape}"
        demo(folder, seed=landscape, size=given.size)
        return open_place(folder, legend, landscape)

    agent, random = Agent(), np.random.default_rng(0)
    places = [place_of(landscape) for landscape in LEARNT_ON]
    for episode in range(given.episodes):
        agent.learn_on(begin(places[episode % len(places)], 1000 + episode), random)
    weights = ", ".join(f"{n} {w:.2f}" for n, w in zip(TOLD, agent.weights, strict=True))
    print(f"Q after {given.episodes} episodes: {weights}", flush=True)
    ways: dict[str, Choice] = {
        "random": by_chance, "entropy": by_entropy, "diversity": by_diversity, "agent": agent
    }  # fmt: skip
    place = place_of(0)
    for name, choose in ways.items():
        curves = np.array([curve(place, choose, seed) for seed in given.seeds])
        ends, areas = curves[:, -1], curves.mean(axis=1)
        spread = [stdev(v) if len(v) > 1 else 0.0 for v in (ends.tolist(), areas.tolist())]
        halfway = curves[:, (BUDGET - BEGUN) // 2].mean()
        print(
            f"{name}: mean IoU {mean(ends.tolist()):.3f} ± {spread[0]:.3f} after {BUDGET} tiles,"
            f" {halfway:.3f} halfway, {mean(areas.tolist()):.3f} ± {spread[1]:.3f} along the way",
            flush=True,
        )


if __name__ == "__main__":
    main()
