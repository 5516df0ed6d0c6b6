"""Whether an agent that learnt which tiles to label next chooses better than simple rules.

    python -m benchmarks.agent [--work work/agent] [--sets demo buildings] [--seeds 0 1 2 3 4]

Labelling is simulated, with a classifier of single pixels that learns in a hundredth of a second:
ridge regression on random features of colours and textures (Rahimi & Recht 2007). Begun with three
tiles drawn by chance, one tile after the other gets its labels, up to twenty; after each the
classifier learns anew and is judged on scenes of which no tile is ever labelled. The agent is
Q-learning (Watkins 1989) on what is known of a tile before it is labelled: how unsure the
classifier is, how unlike all labelled tiles it is, how rare the classes are that it seems to show.
Its reward is the gain in mean IoU. It learns on other ground, by such simulations, and then chooses
on ground that it has not seen, beside four rules.

`demo`: learns on three made-up landscapes, chooses on a fourth. `buildings` (GEOSEG_REAL_DATA):
learns in Kampala and Nairobi, chooses in Catanduanes. Each seed has its own agent and first tiles.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from scipy import ndimage
from scipy.stats import rankdata

from benchmarks.points import labels_of
from benchmarks.real import real_data
from geoseg.commands.conf import CONF
from geoseg.demo.__main__ import demo
from geoseg.evaluation.accuracy import Scores, confusion
from geoseg.geo import raster
from geoseg.geo.grid import Grid
from geoseg.geo.legend import IGNORED, Legend
from geoseg.labels.find import open_labels
from geoseg.labels.settings import Labels
from geoseg.labels.source import LabelSource

DRAWN, LOOKED_AT = 64, 16
"""Pixels of a tile that are learnt from once it is labelled, and that tell of it before."""
JUDGING = 6000
"""Pixels that judge, at most."""
BEGUN, BUDGET = 3, 20
"""Tiles that are labelled by chance, and in all."""
WIDTH, PENALTY = 200, 0.001
"""Random features of the classifier, and its penalty of large weights per pixel in the mean."""
DISCOUNT, RIDGE, CHANCE = 0.9, 10.0, 0.3
"""Of Q-learning: worth of a step later, penalty of large weights, share of choices by chance."""
SWEEPS = 10
"""Times that Q is fitted to rewards and to what it says itself of the next step, each time."""
TOLD = ("entropy", "unlikeness", "rarity")
SETS = ("demo", "buildings")
COLORS = {
    "random": "0.5",
    "entropy": "tab:orange",
    "diversity": "tab:green",
    "entropy × distance²": "tab:purple",
    "agent": "tab:red",
}
"""Of the ways to choose."""
Choice = Callable[["State"], int]


@dataclass(frozen=True)
class Ground:
    """T tiles of P pixels with F features each that can be labelled, and N pixels that judge."""

    tiles: np.ndarray
    """(T, P, F) float32."""
    truth: np.ndarray
    """(T, P) uint8: classes, IGNORED without label."""
    judging: np.ndarray
    """(N, F)."""
    judged: np.ndarray
    """(N,) uint8: their classes."""
    classes: int

    @cached_property
    def means(self) -> np.ndarray:
        """(T, F), over all pixels: colours need no labels."""
        return np.asarray(self.tiles.mean(axis=1))

    @cached_property
    def mixed(self) -> tuple[np.ndarray, np.ndarray]:
        """Random features (T, P, WIDTH) of the tiles, and (N, WIDTH) of what judges."""
        random, number = np.random.default_rng(0), self.tiles.shape[-1]
        weights = random.normal(size=(number, WIDTH)).astype(np.float32) / np.sqrt(number)
        phase = random.uniform(0, 2 * np.pi, WIDTH).astype(np.float32)
        return np.cos(self.tiles @ weights + phase), np.cos(self.judging @ weights + phase)


@dataclass
class State:
    """What is labelled, and what the classifier that learnt from it says of all tiles."""

    ground: Ground
    labelled: list[int]
    random: np.random.Generator
    shares: np.ndarray = field(init=False)
    """(T, LOOKED_AT, K) probabilities."""
    miou: float = field(init=False)

    def __post_init__(self) -> None:
        self.learn()

    def learn(self) -> None:
        """Train on all labelled tiles; judge."""
        ground = self.ground
        tiles, judging = ground.mixed
        truth = ground.truth[self.labelled].ravel()
        known = truth != IGNORED
        x, y = tiles[self.labelled].reshape(-1, WIDTH)[known], truth[known]
        counts = np.bincount(y, minlength=ground.classes)
        # Rare classes count for more, lest they are never said.
        weighted = x * (1 / np.sqrt(counts[y])).astype(np.float32)[:, None]
        gram = (weighted.T @ x).astype(float)
        gram += PENALTY * np.trace(gram) / WIDTH * np.eye(WIDTH)
        answers = weighted.T @ np.eye(ground.classes, dtype=np.float32)[y]
        weights = np.linalg.solve(gram, answers).astype(np.float32)
        said = np.clip(tiles[:, :LOOKED_AT] @ weights, 1e-6, None)
        self.shares = said / said.sum(axis=-1, keepdims=True)
        found = (judging @ weights).argmax(axis=1)
        matrix = confusion(ground.judged, found, ground.classes)
        self.miou = Scores.of(matrix, [str(n) for n in range(ground.classes)]).miou

    @property
    def free(self) -> np.ndarray:
        """Tiles that have no labels yet."""
        return np.setdiff1d(np.arange(len(self.ground.tiles)), self.labelled)

    def entropy(self) -> np.ndarray:
        """(T,) mean entropy of the pixels of each tile, 0..1."""
        p = self.shares
        return np.asarray(-(p * np.log(p)).sum(-1).mean(1) / np.log(self.ground.classes))

    def unlikeness(self) -> np.ndarray:
        """(T,) distance of each tile's mean features to the nearest labelled tile's."""
        means = self.ground.means
        away = np.linalg.norm(means[:, None] - means[self.labelled], axis=-1)
        return np.asarray(away.min(axis=1))

    def rarity(self) -> np.ndarray:
        """(T,) how rare the classes that a tile seems to show are among the labelled ones, 0..1."""
        known = self.ground.truth[self.labelled]
        counts = np.bincount(known[known != IGNORED], minlength=self.ground.classes)
        rare = 1 / np.sqrt(counts + 1.0)
        return np.asarray(self.shares.mean(axis=1) @ (rare / rare.max()))

    def told(self) -> np.ndarray:
        """(free tiles, 8): what Q sees of each free tile.

        Ranks, not values: these mean the same on any ground, with any bands and classes.
        """
        free = self.free
        ranks = [rankdata(getattr(self, name)()[free]) / len(free) for name in TOLD]
        left = np.full(len(free), 1 - len(self.labelled) / BUDGET)
        rows = (np.ones(len(free)), left, *ranks, *(left * rank for rank in ranks))
        return np.stack(rows, axis=1)

    def label(self, tile: int) -> float:
        """Label a tile, learn anew. Returns: the gain in mean IoU."""
        before = self.miou
        self.labelled.append(tile)
        self.learn()
        return self.miou - before


def begin(ground: Ground, seed: int) -> State:
    """Some labelled tiles, the same for the same seed."""
    random = np.random.default_rng(seed)
    drawn = random.choice(len(ground.tiles), BEGUN, replace=False)
    return State(ground, drawn.tolist(), random)


def by_chance(state: State) -> int:
    return int(state.random.choice(state.free))


def by_entropy(state: State) -> int:
    return int(state.free[state.entropy()[state.free].argmax()])


def by_diversity(state: State) -> int:
    return int(state.free[state.unlikeness()[state.free].argmax()])


def by_both(state: State) -> int:
    """Entropy × distance²: the rule of geoseg.suggest."""
    worth = state.entropy() * state.unlikeness() ** 2
    return int(state.free[worth[state.free].argmax()])


@dataclass(frozen=True)
class Step:
    """What a choice was, and what came of it."""

    told: np.ndarray
    """(8,) of the tile that was chosen."""
    gain: float
    """In points of mean IoU."""
    after: np.ndarray
    """(tiles, 8) that could be chosen next; none after the last step."""


@dataclass
class Agent:
    """Chooses the tile with the largest Q, which is linear in what is told of a tile."""

    steps: list[Step] = field(default_factory=list)
    weights: np.ndarray | None = None

    def __call__(self, state: State) -> int:
        assert self.weights is not None
        return int(state.free[(state.told() @ self.weights).argmax()])

    def simulate(self, state: State, random: np.random.Generator) -> None:
        """Label one tile after the other, often by what is known so far; then fit Q anew."""
        while len(state.labelled) < BUDGET:
            told, free = state.told(), state.free
            if self.weights is None or random.random() < CHANCE:
                place = int(random.integers(len(free)))
            else:
                place = int((told @ self.weights).argmax())
            gain = 100 * state.label(int(free[place]))
            last = len(state.labelled) == BUDGET
            self.steps.append(Step(told[place], gain, told[:0] if last else state.told()))
        self.fit()

    def fit(self) -> None:
        """Fitted Q iteration (Ernst et al. 2005) over all steps so far, by ridge regression."""
        x = np.stack([step.told for step in self.steps])
        gains = np.array([step.gain for step in self.steps])
        goes_on = [len(step.after) > 0 for step in self.steps]
        after = [step.after for step in self.steps if len(step.after)]
        begins = np.cumsum([0, *map(len, after[:-1])])
        choices = np.concatenate(after)
        weights = np.zeros(x.shape[1]) if self.weights is None else self.weights
        inverse = np.linalg.inv(x.T @ x + RIDGE * np.eye(x.shape[1]))
        for _ in range(SWEEPS):
            later = np.zeros(len(x))
            later[goes_on] = np.maximum.reduceat(choices @ weights, begins)
            weights = inverse @ x.T @ (gains + DISCOUNT * later)
        self.weights = weights


def learnt(grounds: list[Ground], episodes: int, seed: int) -> Agent:
    """An agent after so many simulations, in turns on several grounds."""
    agent, random = Agent(), np.random.default_rng(1000 + seed)
    for episode in range(episodes):
        start = 100_000 + 1000 * seed + episode
        agent.simulate(begin(grounds[episode % len(grounds)], start), random)
    return agent


def curve(ground: Ground, choose: Choice, seed: int) -> list[float]:
    """Mean IoU after each number of labelled tiles, from BEGUN to BUDGET."""
    state = begin(ground, seed)
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


@dataclass(frozen=True)
class Truth:
    """Labels, and the legend of their classes."""

    source: LabelSource
    legend: Legend

    def of(self, grid: Grid, scene: str, valid: np.ndarray) -> np.ndarray:
        """Classes (H, W) uint8, IGNORED where nothing is known."""
        codes = self.source.burn(grid, scene=scene)
        return np.where(valid, self.legend.encode(codes), IGNORED).astype(np.uint8)


def cut(path: Path, labels: Truth, side: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Some pixels of each tile of a scene, (T, P, F) and their classes (T, P)."""
    random = np.random.default_rng(seed)
    with raster.Raster(path) as file:
        grid = file.grid
        image, valid = file.read(grid.window)
    told = features(image.astype(np.float32))
    truth = labels.of(grid, path.stem, valid)
    tiles, truths = [], []
    for top in range(0, grid.height - side + 1, side):
        for left in range(0, grid.width - side + 1, side):
            part = np.s_[top : top + side, left : left + side]
            drawn = random.choice(side * side, DRAWN, replace=False)
            of = truth[part].ravel()[drawn]
            if (of != IGNORED).mean() > 0.5:  # others tell nothing
                tiles.append(told[part].reshape(side * side, -1)[drawn])
                truths.append(of)
    return np.stack(tiles), np.stack(truths)


