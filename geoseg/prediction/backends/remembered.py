"""Remember how fast backends were on this machine, so that the next prediction need not ask."""

from __future__ import annotations

import hashlib
import math
import os
import statistics
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch

from geoseg import __version__
from geoseg.errors import InputError
from geoseg.models.device import Device
from geoseg.outputs.files import read_note, write_json
from geoseg.prediction.backends.runner import Shape

LIBRARIES = ("torch", "openvino", "onnxruntime")
"""Another version of one may be faster or slower."""
ALIKE = 2
"""Measurements that must say the same before nobody measures again."""


@dataclass(frozen=True)
class Remembered:
    """Ratios of the times of two backends, as measured for one network on one machine."""

    path: Path
    """A small JSON file in the user's cache folder."""

    @classmethod
    def of(cls, network: str, device: Device, shape: Shape) -> Remembered:
        """What is known of a network by its hash, on a device, for batches of a shape."""
        versions = []
        for library in LIBRARIES:
            with suppress(metadata.PackageNotFoundError):
                versions.append(f"{library} {metadata.version(library)}")
        facts = (network, device, machine(device), list(shape), versions, __version__)
        name = hashlib.sha256(repr(facts).encode()).hexdigest()[:32]
        return cls(cache_folder() / "backends" / f"{name}.json")

    def ratio(self, backend: str, rival: str, *, limit: float) -> float | None:
        """Seconds of a backend as a share of its rival's; None if that is still to be measured.

        One measurement may be that of a bad moment: two must say alike whether it lies below the
        limit. Of three, two do.
        """
        found = self._measured(backend, rival)
        below = sum(ratio < limit for ratio in found)
        alike = max(below, len(found) - below)
        return statistics.median(found) if alike >= ALIKE else None

    def keep(self, backend: str, rival: str, ratio: float) -> None:
        """Write it down; where nothing can be written, the next prediction measures again."""
        found = [*self._measured(backend, rival), ratio]
        with suppress(OSError, InputError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self.path, self._read() | {f"{backend}/{rival}": found})

    def _measured(self, backend: str, rival: str) -> list[float]:
        found = self._read().get(f"{backend}/{rival}")
        ratios = found if isinstance(found, list) else [found]  # earlier versions kept one
        return [one for one in ratios if isinstance(one, float) and 0 < one < math.inf]

    def _read(self) -> dict[str, object]:
        # Not Path.is_file, which raises where a folder on the way may not be searched.
        return (read_note(self.path) if os.path.isfile(self.path) else None) or {}


def cache_folder() -> Path:
    """Where geoseg keeps what it can do without."""
    if given := os.environ.get("GEOSEG_CACHE"):
        return Path(given)
    of_all = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return Path(of_all or os.path.expanduser("~/.cache")) / "geoseg"


def machine(device: Device) -> str:
    """The processor that computes, by name, with the threads that it has."""
    if device.torch.type == "cuda":
        return torch.cuda.get_device_name(device.torch)
    return f"{_processor()}, {torch.get_num_threads()} threads"


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    import platform

    return platform.processor() or platform.machine()
