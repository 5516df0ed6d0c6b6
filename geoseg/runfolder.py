"""The folder of a run: claimed for its settings, which are written down in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from geoseg import command, processes
from geoseg.output import claim, clearing
from geoseg.settings import ANYWHERE


@contextmanager
def opened(
    config: Any, name: str, products: tuple[str, ...], *, but: tuple[str, ...] = ()
) -> Iterator[None]:
    """Claim the run folder of a training and write down how it is made.

    The first of several processes does. config: with run, overwrite and fit. name: of the command.
    but: settings that do not decide what comes out.
    Raises: InputError if there is a run of other settings.
    """
    if not processes.first(config.fit.nodes):
        yield
        return
    unsaid = ("run", "overwrite", *but)
    settings = {k: v for k, v in asdict(config).items() if k not in unsaid}
    settings["fit"] = {k: v for k, v in settings["fit"].items() if k not in ANYWHERE}
    with clearing(config.run, products):
        claim(config.run, settings, command=name, products=products, overwrite=config.overwrite)
        command.record(Path(config.run), name, config)
        yield
