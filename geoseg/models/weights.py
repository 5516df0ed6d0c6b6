"""Read weights from a local file, whatever it calls its layers."""

from __future__ import annotations

import pickle
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from geoseg.errors import InputError
from geoseg.models.networks.transformers import positions
from geoseg.models.novelty import without
from geoseg.models.published import dialects
from geoseg.outputs.counted import few

WRAPPERS = ("state_dict", "model_state_dict", "model", "encoder", "backbone", "net", "weights")
"""Keys under which training programs put a state dict among other things."""
HEADS = {
    *("fc", "_fc", "classifier", "head", "heads", "last_linear", "logits", "AuxLogits"),
    *("aux_classifier", "segmentation_head", "classification_head", "decoder", "decode_head"),
}
"""Parts of names that tell a head from an encoder: its classes are others, so it stays behind."""
LEAST = 0.5
"""Share of the encoder's numbers that a file must fill, else it is another network's."""
EXPECTED = "expected .safetensors or a state dict written by torch.save"
TORCH_STARTS = (b"PK", b"\x80\x02")
"""First bytes of what torch.save writes: a zip archive, or a pickle before torch 1.6."""
POSITIONS = "pos_embed"
"""End of the name of a vision transformer's table of positions."""
COUNTER = "num_batches_tracked"
"""A batch norm's counter of steps; old files lack it and nothing reads it."""


@dataclass(frozen=True)
class Loaded:
    """What a file gave an encoder or a network, by names of tensors."""

    source: str
    """The file, or the name of downloaded weights."""
    loaded: tuple[str, ...]
    """Tensors that were filled."""
    missing: tuple[str, ...]
    """Tensors that the source lacks or has in another shape: still random."""
    unused: tuple[str, ...]
    """Tensors of the source that there is no place for, heads aside."""
    heads: tuple[str, ...]
    """Tensors of the source's classification head or decoder, left out."""
    adapted: tuple[str, ...]
    """Input layers of which the source's bands became other bands, or came into another order."""
    part: str = "encoder"
    """What was filled: the encoder, or the whole network."""
    said: tuple[str, ...] = ()
    """More lines for people: what became of bands and classes, and what else differs."""

    def __str__(self) -> str:
        total = len(self.loaded) + len(self.missing)
        parts = [f"{self.source}: {len(self.loaded)} of {total} {self.part} tensors loaded"]
        if self.adapted and not any(line.startswith("bands:") for line in self.said):
            parts.append(f"{', '.join(self.adapted)} adapted to the number of bands")
        for label, names in (("still random", self.missing), ("not used", self.unused)):
            if names:
                parts.append(f"{label}: {few(names, 3)}")
        if self.heads:
            parts.append(f"{len(self.heads)} of a head left out")
        return "\n".join(["; ".join(parts), *self.said])


def load_state(
    encoder: nn.Module,
    state: Mapping[str, Tensor],
    *,
    channels: int,
    source: str,
    places: Sequence[int | None] | None = None,
) -> Loaded:
    """Fill an encoder with the tensors of a state dict, matched by name under any prefix.

    places: for each band which of the state dict's it is, None if it is none of them; without
    places, bands are taken as they come.
    Raises: InputError if they fill less than half of the encoder.
    """
    own = encoder.state_dict()
    state = dialects.translated(state, own)
    names = match(own, state)
    inputs = input_convolutions(encoder, channels)
    first = next((name for name in own if name in inputs), None)
    fitting, adapted, said = {}, [], []
    for name, theirs in names.items():
        tensor = state[theirs]
        if name.endswith(POSITIONS) and positions.differ(tensor, own[name]):
            tensor, line = positions.resized(tensor, own[name])
            said.append(line)
        if places is not None and name == first:
            tensor = place_bands(tensor, places)
            adapted.append(name)
        elif name in inputs and differs_in_bands(tensor, own[name]):
            tensor = spread_bands(tensor, own[name].shape[1])
            adapted.append(name)
        if tensor.shape == own[name].shape:
            fitting[name] = tensor
    check_enough(own, fitting, state, source=source)
    with torch.no_grad():
        for name, tensor in fitting.items():
            own[name].copy_(tensor)
    used = {names[name] for name in fitting}
    rest = [name for name in state if name not in used and not name.endswith(COUNTER)]
    return Loaded(
        source,
        loaded=tuple(name for name in fitting if not name.endswith(COUNTER)),
        missing=tuple(n for n in own if n not in fitting and not n.endswith(COUNTER)),
        unused=tuple(name for name in rest if not is_head(name)),
        heads=tuple(name for name in rest if is_head(name)),
        adapted=tuple(adapted),
        said=tuple(said),
    )


def check_enough(
    own: Mapping[str, Tensor],
    fitting: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    *,
    source: str,
    remedy: str = "give the weights of this encoder, or set model.encoder to the file's",
) -> None:
    """Raises: InputError if the tensors are too few to be this encoder's, or not finite."""
    total = sum(tensor.numel() for tensor in own.values())
    share = sum(tensor.numel() for tensor in fitting.values()) / total
    if share < LEAST:
        raise InputError(
            f"{source}: fits {len(fitting)} of {len(own)} tensors ({share:.0%} of the"
            f" numbers); it has {some(state)}; expected {some(own)}; {remedy}"
        )
    broken = [name for name, tensor in fitting.items() if not tensor.isfinite().all()]
    if broken:
        raise InputError(
            f"{source}: {some(broken)} hold NaN or infinity; expected finite weights;"
            " save them again from a training that did not diverge"
        )


