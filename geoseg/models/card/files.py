"""Name the files of a run's weights, and find them."""

from __future__ import annotations

from pathlib import Path

from geoseg.errors import InputError
from geoseg.outputs.stamp import sha256
from geoseg.received.tensor_file import TensorFile

KEY = "geoseg"
"""Name of the JSON text in the metadata of a safetensors file."""
BEST = "best.safetensors"
"""Name of the weights in a run folder."""
JUDGED = "refit/judged.safetensors"
"""The weights that val has judged, of a run whose own have learnt from val as well."""
ENCODER_KEY = "geoseg_encoder"
"""Name of the JSON text in the metadata of an encoder's file."""
ENCODER = "encoder.safetensors"
"""Name of an encoder's weights in the folder of a pretraining."""
LAST = "last.ckpt"
"""What a stopped training goes on from; plain tensors and numbers, never unpickled."""


def whole_weights(path: Path) -> bool:
    """Whether a safetensors file is there, and as long as its header says."""
    try:
        file = TensorFile.open(path)
        return path.stat().st_size == file.size
    except (OSError, ValueError, TypeError, KeyError, IndexError):
        return False


def find_weights(checkpoint: str | Path) -> Path:
    """Weights file named by itself or by its run folder. Raises: InputError."""
    path = Path(checkpoint)
    if path.is_dir():
        path = path / BEST
    if not path.is_file():
        raise InputError(
            f"{path}: no such file; set checkpoint=<run folder or weights file of geoseg.train>"
        )
    return path


def weights_hash(path: str | Path) -> str:
    """First 16 hexadecimal digits of the SHA-256 of a weights file: names the model in its maps."""
    return sha256(path)[:16]
