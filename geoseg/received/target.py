"""Import what a user names as `module:attribute`, and describe what was given in Python instead.

Importing a module runs it. That is why a target counts only where a person gives it: on the command
line or in Python, never in a weights file or a configuration that came from elsewhere.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable
from typing import Any

from geoseg.errors import Faults, InputError, shown

GIVEN = "given in Python: "
"""What a target begins with that describes an object, and can't be imported."""
EXAMPLE = "my_package.nets:MyNet"
_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
FORMED = f"{GIVEN}[\\w.<>]+( [0-9a-f]{{12}})?"


def check_target(room: str, target: Any, options: Any) -> None:
    """Raises: InputError for settings `room`.target and `room`.options that can't be meant so."""
    faults = Faults()
    if target is None:
        if options:
            faults.add(
                f"{room}.options: of {room}.target, which is not given; set"
                f" {room}.target=module:attribute, as in {EXAMPLE}"
            )
    elif not isinstance(target, str) or not (_TARGET.fullmatch(target) or is_given(target)):
        faults.add(
            f"{room}.target={target if isinstance(target, str) else shown(target)}: expected"
            f" module:attribute, as in {EXAMPLE}"
        )
    for name, value in options.items():
        if not str(name).isidentifier():
            faults.add(f"{room}.options.{name}: expected a name of letters, digits and _")
        elif not _is_plain(value):
            faults.add(
                f"{room}.options.{name}={shown(value)}: expected a number, text, true, false, null"
                f" or a list of such; for other things give the finished object in Python"
            )
    faults.raise_if_any()


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(part) for key, part in value.items())
    return value is None or isinstance(value, bool | int | float | str)


def is_given(target: str) -> bool:
    """Whether a target describes an object that was given in Python."""
    return re.fullmatch(FORMED, target) is not None


def describe(given: Any) -> str:
    """A target for an object: its class or name and, where they tell it, a hash of its parts.

    A run goes on only with what has the same description.
    """
    own = given if isinstance(given, type) or inspect.isroutine(given) else type(given)
    name = getattr(own, "__qualname__", type(own).__name__)
    said = repr(given)
    digest = ""
    if not inspect.isroutine(given) and not _ADDRESS.search(said):
        digest = " " + hashlib.sha256(said.encode()).hexdigest()[:12]
    return f"{GIVEN}{name}{digest}"


def load_target(key: str, target: str) -> Any:
    """Import what `module:attribute` names; modules are found from the current folder as well.

    Raises: InputError if the module or the attribute can't be had.
    """
    if is_given(target):
        raise InputError(
            f"{key}={target}: was an object in Python, which no import path leads to; give it again"
            " in Python"
        )
    path, _, attribute = target.partition(":")
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())
    # A file that was written since the last import is seen only then.
    importlib.invalidate_caches()
    try:
        found: Any = importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name and (path == error.name or path.startswith(f"{error.name}.")):
            raise InputError(
                f"{key}={target}: there is no module {error.name}, neither installed nor in"
                f" {os.getcwd()}"
            ) from None
        raise InputError(f"{key}={target}: {what_went_wrong(error)}") from None
    except Exception as error:  # a foreign module may raise anything
        raise InputError(f"{key}={target}: can't be imported: {what_went_wrong(error)}") from None
    for part in attribute.split("."):
        if not hasattr(found, part):
            names = [n for n, v in vars(found).items() if getattr(v, "__module__", None) == path]
            raise InputError(
                f"{key}={target}: {path} has no {attribute}"
                + (f"; it has {', '.join(names[:12])}" if names else "")
            )
        found = getattr(found, part)
    return found


def called(key: str, made: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """What a class or function of the user's gives, as `key` names it.

    Raises: InputError if it does not take these arguments, or raises anything.
    """
    said = ", ".join([*map(str, args), *(f"{name}={value!r}" for name, value in options.items())])
    try:
        inspect.signature(made).bind(*args, **options)
    except TypeError as error:
        raise InputError(f"{key}: can't be called with ({said}): {error}") from None
    except ValueError:
        pass  # built-in functions have no signature to look at
    try:
        return made(*args, **options)
    except InputError:
        raise
    except Exception as error:  # foreign code may raise anything
        raise InputError(f"{key}: called with ({said}): {what_went_wrong(error)}") from None


def what_went_wrong(error: Exception) -> str:
    """An error of foreign code in one line, with the line of it that raised."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not _is_library(f.filename)]
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}{where}"


def _is_library(path: str) -> bool:
    """Whether a file is of no interest to the author of the foreign code."""
    parts = path.replace(os.sep, "/").split("/")
    return "site-packages" in parts or path.startswith(("<", sys.prefix)) or "geoseg" in parts
