"""Show a trained network the corrections in a window, or adapt it to them.

It is shown them as channels of its input (models.clicks) if it was trained for that. Else it learns
from them, and is held to the old map elsewhere, after DISCA (Lenczner et al. 2020, "Interactive
learning for semantic segmentation in Earth observation"): cross-entropy on what was clicked, and a
pull toward what the network said before. Only the last layer and the norms of the decoder learn,
and only on the part of the window that the corrections can change, so that a step takes less than
a tenth of a second. Letters of shapes: C bands, K classes, H and W; h and w of that part.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geoseg.errors import InputError
from geoseg.geo.grid import Window
from geoseg.geo.legend import IGNORED
from geoseg.models.clicks import encode
from geoseg.models.device import choose
from geoseg.models.networks.build import HEADS, STRIDE, pixel_path_of
from geoseg.models.settings import FOREST, OWN
from geoseg.prediction.forward import Scaling, smoothed
from geoseg.prediction.network import TrainedNetwork
from geoseg.refinement.features import Seen, kept, noted
from geoseg.refinement.settings import CHANNELS, LEARN, Refining
from geoseg.refinement.spread import fading, spread, touched, weights
from geoseg.refinement.windows import distance

NORMS = (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm2d)
ENOUGH = 0.8
"""Probability from which on a corrected pixel counts as learnt."""
FEWEST = 0.5
"""Share of the steps that are taken anyhow: the first ones move all that looks alike, and only
further ones, held by the pull, tell it apart."""
ENOUGH_RIGHT = 0.98
"""Share of the corrected pixels that are right in the end, from which on the way is far enough."""
PARTS = 20
"""Into which that way is cut."""
FADED = 3.5
"""Times `fade` away from the corrections what learning changes counts for 0.2 %: what lies further
is not looked at. Nearer, and what the old map holds is too little: more is spoilt."""
LOOSE = 0.3
"""Share of the pull that the surroundings of a correction feel, so that what is like it follows."""


@dataclass(frozen=True)
class Adapted:
    """What a network says of a window before and after it has learnt from its corrections."""

    before: np.ndarray
    """(K, H, W) float32, probabilities."""
    after: np.ndarray
    """The same."""
    steps: int


def way_of(network: TrainedNetwork, settings: Refining) -> str:
    """How corrections are taken in: channels, learn or both.

    Raises: InputError if the network can't be shown any, and what to do about it.
    """
    if settings.by != LEARN and not network.card.clicks:
        raise InputError(
            f"refine.by={settings.by}: {network.source} was not trained to be shown clicks; teach"
            " it (python -m geoseg.train … model.weights=<run> model.keep=network fit.clicks=true"
            " fit.clicks_only=true) and predict with what comes out, or set refine.by=learn"
        )
    return settings.by


def check(network: TrainedNetwork) -> None:
    """Raises: InputError for networks that can't be adapted, and what to do instead."""
    card = network.card
    if network.others:
        raise InputError(
            "checkpoint: refine adapts one network; give one checkpoint, and maps that it made"
        )
    if card.series is not None or card.model.name in (FOREST, OWN):
        what = {FOREST: "a forest", OWN: f"a network of other code ({card.model.target})"}
        named = what.get(card.model.name, "a network for series")
        raise InputError(
            f"checkpoint: {network.source} is {named}, and refine adapts geoseg's own networks for"
            " images; train anew with the corrections: geoseg.prepare corrections=…"
        )


def adaptable(network: nn.Module) -> list[nn.Parameter]:
    """What learns: the last layer, the norms outside the encoder, the last layer of the pixels."""
    named = dict(network.named_modules())
    fixed = ("network.encoder", "click_path")
    still = {id(named[name]) for name in named if name.startswith(fixed)}
    norms = [m for m in named.values() if isinstance(m, NORMS) and id(m) not in still]
    heads = [
        module
        for name, module in named.items()
        if isinstance(module, nn.Conv2d) and name.removeprefix("network.").startswith(HEADS)
    ]
    path = pixel_path_of(network)
    last = [heads[-1], *([path.layers[-1]] if path is not None else [])]
    found = [p for module in (*norms, *last) for p in module.parameters()]
    return list(dict.fromkeys(found))


