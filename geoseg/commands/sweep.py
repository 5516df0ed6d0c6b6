"""Train once for each combination of settings, each in its own folder.

Hydra's sweepers and launchers do the work, in other processes or on other machines too: what a job
has to say goes through small files in the sweep's folder.
"""

from __future__ import annotations

import csv
import hashlib
import math
import multiprocessing
import os
import re
import threading
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from geoseg.commands import search
from geoseg.commands.sweep_table import Job, report, write_table
from geoseg.errors import InputError
from geoseg.models.card import BEST
from geoseg.outputs import terminal
from geoseg.outputs.files import make_folder, read_note, write_json
from geoseg.training.processes import launch

JOBS = ".jobs"
"""Folder beside the table: a file per job with what came out, and one that it locks."""
LONGEST = 120
"""Letters of a folder's name; file systems take 255 bytes."""
LAUNCHERS = ("joblib", "submitit")
"""Packages whose exceptions tell that a job's process ended without a word."""


def asked(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for a sweep, in any of the ways that Hydra knows."""
    return any(map(_is_flag, arguments)) or "hydra.mode=MULTIRUN" in arguments


def _is_flag(word: str) -> bool:
    return word == "-m" or (len(word) > 2 and "--multirun".startswith(word))


class Opened(Callback):
    """Remembers the folder of the sweep that Hydra has opened in this process."""

    folder: Path | None = None

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        Opened.folder = Path(config.hydra.sweep.dir)
        logs = config.hydra.launcher.get("submitit_folder")  # these jobs don't speak here
        print(f"sweep: {Opened.folder}" + (f"  logs: {logs}" if logs else ""), flush=True)


@dataclass(frozen=True)
class Sweep:
    """One call of a command with --multirun; goes along to the processes of its jobs."""

    fixed: frozenset[str]
    """Keys that the command line sets to one value: they don't tell jobs apart."""
    mark: str
    """Of this call."""

    @classmethod
    def open(cls, arguments: list[str]) -> Sweep:
        """A sweep as the command line (program, words …) has it; adds to it where Hydra writes.

        Raises: InputError if jobs could not be told apart, or would get in each other's way.
        """
        if launch.place().count > 1:
            raise InputError(
                "--multirun: not under torchrun; fit.devices=… starts the processes of each job"
            )
        words = [word for word in arguments[1:] if "=" in word and not word.startswith("-")]
        try:
            overrides = OverridesParser.create().parse_overrides(words)
        except HydraException:
            overrides = []  # Hydra comes to the same word, and its error is explained
        run = next((o for o in reversed(overrides) if o.key_or_group == "run"), None)
        if run and run.is_sweep_override():
            raise InputError(
                f"{run.input_line}: give one folder; each job of a sweep gets one of its own in it"
            )
        given = {o.key_or_group for o in overrides}
        own = [f"++hydra.callbacks.sweep._target_={__name__}.{Opened.__name__}"]
        if "hydra.sweep.dir" not in given:
            own.append(f"hydra.sweep.dir={_root(str(run.value())) if run else '${run}'}")
        if "hydra.sweep.subdir" not in given:
            own.append("hydra.sweep.subdir=.")
        # Overrides must not be torn apart by options, such as a --multirun between two of them.
        options = [word for word in arguments[1:] if not _is_flag(word)]
        start = options.index(words[0]) if words else len(options)
        flag = ["--multirun"] if any(map(_is_flag, arguments)) else []
        arguments[1:] = [*flag, *options[:start], *own, *options[start:]]
        search.register()
        swept = {_key(o.input_line or ""): o.is_sweep_override() for o in overrides}
        return cls(frozenset(key for key in swept if not swept[key]), uuid.uuid4().hex)

    def job(self, run: str, train: Callable[[str], float | None]) -> float | None:
        """Train in a folder of its own below `run`, and write down what came out.

        train: called with that folder; returns the best validation mIoU.
        Raises: what `train` raises.
        """
        hydra = HydraConfig.get()
        settings = {
            _key(word): word.partition("=")[2].strip("'\"")
            for word in sorted(hydra.overrides.task, key=_key)
            if _key(word) not in self.fixed
        }
        # A name that somebody gave in Hydra's way is kept.
        name = hydra.sweep.subdir if hydra.sweep.subdir != "." else folder_name(settings)
        folder = Path(run) / name
        if "joblib" in hydra.launcher._target_:
            _settle_in()
        jobs = Path(hydra.sweep.dir) / JOBS
        job = Job(settings, str(folder), sweep=self.mark)
        note = jobs / f"{name.replace('/', '+') or 'job'}.json"
        make_folder(jobs)
        print(f"\n{job}: {folder}", flush=True)
        with _locked(note.with_suffix(".lock")):
            try:
                value = train(str(folder))
            except Exception as error:
                fault = str(error) or type(error).__name__
                print(f"{job}: {fault}", flush=True)
                write_json(note, asdict(job) | {"fault": fault})
                _let_go(error)
                raise
            known = value is not None and not math.isnan(value)
            made = {"val_miou": value if known else None} | _course(folder)
            write_json(note, asdict(job) | made)
        return value

    def _faults(self, jobs: Sequence[Job]) -> list[str]:
        faults = []
        for job in jobs:
            if job.fault and job.sweep == self.mark:
                known = job.fault.startswith(f"{job}:")
                faults.append(job.fault if known else f"{job}: {job.fault}")
        return faults

    @contextmanager
    def reported(self) -> Iterator[None]:
        """Write the table when the block, which runs all jobs, is over; print what is best.

        Raises: InputError with the faults of all jobs, if one had a fault that ends the sweep.
        """
        try:
            yield
        except KeyboardInterrupt:
            self._write()
            raise
        except Exception as error:
            faults = self._faults(self._report())
            if isinstance(error, InputError):
                raise InputError(*(faults or error.faults)) from None
            if type(error).__module__.partition(".")[0] not in LAUNCHERS:
                raise
            first = str(error).strip().partition("\n")[0]
            raise InputError(
                *faults,
                f"a job's process ended without a word ({type(error).__name__}: {first}); is there"
                " too little memory or time? The same command goes on from here",
            ) from None
        else:
            self._report()

    def _report(self) -> list[Job]:
        jobs = self._write()
        if jobs:
            print(report(jobs, Opened.folder or Path()), flush=True)
        return jobs

    def _write(self) -> list[Job]:
        """All jobs of the folder, those done by earlier calls too; the best ones first."""
        folder = Opened.folder
        if folder is None or not (folder / JOBS).is_dir():
            return []
        notes = (read_note(note) for note in sorted((folder / JOBS).glob("*.json")))
        jobs = [Job(**note) for note in notes if note is not None]
        jobs = [job for job in jobs if job.sweep == self.mark or (Path(job.run) / BEST).exists()]
        jobs = [job for job in jobs if job.sweep == self.mark or not job.fault]
        jobs.sort(key=lambda job: (bool(job.fault), -(job.val_miou or 0)))
        write_table(folder, jobs)
        return jobs


def swept() -> bool:
    """Whether this is a job of a sweep."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def searching() -> bool:
    """Whether a sweeper chooses settings by the score of earlier jobs, as Optuna's does."""
    return swept() and not str(HydraConfig.get().sweeper._target_).endswith(".BasicSweeper")


def folder_name(settings: dict[str, str]) -> str:
    """A name for what tells a job from others: readable, and the same whenever it is asked for.

    Free of = and , which Hydra would take apart in `checkpoint=<run>/<name>`.
    """
    last = Counter(key.rpartition(".")[2] for key in settings)
    parts, exact = [], True
    for key, value in settings.items():
        short = key.rpartition(".")[2]
        number = re.sub(r"(?<=\d)e\+(?=\d)", "e", value)
        text = f"{short if last[short] == 1 else key}-{number}"
        part = re.sub(r"[^A-Za-z0-9_.-]+", "_", text)
        exact &= part == text
        parts.append(part)
    name = "+".join(parts)
    if exact and len(name) <= LONGEST:
        return name
    digest = hashlib.sha256(repr(sorted(settings.items())).encode()).hexdigest()[:8]
    return f"{name[:LONGEST]}-{digest}"


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")


def _root(run: str) -> str:
    """What all jobs have in common of a folder that names settings, as in runs/${model.name}.

    `${oc.env:HOME}` and the like, with a colon, are the same for all.
    """
    found = re.search(r"\$\{[^:}]*\}", run)
    if found is None:
        return "${run}"
    root = run[: found.start()].rpartition("/")[0]
    if not root:
        raise InputError(
            f"run={run}: begin with a folder, as in run=runs/{run}; the sweep's table goes there"
        )
    return f"'{root}'"


def _course(folder: Path) -> dict[str, float]:
    """Last loss, and minutes, of a run."""
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        last = list(csv.DictReader(file))[-1]
    return {"loss": float(last["loss"]), "minutes": float(last["minutes"])}


def _settle_in() -> None:
    """Make a process of joblib one in which a training feels at home."""
    terminal.settle()
    # Several bars on one terminal would garble each other.
    os.environ["TTY_COMPATIBLE"] = "0"
    # Joblib's own way of starting processes isn't one for those that read tiles.
    multiprocessing.set_start_method(None, force=True)
    if multiprocessing.current_process().name.startswith("Loky"):
        threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()


def _end_with_parent(parent: int) -> None:
    """No job goes on when the command that started it was told to end."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _let_go(error: BaseException | None) -> None:
    """Free what the frames of a fault hold, which outlives its job: a GPU's memory, processes."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process at a time work on a job: a sweeper may ask for the same one twice."""
    with path.open("w") as file:
        # Not every shared disk has locks; then two at once are the user's to avoid.
        with suppress(OSError, ImportError):
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield
