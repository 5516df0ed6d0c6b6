"""Check a safetensors file without torch: whole, unchanged, finite."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.errors import InputError

CHECKSUM = "geoseg_checksum"
"""Name of the checksum of the tensors in the metadata; files of older versions have none."""
METADATA = "__metadata__"
LONGEST = 100_000_000
"""Bytes of a header at most, as safetensors has it."""
FLOATS = {"F64": np.float64, "F32": np.float32, "F16": np.float16}
"""Types of tensors that numpy knows as well."""
THRESHOLDS = "trees.threshold"
"""End of the names of tensors in which infinity stands for a leaf."""
VARIANCE = "running_var"
"""End of the names of tensors that are variances."""
Part = tuple[str, Sequence[int], Any]
"""Name, shape and bytes of a tensor."""


@dataclass(frozen=True)
class TensorFile:
    """The header of a safetensors file."""

    path: Path
    metadata: dict[str, str]
    tensors: dict[str, dict[str, Any]]
    """Name → dtype, shape and data_offsets."""
    begin: int
    """Where in the file the tensors begin."""

    @classmethod
    def open(cls, path: Path) -> TensorFile:
        """Raises: OSError; ValueError if it is no safetensors file, or its header is damaged."""
        with path.open("rb") as file:
            try:
                (length,) = struct.unpack("<Q", file.read(8))
                header = json.loads(file.read(min(length, LONGEST)))
            except (struct.error, RecursionError) as error:
                raise ValueError(str(error)) from None
        if not isinstance(header, dict):
            raise ValueError("its header names nothing")
        metadata = header.pop(METADATA, {})
        if not isinstance(metadata, dict):
            metadata = {}
        return cls(path, metadata, header, 8 + length)

    @classmethod
    def open_with(cls, path: Path, key: str, *, lacks: str, expected: str) -> TensorFile:
        """As `open`, of a file whose metadata have a card.

        key: of the card. lacks: what a file without it is not. expected: what it should be.
        Raises: InputError.
        """
        try:
            file = cls.open(path)
        except FileNotFoundError:
            raise InputError(f"{path}: no such file; {expected}") from None
        except (OSError, ValueError):
            raise InputError(f"{path}: not a safetensors file; {expected}") from None
        if key not in file.metadata:
            raise InputError(f"{path}: {lacks}; {expected}")
        return file

    @property
    def size(self) -> int:
        """Bytes that the file must have. Raises: ValueError if the header is damaged."""
        try:
            ends = [int(tensor["data_offsets"][1]) for tensor in self.tensors.values()]
        except (TypeError, KeyError, IndexError, OverflowError) as error:
            raise ValueError(str(error)) from None
        return self.begin + max(ends, default=0)

    def check(self) -> None:
        """Raises: InputError if tensors are not as they were saved, or hold NaN or infinity."""
        try:
            self._check()
        except (OSError, TypeError, KeyError, IndexError, ValueError, OverflowError) as error:
            raise InputError(
                f"{self.path}: a damaged safetensors file ({error}); copy it again"
            ) from None

    def _check(self) -> None:
        saved = self.metadata.get(CHECKSUM)
        if saved is not None and checksum(self._parts()) != saved:
            raise InputError(
                f"{self.path}: damaged: its tensors are not those that were saved (their checksum"
                " differs from the one in the header); copy the file again"
            )
        broken = [name for name, _, data in self._parts() if not self._is_sound(name, data)]
        if broken:
            more = f" and {len(broken) - 1} more tensors" if len(broken) > 1 else ""
            raise InputError(
                f"{self.path}: {broken[0]}{more} hold NaN, infinity or a negative variance, of"
                " which no map can be made; copy the file again, or train again with a lower"
                " fit.learning_rate"
            )

    def _parts(self) -> Iterator[Part]:
        """Raises: what a damaged header leads to."""
        if not self.tensors:
            return
        data = np.memmap(self.path, np.uint8, "r")
        for name, told in self.tensors.items():
            start, end = (self.begin + int(offset) for offset in told["data_offsets"])
            if not self.begin <= start <= end <= len(data):
                raise ValueError(f"{name} lies outside of the file")
            yield name, told["shape"], data[start:end]

    def _is_sound(self, name: str, data: np.ndarray) -> bool:
        kind = self.tensors[name]["dtype"]
        if kind == "BF16":  # finite if not all bits of the exponent are set
            return bool((data.view(np.uint16) & 0x7F80 != 0x7F80).all())
        if kind not in FLOATS:
            return True
        values = data.view(FLOATS[kind])
        if name.endswith(THRESHOLDS):
            values = values[values != np.inf]
        return bool(np.isfinite(values).all()) and not (
            name.endswith(VARIANCE) and bool((values < 0).any())
        )


def checksum(tensors: Iterable[Part]) -> str:
    """Hexadecimal SHA-256 over names, shapes and bytes of tensors, whatever their order."""
    digest = hashlib.sha256()
    for name, shape, data in sorted(tensors, key=lambda part: part[0]):
        digest.update(f"{name} {list(shape)} {math.prod(shape)}\n".encode())
        digest.update(data)
    return digest.hexdigest()


def check(path: str | Path) -> None:
    """Look at the tensors of a safetensors file. Raises: InputError if they are damaged."""
    try:
        file = TensorFile.open(Path(path))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a safetensors file ({error}); copy it again") from None
    file.check()


def settle(path: Path) -> None:
    """Put the metadata of a file just written in order: safetensors writes them in any order.

    Only then do the same weights with the same card make the same bytes.
    """
    with path.open("r+b") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        header[METADATA] = dict(sorted(header.get(METADATA, {}).items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        if len(text) > length:
            raise ValueError(f"{path}: a header of {len(text)} bytes has no room in {length}")
        file.seek(8)
        file.write(text.ljust(length))
