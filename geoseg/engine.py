"""Engine: what does the work of a prediction: this process, or the workers of a Dask cluster."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from geoseg.errors import Faults

ENGINES = ("local", "dask")


@dataclass
class Engine:
    """Who predicts."""

    name: str = "local"
    """local: this process; dask: workers of a Dask cluster."""
    address: str | None = None
    """Of a running Dask scheduler: tcp://host:8786, or the .json file that it wrote; by default
    workers are started here."""
    workers: int | None = None
    """Processes that are started here; by default one for each GPU, or for each 8 cores."""
    retries: int = 3
    """Workers that may die over the same job before its scene counts as failed."""

    def __post_init__(self) -> None:
        faults = Faults()
        if self.name not in ENGINES:
            faults.add(f"engine={self.name}: choose from {', '.join(ENGINES)}")
        if self.workers is not None and self.workers < 1:
            faults.add(f"engine.workers={self.workers}: must be at least 1")
        if self.retries < 0:
            faults.add(f"engine.retries={self.retries}: must not be negative")
        if self.name == "local" and (self.address is not None or self.workers is not None):
            faults.add("engine.address, engine.workers: these are for engine=dask; set that")
        if self.address is not None and self.workers is not None:
            faults.add("engine.workers: the cluster at engine.address has its own; leave it out")
        if self.name == "dask" and find_spec("distributed") is None:
            faults.add("engine=dask: Dask is not installed; pip install 'geoseg[dask]'")
        faults.raise_if_any()
