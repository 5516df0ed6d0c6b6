"""What the mean of several networks is worth beside each of them, as `checkpoint=[a,b,c]` maps.

    GEOSEG_REAL_DATA=<folder> python -m benchmarks.transfer --sets buildings denmark
    python -m benchmarks.together [--sets buildings denmark]
    GEOSEG_REAL_DATA=<folder> python -m benchmarks.together --series france_random slovenia

Of images it takes the trainings that benchmarks.transfer has made, which differ in their seed
alone, and scores on the same test tiles each network by itself and the mean of their probabilities.
With --series it trains three networks of the arena's sets, which differ in their seed, and one of
another kind, and asks geoseg.predict for the classes of each and of their means.
"""

from __future__ import annotations

import argparse
import shutil
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.arena.methods import Limit, Place, predicted, score, train
from benchmarks.arena.sets import SETS, prepared
from benchmarks.real import real_data
from benchmarks.transfer import done, judged, score_of
from geoseg.dataset.tiles import Dataset
from geoseg.models import checkpoint
from geoseg.models.card import BEST


class Mean(nn.Module):
    """The logarithm of the networks' mean probabilities, which are logits as well."""

    def __init__(self, networks: list[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, image: Tensor) -> Tensor:
        shares = [network(image).float().softmax(dim=1) for network in self.networks]
        return torch.stack(shares).mean(dim=0).log()


NETWORK, OTHER = "tempcnn", "lstm"
"""Of series: the default, of which there are several, and what is averaged with it."""


def of_series(options: argparse.Namespace) -> None:
    """Print a row for each test part of each set; what is trained already stays."""
    names = [f"{NETWORK} {seed}" for seed in range(options.seeds)]
    print(f"| set | {' | '.join(names)} | {OTHER} | mean of {NETWORK} | {names[0]} and {OTHER} |")
    print("|" + "---|" * (options.seeds + 4))
    for name in options.series:
        for fold in range(options.folds):
            cells = of_fold(name, fold, options)
            print(f"| {name} {fold} | {' | '.join(cells)} |", flush=True)


def of_fold(name: str, fold: int, options: argparse.Namespace) -> list[str]:
    """OA and macro F1 of each network and of the means, on one test part of a set of series."""
    made, data, out = SETS[name], real_data(), options.out / "together"
    dataset = prepared(made, data, out / "data", seed=fold, inner=False)
    place = Place(data, dataset, out / f"{name}_{fold}")
    alike = [place.out / f"{NETWORK}_{seed}" for seed in range(options.seeds)]
    other, limit = place.out / OTHER, Limit(steps=options.steps)
    wanted = [(NETWORK, run, seed) for seed, run in enumerate(alike)]
    for network, run, seed in [*wanted, (OTHER, other, 0)]:
        if not (run / BEST).exists():
            place.out.mkdir(parents=True, exist_ok=True)
            train(network, made, place, run, seed=seed, limit=limit)
    cells = []
    for runs in [*([run] for run in alike), [other], alike, [alike[0], other]]:
        shutil.rmtree(place.out / "maps", ignore_errors=True)
        given = f"[{','.join(map(str, runs))}]"
        scores = score(made, dataset, predicted(made, place, given))["scores"]
        cells.append(f"{scores['oa']:.3f} / {scores['f1']:.3f}")
    return cells


def of_images(options: argparse.Namespace) -> None:
    """Print a row for each set, share of the labels and way of beginning."""
    folder = options.out / options.limit.replace(" ", "_")
    groups: dict[tuple[str, float, str], list[dict[str, Any]]] = defaultdict(list)
    for line in done(folder / "results.jsonl", options.limit).values():
        usual = not line["plain"] and line["adapted"] is None
        there = (folder / "runs" / line["name"] / BEST).exists()
        if usual and there and line["set"] in (options.sets or (line["set"],)):
            groups[line["set"], line["share"], line["variant"]].append(line)
    print("| set | labels | variant | networks | each | their mean |")
    print("|---|---|---|---|---|---|")
    for (name, share, variant), lines in sorted(groups.items()):
        if len(lines) < 2:
            continue
        runs = [folder / "runs" / line["name"] for line in lines]
        networks = [checkpoint.load(run / BEST)[0] for run in runs]
        dataset = Dataset.load(options.out / "data" / name)
        together = score_of(judged(Mean(networks), dataset))
        each = [score_of(line) for line in lines]
        print(
            f"| {name} | {share:.0%} | {variant} | {len(runs)} | {mean(each):.3f} ±"
            f" {stdev(each):.3f} | {together:.3f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("real/transfer"), help="of transfer")
    parser.add_argument("--limit", default="240 steps of 4", help="of the trainings")
    parser.add_argument("--sets", nargs="+", help="of those that have been trained; by default all")
    parser.add_argument("--series", nargs="+", help="of the arena's sets of series; these alone")
    parser.add_argument("--steps", type=int, default=250, help="of each training of series")
    parser.add_argument("--folds", type=int, default=2, help="test parts of each set of series")
    parser.add_argument("--seeds", type=int, default=3, help="networks that differ in their seed")
    options = parser.parse_args()
    if options.series:
        of_series(options)
    else:
        of_images(options)


if __name__ == "__main__":
    main()
