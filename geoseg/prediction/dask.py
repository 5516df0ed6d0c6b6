"""Share prediction among the workers of a Dask cluster.

A job is a panel of a wide scene, or some small scenes. Only the client keeps the record, so a
worker that dies costs the job that it had, and that job is done again.
"""

from __future__ import annotations

import logging
import os
import signal
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from geoseg import __version__
from geoseg.errors import InputError
from geoseg.geo.vrt import FOLDERS
from geoseg.prediction.network import Engine, TrainedNetwork
from geoseg.prediction.panels import SceneJob
from geoseg.prediction.writer.collector import Listener
from geoseg.prediction.writer.scene_writer import discard
from geoseg.scenes.dated import AnyScene

if TYPE_CHECKING:
    from distributed import Client, Future

    from geoseg.prediction.backends.choice import Choice

BUNDLE = 4096**2
"""Pixels of small scenes that make a job at most: some seconds to minutes of work."""
EACH = 4
"""Jobs at least that each worker gets of small scenes, if there are enough: none shall be idle."""
CORES = 8
"""Of a worker that is started here: a network gains little by more."""
IN_FLIGHT = 64
"""Jobs at least that are with the scheduler, so that a cluster that grows by demand sees it."""


@dataclass
class Outcome:
    """What a worker says of its jobs."""

    done: dict[str, float] = field(default_factory=dict)
    """Seconds by scene."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Of scenes that failed."""
    seconds: dict[str, float] = field(default_factory=dict)
    """By what they were spent on."""


class _OutcomeListener:
    """Gathers what a worker's jobs tell."""

    def __init__(self) -> None:
        self.outcome = Outcome()

    def advance(self, pixels: int) -> None:
        pass  # the client counts whole jobs

    def done(self, scene: AnyScene, seconds: float) -> None:
        self.outcome.done[scene.name] = seconds

    def failed(self, scene: AnyScene, reason: str) -> None:
        self.outcome.reasons[scene.name] = reason


_one_at_a_time = Lock()
"""A worker with several threads would run several networks side by side, each slower than one."""
_workers: dict[Any, Any] = {}
"""Of this process: the network that it has loaded, by what it is."""


def perform(
    network: TrainedNetwork, jobs: Sequence[SceneJob], out: Path, where: Site, backend: str
) -> Outcome:
    """Do jobs in a process of the cluster."""
    with _one_at_a_time:
        listener = _OutcomeListener()
        worker = _worker(network, where)
        listener.outcome.seconds = worker.do(jobs, out, listener, backend=backend)
        return listener.outcome


def decide(network: TrainedNetwork, jobs: Sequence[SceneJob], where: Site) -> Choice:
    """The backend for jobs, as a process of the cluster finds it."""
    with _one_at_a_time:
        choice: Choice = _worker(network, where).decide(jobs)
        return replace(choice, runner=None)


def _worker(network: TrainedNetwork, where: Site) -> Any:
    from geoseg.prediction.worker import Worker

    if os.getcwd() != where.folder:  # names of files may be relative
        os.chdir(where.folder)
    os.environ[FOLDERS] = where.trusted
    network = where.settle(network)
    key = (network.hash, str(network.running), network.tta)
    if key not in _workers:
        _workers.clear()
        _workers[key] = Worker(network)
    return _workers[key]


@dataclass(frozen=True)
class Site:
    """Where jobs are done."""

    folder: str
    """Of the client, to which names of files are relative."""
    threads: int | None
    """Of torch in each worker; None = the workers were started by somebody who knows better."""
    gpus: int = 0
    """That the workers, which are numbered, share."""
    trusted: str = field(default_factory=lambda: os.environ.get(FOLDERS, ""))
    """Of the client: of which folders a VRT may read files."""

    def settle(self, network: TrainedNetwork) -> TrainedNetwork:
        """The network as this worker is to run it."""
        import torch
        from distributed import get_worker

        if self.threads is not None and torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
        if self.gpus and network.running.device in ("auto", "cuda"):
            device = f"cuda:{int(get_worker().name) % self.gpus}"
            return replace(network, running=replace(network.running, device=device))
        return network


