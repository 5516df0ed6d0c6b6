"""Choose the device and the number format that a network runs in."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from geoseg.errors import Faults, InputError
from geoseg.models.settings import PRECISIONS
from geoseg.outputs.counted import counted

DEVICES = ("auto", "cpu", "cuda", "mps")
DType = torch.dtype  # a name of its own: within Device, torch is a property
_DTYPES = {"32": torch.float32, "bf16": torch.bfloat16, "16": torch.float16}
_FABRIC = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt."""


@dataclass(frozen=True)
class Device:
    """Where a network runs and in which precision; comes from `choose`."""

    name: str
    """cpu, cuda, cuda:1 or mps."""
    precision: str
    """32, bf16 or 16."""

    def __str__(self) -> str:
        return f"{self.name}, {'float32' if self.precision == '32' else self.precision}"

    @property
    def torch(self) -> torch.device:
        return torch.device(self.name)

    @property
    def accelerator(self) -> str:
        """What Lightning Fabric calls it."""
        return self.torch.type

    @property
    def fabric_precision(self) -> Any:
        """What Lightning Fabric calls the precision."""
        return _FABRIC[self.precision]

    @property
    def dtype(self) -> DType:
        """Of the numbers that convolutions multiply."""
        return _DTYPES[self.precision]

    def place(self, network: nn.Module) -> nn.Module:
        """Move a network there, in the layout in which convolutions are fastest."""
        return laid_out(network.to(self.torch))

    def autocast(self) -> AbstractContextManager[object]:
        """Context in which forward passes run in the precision.

        To be held open over many passes: weights are converted once per context.
        """
        return torch.autocast(self.torch.type, self.dtype, enabled=self.precision != "32")


def laid_out(network: nn.Module) -> nn.Module:
    """A network in the layout in which convolutions are fastest; those in 3D have no such one."""
    if any(tensor.ndim == 5 for tensor in (*network.parameters(), *network.buffers())):
        return network
    return network.to(memory_format=torch.channels_last)


def choose(device: str = "auto", precision: str = "auto") -> Device:
    """The device and precision that the words stand for on this machine.

    device: auto (a GPU if there is one), cpu, cuda, cuda:<n> or mps.
    precision: auto (bfloat16 where the hardware has it, else float32), 32, bf16 or 16.
    Raises: InputError if there is no such device, or it can't compute so.
    """
    faults = Faults()
    kind = device.partition(":")[0]
    if kind not in DEVICES:
        faults.add(f"device={device}: unknown; choose from {', '.join(DEVICES)}")
    if precision not in PRECISIONS:
        faults.add(f"precision={precision}: unknown; choose from {', '.join(PRECISIONS)}")
    faults.raise_if_any()
    name = _present() if device == "auto" else device
    _check_present(name)
    kind = name.partition(":")[0]
    if precision == "auto":
        precision = "bf16" if _has_bfloat16(kind) else "32"
    if precision == "16" and kind == "cpu":
        raise InputError("precision=16: float16 is for GPUs; take precision=bf16 or 32 on the CPU")
    if kind == "cpu":
        _keep_freed_memory()
    return Device(name, precision)


@contextmanager
def enough_memory(setting: str, value: object) -> Iterator[None]:
    """Context in which a device that runs out of memory is a fault of a setting.

    setting: the one to lower, as in predict.batch_size; value: what it is.
    Raises: InputError instead of torch's error.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        cause = str(error).partition(". ")[0]
        raise InputError(
            f"{setting}={value}: too much for the memory of the device ({cause}); lower it, or"
            " free the device of other programs"
        ) from error


def _keep_freed_memory() -> None:
    """Have glibc keep memory that a pass of the network frees, for the next pass.

    By default it goes back to the kernel, which clears it again page by page: 5 to 10 % of the
    time of a U-Net's pass. Other C libraries have no such call.
    """
    with suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, 1 << 25)  # the highest value there is
        mallopt(_TRIM_THRESHOLD, 1 << 29)


def _present() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _check_present(name: str) -> None:
    kind, _, number = name.partition(":")
    count = {"cpu": 1, "mps": int(torch.backends.mps.is_available())}.get(kind)
    if count is None:
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if number and not number.isdigit():
        raise InputError(f"device={name}: expected a number after the colon, as in cuda:0")
    if int(number or 0) >= count:
        raise InputError(
            f"device={name}: torch sees {counted(count, f'{kind} device')} here; take"
            " device=auto or cpu, or install a torch that supports yours"
        )


def _has_bfloat16(kind: str) -> bool:
    """Whether bfloat16 is computed by hardware; emulated, it is slower than float32."""
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if kind != "cpu":
        return False
    if hasattr(torch.cpu, "get_capabilities"):
        abilities = torch.cpu.get_capabilities()
        return any(abilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"))
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
