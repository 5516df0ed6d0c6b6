"""Networks that can be reckoned by hand, and lie in files."""

import torch
from torch import nn

from geoseg.models import checkpoint
from geoseg.models.card import weights_hash
from geoseg.prediction.network import InferenceSettings, TrainedNetwork
from tests.made.scenes import CARD

RUNNING = InferenceSettings("cpu", "32", batch_size=4)


class Sums(nn.Module):
    """Logits of two classes: plus and minus a weighted sum of the bands of a pixel."""

    def __init__(self, weights) -> None:
        super().__init__()
        self.register_buffer("weights", torch.tensor(weights, dtype=torch.float32))

    def forward(self, image):
        summed = torch.einsum("bchw,c->bhw", image, self.weights)
        return torch.stack([summed, -summed], dim=1)


def saved(folder, source, card=CARD):
    """A network that lies in a file."""
    path = folder / "run" / "best.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(path, source, card)
    made = TrainedNetwork(card, weights_hash(path), path, RUNNING)
    made._loaded = source
    return made
