"""What the mean of several networks is worth beside each of them, as `checkpoint=[a,b,c]` maps.

    GEOSEG_REAL_DATA=<folder> python -m benchmarks.transfer --sets buildings denmark
    python -m benchmarks.together [--sets buildings denmark]

Takes the trainings that benchmarks.transfer has made, which differ in their seed alone, and scores
on the same test tiles each network by itself and the mean of their probabilities.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.transfer import done, judged, score_of
from geoseg.dataset.tiles import Dataset
from geoseg.models import checkpoint


class Mean(nn.Module):
    """The logarithm of the networks' mean probabilities, which are logits as well."""

    def __init__(self, networks: list[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, image: Tensor) -> Tensor:
        shares = [network(image).float().softmax(dim=1) for network in self.networks]
        return torch.stack(shares).mean(dim=0).log()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("real/transfer"), help="of transfer")
    parser.add_argument("--limit", default="240 steps of 4", help="of the trainings")
    parser.add_argument("--sets", nargs="+", help="of those that have been trained; by default all")
    options = parser.parse_args()
    folder = options.out / options.limit.replace(" ", "_")
    groups: dict[tuple[str, float, str], list[dict[str, Any]]] = defaultdict(list)
    for line in done(folder / "results.jsonl", options.limit).values():
        usual = not line["plain"] and line["adapted"] is None
        there = (folder / "runs" / line["name"] / "best.safetensors").exists()
        if usual and there and line["set"] in (options.sets or (line["set"],)):
            groups[line["set"], line["share"], line["variant"]].append(line)
    print("| set | labels | variant | networks | each | their mean |")
    print("|---|---|---|---|---|---|")
    for (name, share, variant), lines in sorted(groups.items()):
        if len(lines) < 2:
            continue
        runs = [folder / "runs" / line["name"] for line in lines]
        networks = [checkpoint.load(run / "best.safetensors")[0] for run in runs]
        dataset = Dataset.load(options.out / "data" / name)
        together = score_of(judged(Mean(networks), dataset))
        each = [score_of(line) for line in lines]
        print(
            f"| {name} | {share:.0%} | {variant} | {len(runs)} | {mean(each):.3f} ±"
            f" {stdev(each):.3f} | {together:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
