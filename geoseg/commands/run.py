"""Run a command: compose its configuration, report faults on stderr, set the exit status."""

from __future__ import annotations

import atexit
import dataclasses
import os
import sys
import typing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from geoseg.commands import conf
from geoseg.commands import schema as source
from geoseg.commands.command_line import Known, check, check_values, structure
from geoseg.commands.explain import explain
from geoseg.commands.given import choices, take
from geoseg.commands.help import help_text
from geoseg.commands.sweep import Sweep, asked
from geoseg.errors import Faults, InputError, readable
from geoseg.geo import vrt
from geoseg.lazily import ImportsWithoutSearch
from geoseg.outputs import stopping, terminal
from geoseg.received import keys

WRITTEN = ("out", "run", "dataset")
"""Keys that name what is written, where an empty path would be the folder where one is."""
MOST = 200
"""Faults that are printed."""
NO_MEMORY = "can't allocate memory"
"""What torch says where there is none; it has no type of its own for it."""


def run(name: str, schema: type, main: Callable[[Any], Any], *, sweeps: bool = False) -> None:
    """Compose the configuration of a command, check it, call `main` with it, and end the process.

    sweeps: --multirun calls `main` for each combination of settings, in its own folder `run`; it
    returns the score that a sweep compares.
    Exit status: 0 done, 1 a fault that stderr explains, 130 interrupted, 143 told to end (SIGTERM).
    """
    terminal.settle("" if {"-h", "--help"} & set(sys.argv[1:]) else name)
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(help_text(name, source.purpose(schema), source.sections(schema)))
        return
    stopping.watch()
    ImportsWithoutSearch.install()
    atexit.register(stopping.leave_objects)
    register(name, schema)
    vrt.trust(sys.argv[1:])
    try:
        several = asked(sys.argv[1:])
        known = Known.of(name, schema, more=choices(sys.argv[1:]))
        check(sys.argv[1:], known, sweeps=several)
        told = keys.for_hydra(sys.argv[1:], schema, sweeps=several)
        check_values(told.words, known)
        sys.argv[1:] = told.words
        # Of the files of --config-dir settings alone are taken.
        for note in take(sys.argv, name, schema):
            print(f"geoseg {name}: {note}", file=sys.stderr)
        sweep = _sweep(sweeps=sweeps)
    except InputError as error:
        _end(name, *error.faults)

    def task(cfg: DictConfig) -> Any:
        def job(run: str) -> Any:
            with _explained(known):
                return main(dataclasses.replace(to_objects(cfg, schema), run=run))

        try:
            with _explained(known):
                set_late(cfg, told.late)
                return sweep.job(cfg.run, job) if sweep else main(to_objects(cfg, schema))
        except InputError as error:
            if sweep:  # other jobs go on
                raise
            _end(name, *error.faults)

    # Makes Hydra hand its errors over instead of printing them, in four lines and more.
    full = os.environ.setdefault("HYDRA_FULL_ERROR", "0") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        with sweep.reported() if sweep else nullcontext():
            hydra.main(version_base="1.3", config_path=str(conf.CONF), config_name=name)(task)()
    except InputError as error:
        _end(name, *error.faults)
    except (HydraException, OmegaConfBaseException) as error:
        if full:
            raise
        _end(name, explain(error, known))
    except KeyboardInterrupt as stopped:
        stopping.end(name, stopped)
    if fault := terminal.unwritten():
        _end(name, fault)


@contextmanager
def _explained(known: Known) -> Iterator[None]:
    """Raises: InputError for what Hydra, its configuration or the file system object to, and for
    want of memory."""
    try:
        yield
    except OmegaConfBaseException as error:
        raise InputError(explain(error, known)) from None
    except OSError as error:
        fault = f"{error.filename or 'file system'}: {error.strerror or error}"
        raise InputError(fault) from None
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and NO_MEMORY not in str(error):
            raise
        raise InputError(
            f"not enough memory ({str(error).strip() or 'none is left'}); choose smaller sizes,"
            " such as windows, batches and distances in pixels, or free some"
        ) from None


def _sweep(*, sweeps: bool) -> Sweep | None:
    """The sweep that the command line asks for, if any. Raises: InputError if it can't be had."""
    if not asked(sys.argv[1:]):
        return None
    if not sweeps:
        raise InputError("--multirun: only geoseg.train sweeps; give this command once per setting")
    return Sweep.open(sys.argv)


def set_late(cfg: DictConfig, late: Sequence[keys.Late]) -> None:
    """Set what Hydra's command line has no words for: entries of dictionaries, or whole lists."""
    for item in late:
        if isinstance(item.value, list):
            OmegaConf.update(cfg, item.key, item.value)
            continue
        if not OmegaConf.is_dict(OmegaConf.select(cfg, item.key)):
            OmegaConf.update(cfg, item.key, {})
        with open_dict(cfg):
            OmegaConf.select(cfg, item.key).update(item.value)


def register(name: str, schema: type) -> None:
    """Make the dataclass the schema of conf/<name>.yaml and of what the command line says."""
    ConfigStore.instance().store(name=f"{name}_schema", node=structure(schema))


def to_objects(cfg: DictConfig, schema: type) -> Any:
    """Turn a composed configuration into its dataclasses.

    Raises: InputError with the faults of all rooms.
    """
    faults = Faults()
    for field in dataclasses.fields(schema):
        with faults.collect():
            if OmegaConf.is_dict(cfg[field.name]) and cfg[field.name] is not None:
                OmegaConf.to_object(cfg[field.name])
            elif field.name in WRITTEN and cfg[field.name] == "":
                raise InputError(
                    f"{field.name}: is empty, as a variable gives it that is not set; name a file"
                    f" or folder ({field.name}=. for the one where you are)"
                )
    faults.raise_if_any()
    return OmegaConf.to_object(cfg)


def _end(name: str, *faults: str) -> typing.NoReturn:
    for fault in faults[:MOST]:
        print(f"geoseg {name}: {readable(fault)}", file=sys.stderr)
    if len(faults) > MOST:
        print(f"geoseg {name}: … and {len(faults) - MOST} more", file=sys.stderr)
    sys.exit(1)
