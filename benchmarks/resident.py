"""Say how much memory this process has taken."""

from __future__ import annotations

import resource
import sys
from pathlib import Path


def peak_resident(process: int | str = "self") -> float:
    """Highest resident memory of a process, MB; of another one (its number) on Linux only."""
    status = Path(f"/proc/{process}/status")
    if status.exists():  # getrusage's peak would begin with that of the process that started it
        lines = status.read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e3
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)