@dataclass(frozen=True)
class _Task:
    """What a network is to learn in a part of a window."""

    before: Tensor
    """(1, K, h, w), logits that it is held to."""
    wanted: Tensor
    """(h, w) indices of classes, IGNORED where nothing was corrected."""
    weights: Tensor
    """(h, w) of these, which add up to 1."""
    clicked: Tensor
    """(h, w) bool, without what lies around a correction."""
    held: Tensor
    """(h, w), weights of what is to stay."""


class Adapter:
    """A network that learns from one window at a time, each time from the same beginning."""

    def __init__(self, network: TrainedNetwork, settings: Refining, *, smooth: int = 0) -> None:
        """smooth: as in the prediction of the maps.

        Raises: InputError if there is no such device, or the network can't be adapted.
        """
        check(network)
        self._way = way_of(network, settings)
        self._settings = settings
        self._smooth = smooth
        self._device = choose(settings.device, settings.precision)
        module = copy.deepcopy(network.load()).requires_grad_(False)
        self._network = self._device.place(module).eval()
        self._learning = adaptable(self._network)
        self._first = [p.detach().clone() for p in self._learning]
        self._scaling = Scaling(network.card.statistics, self._device.torch)

    def __call__(self, image: np.ndarray, seen: np.ndarray, corrected: np.ndarray) -> Adapted:
        """image: (C, H, W) as the scene has it. seen: (H, W) bool. corrected: (H, W) uint8 indices
        of classes, IGNORED where nothing was corrected."""
        torch_ = self._device.torch
        visible = torch.from_numpy(seen)[None].to(torch_)
        images = self._scaling(torch.from_numpy(image)[None].to(torch_), visible).clone()
        with torch.no_grad(), self._device.autocast(), noted(self._network) as made:
            before = self._network(images).float()
        steps = 0
        after = before
        if (corrected != IGNORED).any():
            if self._way != LEARN:
                after = self._shown(images, corrected, before.shape[1])
            if self._way != CHANNELS and self._settings.steps:
                window = Seen(images, visible, *made)
                after, steps = self._learn(window, before, after, corrected)
        shares = [
            smoothed(logits.softmax(dim=1), visible, self._smooth)[0].cpu().numpy()
            for logits in (before, after)
        ]
        if not self._settings.others:
            kept = touched(shares[0].argmax(axis=0), shares[1].argmax(axis=0), corrected)
            shares[1] = np.where(kept, shares[1], shares[0])
        return Adapted(shares[0], shares[1], steps)

    @torch.no_grad()
    def _shown(self, images: Tensor, corrected: np.ndarray, classes: int) -> Tensor:
        """Logits of a network that sees the corrections."""
        clicks = torch.from_numpy(encode(corrected, classes, ignored=IGNORED))[None]
        with self._device.autocast():
            logits: Tensor = self._network(torch.cat([images, clicks.to(images)], dim=1))
        return logits.float()

    def _learn(
        self, window: Seen, plain: Tensor, before: Tensor, corrected: np.ndarray
    ) -> tuple[Tensor, int]:
        """Logits after learning, and the number of steps. The network is as before in the end.

        plain: logits without corrections; before: those that it is held to.
        """
        device = self._device.torch
        index = plain[0].argmax(dim=0).cpu().numpy()
        target = spread(corrected, index, self._settings.radius)
        held = self._held(corrected, before, window.visible, target)
        changing = fading(corrected, self._settings.fade)
        logits = before.clone()
        try:
            for parameter in self._learning:
                parameter.requires_grad_(True)
            with kept(self._network, window, self._near(corrected)) as (part, where):
                rows, columns = where
                wanted = torch.from_numpy(target[where].astype(np.int64)).to(device)
                task = _Task(
                    before=before[..., rows, columns],
                    wanted=wanted,
                    weights=torch.from_numpy(weights(target[where])).to(device),
                    clicked=torch.from_numpy(corrected[where] != IGNORED).to(device),
                    held=held[where].to(device),
                )
                found, steps = self._stepped(part, task)
            change = (found - task.before) * changing[where].to(device)
            share = shortest(task.before, task.before + change, wanted)
            logits[..., rows, columns] += share * change
            return logits, steps
        finally:
            with torch.no_grad():
                for parameter, first in zip(self._learning, self._first, strict=True):
                    parameter.requires_grad_(False).copy_(first)
                    parameter.grad = None

    def _near(self, corrected: np.ndarray) -> Window:
        """What the corrections can change, in whole strides of the network; of all where nothing
        fades."""
        height, width = corrected.shape
        if not self._settings.fade:
            return Window(0, 0, height, width)
        away = math.ceil(FADED * self._settings.fade)
        rows, columns = np.nonzero(corrected != IGNORED)
        sides = []
        for places, length in ((rows, height), (columns, width)):
            first = max(0, int(places.min()) - away) // STRIDE * STRIDE
            last = math.ceil((int(places.max()) + 1 + away) / STRIDE) * STRIDE
            # The network sees no less than two strides.
            last = min(length, max(last, first + 2 * STRIDE))
            sides.append((max(0, min(first, last - 2 * STRIDE)), last))
        (top, bottom), (left, right) = sides
        return Window(top, left, bottom - top, right - left)

    def _stepped(self, images: Tensor, task: _Task) -> tuple[Tensor, int]:
        """Logits (1, K, h, w) after learning, and the number of steps."""
        settings = self._settings
        old = task.before.log_softmax(dim=1)
        optimizer = torch.optim.Adam(self._learning, lr=settings.learning_rate)
        first: Tensor | None = None
        for steps in range(settings.steps + 1):
            with self._device.autocast():
                logits = self._network(images)
            logits = logits.float()
            # What the part lacks of its surroundings, and corrections as channels say besides.
            first = task.before - logits.detach() if first is None else first
            logits = logits + first
            new = logits.log_softmax(dim=1)
            given = F.nll_loss(new, task.wanted[None], reduction="none", ignore_index=IGNORED)
            sure = given.detach()[0][task.clicked].max() < -np.log(ENOUGH)
            sure &= steps >= FEWEST * settings.steps
            if sure or steps == settings.steps:
                break
            moved = (old.exp() * (old - new)).sum(dim=1)
            loss = (given[0] * task.weights).sum() + settings.pull * (moved * task.held).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return logits.detach(), steps

    def _held(
        self, corrected: np.ndarray, before: Tensor, visible: Tensor, target: np.ndarray
    ) -> Tensor:
        """Weights (H, W), which add up to 1, of what is to stay as it was."""
        index = before[0].argmax(dim=0).cpu().numpy()
        mended = (corrected != IGNORED) & (corrected != index)
        weight = np.ones(corrected.shape, np.float32)
        if mended.any():
            far = self._settings.reach or corrected.shape[0] // 2
            weight = np.clip(2 * distance(mended) / far, LOOSE, 1).astype(np.float32)
        weight[target != IGNORED] = 0
        weight *= visible[0].cpu().numpy()
        return torch.from_numpy(weight / max(1.0, float(weight.sum())))


def shortest(before: Tensor, after: Tensor, wanted: Tensor) -> float:
    """Share of the way from logits (1, K, H, W) before to those after that is far enough.

    That is where as many of the corrected pixels are right as at its end: each step beyond changes
    only what nobody corrected. wanted: (H, W) indices, IGNORED where nothing was corrected.
    """
    inside = wanted != IGNORED
    one, two, right = before[0, :, inside], after[0, :, inside], wanted[inside]

    def count(share: float) -> int:
        return int(((one + share * (two - one)).argmax(dim=0) == right).sum())

    enough = ENOUGH_RIGHT * count(1)
    return next((s / PARTS for s in range(PARTS) if count(s / PARTS) >= enough), 1.0)