def problem(out: Path, folder: str) -> str | None:
    """Why a worker can't do jobs; runs in the worker."""
    try:
        import geoseg
    except ImportError:
        return "has no geoseg"
    if geoseg.__version__ != __version__:
        return f"has geoseg {geoseg.__version__}, this is {__version__}"
    if not os.path.isdir(folder) or not (Path(folder) / out).is_dir():
        return f"does not see {Path(folder) / out}: all need the same file system"
    return None


class Cluster:
    """Workers, for as long as the `with` block lasts."""

    def __init__(self, engine: Engine, network: TrainedNetwork) -> None:
        self._engine = engine
        self._network = network
        self._stack = ExitStack()
        self._client: Client
        self._local: Any = None
        self._site = Site(os.getcwd(), None)

    def __enter__(self) -> Cluster:
        """Raises: InputError if no scheduler answers."""
        import dask
        from distributed import Client

        logging.getLogger("distributed").setLevel(logging.ERROR)  # we say what became of jobs
        settings = {
            "distributed.scheduler.allowed-failures": self._engine.retries,
            # A job that waits with a worker that dies is suspected like the one that killed it.
            "distributed.scheduler.worker-saturation": 1.0,
        }
        self._stack.enter_context(dask.config.set(settings))
        address = self._engine.address
        if address is None:
            self._start()
            address = self._local
        file = isinstance(address, str) and address.endswith(".json")
        where = {"scheduler_file": address} if file else {"address": address}
        try:
            self._client = self._stack.enter_context(Client(**where, set_as_default=False))
        except (OSError, ValueError) as error:
            raise InputError(
                f"engine.address={address}: no Dask scheduler answers there ({error}); start one"
                " (dask scheduler), or leave it out to have workers started here"
            ) from None
        return self

    def _start(self) -> None:
        import torch
        from distributed import LocalCluster

        # Whoever reaches a worker runs code as its owner, and other users reach this machine's
        # ports: so they take none but this command, which alone has the key.
        safe: dict[str, Any] = {}
        if find_spec("cryptography") is not None:
            from distributed.security import Security

            safe = {"security": Security.temporary(), "protocol": "tls"}
        running = self._network.running
        gpus = torch.cuda.device_count() if running.device in ("auto", "cuda") else 0
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        workers = self._engine.workers or gpus or max(1, (cores or 1) // CORES)
        self._site = Site(os.getcwd(), max(1, (cores or 1) // workers), gpus)
        self._local = self._stack.enter_context(
            LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, memory_limit=0,
                dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL,
                **safe,
            )
        )  # fmt: skip

    def __exit__(self, kind: object, error: BaseException | None, *_: object) -> None:
        if error is not None and self._local is not None:
            # Somebody is waiting: closing politely takes longer than killing what is ours.
            for nanny in self._local.workers.values():
                with suppress(OSError, TypeError):  # it has ended, or not begun
                    os.kill(nanny.pid, signal.SIGKILL)
        self._stack.close()

    def decide(self, jobs: Sequence[SceneJob], out: Path) -> Choice:
        """The backend for all workers, measured by one. Raises: InputError if it can't work."""
        self._check(out)
        choice: Choice = self._client.submit(
            decide, self._network, jobs, self._site, pure=False
        ).result()
        return choice

    def do(
        self, jobs: Sequence[SceneJob], out: Path, listener: Listener, *, backend: str
    ) -> dict[str, float]:
        """Make maps. Returns: seconds that all workers spent, by what on.

        Raises: InputError if a worker can't work; what the network raises.
        """
        self._check(out)
        call = partial(
            self._client.submit, perform, self._network, out=out, where=self._site,
            backend=backend, pure=False,
        )  # fmt: skip
        return _Round(self._client, call, out, listener).run(jobs)

    def _check(self, out: Path) -> None:
        self._client.wait_for_workers(1)
        answers = self._client.run(problem, out, self._site.folder)
        bad = [f"worker {name} {answer}" for name, answer in answers.items() if answer]
        if bad:
            raise InputError(*(f"engine.address={self._engine.address}: {fault}" for fault in bad))


class _Round:
    """Jobs on their way through a cluster."""

    def __init__(
        self, client: Client, call: Callable[..., Future], out: Path, listener: Listener
    ) -> None:
        self._client, self._call = client, call
        self._out, self._listener = out, listener
        self._wholes: dict[str, SceneJob] = {}
        self._left: Counter[str] = Counter()
        """Panels of divided scenes that are not there yet."""
        self._took: defaultdict[str, float] = defaultdict(float)
        self._failed: set[str] = set()
        self._pieces: dict[Future, list[SceneJob]] = {}
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def run(self, jobs: Sequence[SceneJob]) -> dict[str, float]:
        """Returns: seconds that all workers spent, by what on."""
        from distributed import as_completed

        for job in jobs:
            self._wholes[job.scene.name] = job
            if len(job.whole) > 1:
                self._left[job.scene.name] = len(job.panels)
        waiting = pieces(jobs, self._workers())
        going = as_completed(loop=self._client.loop)
        self._feed(waiting, going)
        for future in going:
            piece = self._pieces.pop(future)
            if future.status == "finished":
                self._take(piece, future.result())
            elif future.status == "error":
                self._lose(piece, future.exception())
            for job in self._to_join(piece):
                self._submit([job], going)
            self._feed(waiting, going)
        return dict(self._seconds)

    def _feed(self, waiting: Iterator[list[SceneJob]], going: Any) -> None:
        most = max(IN_FLIGHT, EACH * self._workers())
        while len(self._pieces) < most and (piece := next(waiting, None)):
            piece = [job for job in piece if job.scene.name not in self._failed]
            if piece:
                self._submit(piece, going)

    def _workers(self) -> int:
        return len(self._client.scheduler_info(-1)["workers"])

    def _submit(self, piece: list[SceneJob], going: Any) -> None:
        future = self._call(jobs=piece)
        self._pieces[future] = piece
        going.add(future)

    def _take(self, piece: list[SceneJob], outcome: Outcome) -> None:
        for what, seconds in outcome.seconds.items():
            self._seconds[what] += seconds
        for job in piece:
            name = job.scene.name
            if name in self._failed:
                continue
            self._listener.advance(job.pixels)
            if name in outcome.reasons:
                self._fail(job, outcome.reasons[name])
                continue
            self._took[name] += outcome.done.get(name, 0.0)
            if job.joins:
                self._listener.done(job.scene, self._took[name])

    def _lose(self, piece: list[SceneJob], error: BaseException | None) -> None:
        """A piece whose workers died, again and again. Raises: any other error."""
        from distributed.scheduler import KilledWorker

        if not isinstance(error, KilledWorker):
            assert error is not None
            raise error
        for job in piece:
            self._listener.advance(job.pixels)
            self._fail(
                job,
                f"{job.scene.paths[0]}: each worker that had it died, the last one being"
                f" {error.last_worker.address}; was it out of memory? Lower predict.memory or"
                " predict.batch_size, or look into the worker's log",
            )

    def _fail(self, job: SceneJob, reason: str) -> None:
        name = job.scene.name
        if name not in self._failed:
            self._failed.add(name)
            discard(self._out, self._wholes[name])
            self._listener.failed(job.scene, reason)

    def _to_join(self, piece: list[SceneJob]) -> Iterator[SceneJob]:
        """Divided scenes of which the last panel has come."""
        for job in piece:
            name = job.scene.name
            if job.joins or name not in self._left:
                continue
            self._left[name] -= 1
            if self._left[name] == 0:
                if name in self._failed:  # panels that came after the first fault
                    discard(self._out, self._wholes[name])
                else:
                    yield replace(self._wholes[name], panels=())


def pieces(jobs: Sequence[SceneJob], workers: int) -> Iterator[list[SceneJob]]:
    """What workers get at a time: a panel of a divided scene, or small scenes that follow."""
    most = min(BUNDLE, sum(job.pixels for job in jobs) // (EACH * workers))
    bundle: list[SceneJob] = []
    for job in jobs:
        if len(job.whole) > 1:
            if not job.panels:
                yield [job]
            for panel in job.panels:
                yield [replace(job, panels=(panel,), joins=False)]
            continue
        if bundle and sum(other.pixels for other in bundle) + job.pixels > most:
            yield bundle
            bundle = []
        bundle.append(job)
    if bundle:
        yield bundle