def match(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, str]:
    """The state dict's name for each of the encoder's, under the prefixes that match most."""
    # Files of torchvision's first years write norm.1 for DenseNet's norm1.
    old = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")
    modern = {old.sub(r"\1\2.", name): name for name in state}
    best: dict[str, str] = {}
    for ours in {"", common_prefix(own)}:
        bare = {name.removeprefix(ours): name for name in own}
        prefixes: Counter[str] = Counter()
        for name in modern:
            parts = name.split(".")
            for cut in range(len(parts)):
                if ".".join(parts[cut:]) in bare:
                    prefixes["".join(part + "." for part in parts[:cut])] += 1
        for theirs, _ in prefixes.most_common(1):
            pairs = ((name, modern.get(theirs + rest)) for rest, name in bare.items())
            best = max(best, {name: other for name, other in pairs if other}, key=len)
    return best


def common_prefix(own: Mapping[str, Tensor]) -> str:
    """The first part of all names if they share it, as `model.` of timm's encoders, or nothing."""
    first = {name.partition(".")[0] for name in own}
    return f"{first.pop()}." if len(first) == 1 else ""


def input_convolutions(encoder: nn.Module, channels: int) -> set[str]:
    """Names of the weights of convolutions that may see the image itself."""
    return {
        f"{name}.weight"
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Conv2d) and module.in_channels == channels and module.groups == 1
    }


def differs_in_bands(tensor: Tensor, own: Tensor) -> bool:
    """Whether two convolution weights (out, in, h, w) differ in the input channels alone."""
    return (
        tensor.ndim == own.ndim == 4
        and tensor.shape[1] != own.shape[1]
        and tensor.shape[:1] + tensor.shape[2:] == own.shape[:1] + own.shape[2:]
    )


def spread_bands(weight: Tensor, channels: int) -> Tensor:
    """A convolution's weight (out, in, h, w) for another number of input channels.

    The file's bands keep their filters and come first, further ones get the mean filter; for fewer
    bands than the file's, each gets the mean. All are scaled by in / channels, so that a grey
    image, the same in all bands, gives the same activations as before.
    """
    return place_bands(weight, in_order(weight.shape[1], channels))


def in_order(before: int, bands: int) -> tuple[int | None, ...]:
    """For each of so many bands which of those before it is, where none has a name."""
    if bands < before:
        return (None,) * bands
    return (*range(before), *(None,) * (bands - before))


def place_bands(weight: Tensor, places: Sequence[int | None]) -> Tensor:
    """A weight (out, in, …) for other bands: each that of the one before, or (None) of their mean.

    All are scaled by the number of bands before / after. A grey image, the same in all bands, gives
    the same activations as before if no band before is left out, or all are.
    """
    bands = weight.shape[1]
    mean = weight.float().mean(dim=1, keepdim=True)
    parts = [mean if n is None else weight[:, n : n + 1].float() for n in places]
    return torch.cat(parts, dim=1) * (bands / len(places))


def is_head(name: str) -> bool:
    return not HEADS.isdisjoint(name.split("."))


def some(names: Any) -> str:
    """The first names of many."""
    listed = list(names)
    return ", ".join(listed[:3]) + (f", … ({len(listed)})" if len(listed) > 3 else "")


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file or of a torch state dict; nothing else is unpickled.

    Raises: InputError for a file that is cut short, of another format, or without tensors.
    """
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    is_safetensors = start[8:9] == b"{"
    if not is_safetensors and not start.startswith(TORCH_STARTS):
        raise InputError(f"{path}: {found(start)}; {EXPECTED}")
    try:
        if is_safetensors:
            return without(safetensors.torch.load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: holds Python objects besides tensors, which could run anything when read;"
            f" {EXPECTED}; save its state_dict() alone with safetensors.torch.save_file"
        ) from error
    except Exception as error:  # Half a zip, pickle or header raises whatever it runs into.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{path}: cut short or damaged, {path.stat().st_size} bytes ({reason}); {EXPECTED};"
            " copy or download it again"
        ) from error
    return state_of(content, path)


def found(start: bytes) -> str:
    """What a file is that begins with these bytes, as far as one can tell."""
    if not start:
        return "an empty file"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the file itself (git lfs pull fetches it)"
    if start.startswith(b"\x89HDF"):
        return "an HDF5 file, as Keras writes them"
    if start.startswith(b"\x80"):
        return "a pickle of Python objects, which could run anything when read"
    return f"of an unknown format, beginning {start[:12]!r}"


def state_of(content: Any, path: Path) -> dict[str, Tensor]:
    """The state dict among what a training program has saved.

    Raises: InputError if there are no tensors.
    """
    if isinstance(content, Mapping):
        for key in WRAPPERS:
            if isinstance(content.get(key), Mapping):
                return state_of(content[key], path)
        state = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
        if state:
            return state
    keys = some(content) if isinstance(content, Mapping) else type(content).__name__
    raise InputError(f"{path}: no tensors by name in it, but {keys or 'nothing'}; {EXPECTED}")
