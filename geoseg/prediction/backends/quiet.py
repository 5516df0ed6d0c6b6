"""Keep the building of backends quiet, and say in one line why it failed."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from geoseg.errors import InputError


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the warnings of exporters and compilers about their own insides from the user.

    A failure still raises, and what a build is worth is measured on images.
    """
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def failure(backend: str, error: Exception) -> str:
    """One line that says why a backend could not build a network."""
    message = str(error).strip().splitlines()
    cause = f"{type(error).__name__}: {message[0][:200]}" if message else type(error).__name__
    return (
        f"predict.backend={backend}: can't run this network ({cause});"
        " take predict.backend=torch, which runs all"
    )


def missing(backend: str, library: str | None) -> InputError:
    """Of a library that is not installed."""
    return InputError(
        f"predict.backend={backend}: needs {library}, which is not installed;"
        f" pip install geoseg[{backend}], or take predict.backend=torch"
    )
