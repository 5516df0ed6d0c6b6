"""Difficulty: how large the loss of each train tile is, seen as validation sees it."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from torch import nn
from torch.utils.data import DataLoader

from geoseg.judge import inputs
from geoseg.legend import IGNORED
from geoseg.ranks import Ranks
from geoseg.samples.tiles import ValTiles


class Difficulty:
    """Mean cross-entropy of each tile's labelled pixels, without augmentation; 0 without any."""

    def __init__(
        self, tiles: ValTiles, batch: int, *, fabric: Fabric, options: dict[str, Any]
    ) -> None:
        """batch: tiles at a time, of this process. options: of the DataLoader."""
        ranks = Ranks.of(fabric)
        self._own = range(ranks.number, len(tiles), ranks.count)
        loader = DataLoader(tiles, batch, sampler=self._own, **options)
        self._loader: Any = fabric.setup_dataloaders(loader, use_distributed_sampler=False)
        self._count, self._fabric, self._ranks = len(tiles), fabric, ranks

    @torch.inference_mode()
    def __call__(self, network: nn.Module) -> list[float]:
        network.eval()
        found = torch.zeros(self._count, device=self._fabric.device)
        done = 0
        with self._fabric.autocast():
            for given, target in self._loader:
                logits = network(*inputs(given)).float()
                losses = F.cross_entropy(
                    logits, target.long(), ignore_index=IGNORED, reduction="none"
                )
                labelled = (target != IGNORED).sum((1, 2)).clamp(min=1)
                part = self._own[done : done + len(target)]
                found[part.start : part.stop : part.step] = losses.sum((1, 2)) / labelled
                done += len(target)
        return [float(loss) for loss in self._ranks.total(found).cpu()]
