"""Cross-validate networks by spatial blocks and at random, and report the gap between both.

Samples of series and tiles of images go the same way; seriesfolds and imagefolds say what differs.
"""

from __future__ import annotations

from geoseg.commands.run import run
from geoseg.crossvalidation.config import CrossvalidateConfig
from geoseg.crossvalidation.run import crossvalidate
from geoseg.dataset.samples import SeriesDataset, holds_samples
from geoseg.dataset.tiles import Dataset


def main(config: CrossvalidateConfig) -> None:
    of_series = holds_samples(config.dataset)
    kind = SeriesDataset if of_series else Dataset
    print(crossvalidate(kind.load(config.dataset), config))


if __name__ == "__main__":
    run("crossvalidate", CrossvalidateConfig, main)
