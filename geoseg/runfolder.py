"""The folder of a run: claimed for its settings, which are written down in it."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from geoseg import command, origin, processes
from geoseg.errors import InputError
from geoseg.output import claim, clearing, is_claimed
from geoseg.settings import ANYWHERE, Fit

LOGS = ("tensorboard", "mlruns", "wandb", ".loggers.json")
"""What loggers leave in a run folder, and the note which epochs they were told."""
LOGGER_PACKAGES = {"mlflow": ("mlflow", "sqlalchemy", "alembic"), "wandb": ("wandb",)}
"""What those loggers need that do not come with geoseg; MLflow the latter two for its database."""


def check_logger(fit: Fit, *, tried: bool = False) -> None:
    """Raises: InputError if a package is missing for the logger, which the first process has.

    tried: nothing is trained, and so nothing logged.
    """
    if tried or not processes.first(fit.nodes):
        return
    for package in LOGGER_PACKAGES.get(fit.logger, ()):
        found = importlib.util.find_spec(package)
        # The folder `wandb` of an earlier run beside the user passes for a package without origin.
        if found is None or found.origin is None:
            needs = "" if package == fit.logger else f"needs {package}, which is "
            raise InputError(
                f"fit.logger={fit.logger}: {needs}not installed; pip install geoseg[{fit.logger}]"
            )


def check_start(
    config: Any, name: str, *, but: tuple[str, ...] = (), files: Sequence[str] = ()
) -> None:
    """Raises: InputError for weights to start from that are not there, or another network's.

    A training that goes on is past its start. The arguments are those of `opened`.
    """
    run = Path(config.run)
    if not (origin.goes_on(run) and is_claimed(run, _claimed(config, but, files), command=name)):
        origin.check(config.model, run)


def _claimed(config: Any, but: tuple[str, ...], files: Sequence[str]) -> dict[str, Any]:
    """The settings that make a run what it is."""
    unsaid = ("run", "overwrite", *but)
    settings = {k: v for k, v in asdict(config).items() if k not in unsaid}
    settings["fit"] = {k: v for k, v in settings["fit"].items() if k not in ANYWHERE}
    return settings | ({"files": [os.path.abspath(path) for path in files]} if files else {})


@contextmanager
def opened(
    config: Any,
    name: str,
    products: tuple[str, ...],
    *,
    but: tuple[str, ...] = (),
    files: Sequence[str] = (),
) -> Iterator[None]:
    """Claim the run folder of a training and write down how it is made.

    The first of several processes does. config: with run, overwrite and fit. name: of the command.
    but: settings that do not decide what comes out. files: that a setting found: others make
    another run.
    Raises: InputError if there is a run of other settings.
    """
    if not processes.first(config.fit.nodes):
        yield
        return
    settings = _claimed(config, but, files)
    # A log without an epoch is nothing to keep.
    with clearing(config.run, tuple(name for name in products if name not in LOGS)):
        claim(config.run, settings, command=name, products=products, overwrite=config.overwrite)
        command.record(Path(config.run), name, config)
        yield