def ground_of(
    pool: list[Path], judges: list[Path], labels: Truth, *, side: int, seed: int = 0
) -> Ground:
    """Tiles of some scenes to choose from, and pixels of others to judge by."""
    tiles, truth = map(
        np.concatenate, zip(*(cut(p, labels, side, seed) for p in pool), strict=True)
    )
    x, y = map(np.concatenate, zip(*(cut(p, labels, side, seed) for p in judges), strict=True))
    # Distances between tiles must not be those of the band with the largest numbers.
    middle, spread = tiles.mean(axis=(0, 1)), tiles.std(axis=(0, 1)) + 1e-6
    x, y = x.reshape(-1, x.shape[-1]), y.ravel()
    known = np.flatnonzero(y != IGNORED)
    some = np.random.default_rng(seed).choice(known, min(JUDGING, len(known)), replace=False)
    judging = (x[some] - middle) / spread
    return Ground((tiles - middle) / spread, truth, judging, y[some], len(labels.legend))


def demo_grounds(work: Path, size: int) -> list[Ground]:
    """Of four landscapes; three scenes of each to choose from, two to judge by."""
    legend, found = Legend.load(CONF / "legend" / "demo.yaml"), []
    for seed in (0, 1, 2, 3):
        folder = work / f"demo_{seed}"
        demo(folder, seed=seed, size=size)
        pool, judges = (
            [folder / "scenes" / f"{name}.tif" for name in names]
            for names in (("north_west", "north_east", "south_west"), ("south_east", "east"))
        )
        with open_labels(labels_of(folder), legend) as source:
            found.append(ground_of(pool, judges, Truth(source, legend), side=size // 10))
    return found


def building_grounds() -> list[Ground]:
    """Of Catanduanes, Kampala and Nairobi; one scene of each to choose from, one to judge by."""
    folder = real_data() / "buildings"
    pairs = (("catanduanes_0", "catanduanes_1"), ("kampala_1", "kampala_0"),
             ("nairobi_0", "nairobi_1"))  # fmt: skip
    legend, found = Legend.load(CONF / "legend" / "buildings.yaml"), []
    for pair in pairs:
        polygons = folder / f"{pair[0].split('_')[0]}_buildings.geojson"
        labels = Labels(path=str(polygons), name="building", background="other")
        pool, judge = (folder / f"{name}.tif" for name in pair)
        with open_labels(labels, legend) as source:
            found.append(ground_of([pool], [judge], Truth(source, legend), side=32))
    return found


def compare(grounds: list[Ground], seeds: list[int], episodes: int) -> dict[str, list[list[float]]]:
    """Curves of each way, one for each seed, on the first ground; agents learn on the others."""
    ground, *others = grounds
    ways: dict[str, Choice] = {
        "random": by_chance,
        "entropy": by_entropy,
        "diversity": by_diversity,
        "entropy × distance²": by_both,
    }
    found: dict[str, list[list[float]]] = {name: [] for name in COLORS}
    for seed in seeds:
        agent = learnt(others, episodes, seed)
        assert agent.weights is not None
        print(f"  seed {seed}: Q is " + " ".join(f"{w:.2f}" for w in agent.weights), flush=True)
        ways["agent"] = agent
        for name, choose in ways.items():
            found[name].append(curve(ground, choose, seed))
    return found


def tell(found: dict[str, list[list[float]]]) -> None:
    """Print the table of a set: mean and deviation over seeds, and the difference from chance."""
    chance = np.array(found["random"]).mean(axis=1)
    for name, curves in found.items():
        ends, along = (np.array(curves)[:, -1].tolist(), np.array(curves).mean(axis=1).tolist())
        spread = [stdev(values) if len(values) > 1 else 0.0 for values in (ends, along)]
        better = int((np.array(along) > chance).sum())
        print(
            f"  {name:20} after {BUDGET} tiles {mean(ends):.3f} ± {spread[0]:.3f}"
            f"   mean on the way {mean(along):.3f} ± {spread[1]:.3f}"
            f"   above chance in {better} of {len(curves)} seeds",
            flush=True,
        )


def draw(found: dict[str, dict[str, list[list[float]]]], path: Path) -> None:
    """Draw mean IoU by number of labelled tiles, a panel for each set."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5 * len(found), 4), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, (name, ways) in zip(figure.subplots(1, len(found), squeeze=False)[0],
                                  found.items(), strict=True):  # fmt: skip
        for way, curves in ways.items():
            color = COLORS[way]
            middle, spread = np.mean(curves, axis=0), np.std(curves, axis=0)
            x = range(BEGUN, BEGUN + len(middle))
            axis.plot(x, middle, color=color, label=way, lw=2.2 if way == "agent" else 1.4)
            if way in ("random", "agent"):
                axis.fill_between(
                    x, middle - spread, middle + spread, color=color, alpha=0.15, lw=0
                )
        axis.set(title=name, xlabel="tiles with labels", ylabel="mean IoU on other scenes")
        axis.set_xticks(range(5, BUDGET + 1, 5))
        axis.grid(alpha=0.3)
    axis.legend(fontsize="small", loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("work/agent"))
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--size", type=int, default=500, help="of the demo's scenes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--episodes", type=int, default=30, help="that each agent learns from")
    options = parser.parse_args()
    found = {}
    for name in options.sets:
        made = demo_grounds(options.work, options.size) if name == "demo" else building_grounds()
        tiles = ", ".join(str(len(ground.tiles)) for ground in made)
        print(f"{name}: {tiles} tiles to choose from; the first ground is chosen on", flush=True)
        found[name] = compare(made, options.seeds, options.episodes)
        tell(found[name])
    options.work.mkdir(parents=True, exist_ok=True)
    (options.work / "agent.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    draw(found, options.work / "agent.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
