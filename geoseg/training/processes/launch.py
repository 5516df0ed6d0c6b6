"""Start and end the processes that train one network together.

Knows nothing of torch, so that a fault in the settings need not wait for it.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from geoseg.errors import Faults, InputError
from geoseg.outputs import stopping, terminal

GRACE = 3.0
"""Seconds in which the process with the fault comes to word before those that only miss it."""
PATIENCE = 10.0
"""Seconds that the first process has to say a fault and end; torch takes its time to end."""
PORTS, TRIED_PORTS = range(20_000, 32_000), 100
ENOUGH = 5.0
"""Seconds that a process gets to end before it is killed."""
GIVEN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun, Kubeflow and the like tell each process that they start."""


@dataclass(frozen=True)
class Place:
    """One process among those that train together."""

    rank: int = 0
    """0 = the first, which writes and speaks for all."""
    count: int = 1
    """Of all processes."""
    here: int = 1
    """Processes on this machine."""


def place() -> Place:
    """The place of this process, as whoever started it says in the environment."""
    if not all(name in os.environ for name in GIVEN):
        return Place()
    number = {name: int(os.environ[name]) for name in ("RANK", "WORLD_SIZE")}
    here = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return Place(number["RANK"], number["WORLD_SIZE"], here)


def first(nodes: int = 1) -> bool:
    """Whether this is the first process, or the one that starts it, of all `nodes` machines."""
    if place().count == 1 and nodes > 1:
        return os.environ.get("NODE_RANK", "0") == "0"
    return place().rank == 0


def announce_torch(nodes: int = 1) -> None:
    """Say that torch is being loaded, if it is: seconds pass, on a cold disk half a minute."""
    if first(nodes) and "torch" not in sys.modules:
        print("loading torch …", flush=True)


@contextmanager
def first_speaks() -> Iterator[None]:
    """Let the first process tell a fault that several have, and others only what it doesn't know.

    A launcher such as torchrun ends all processes when one ends with a fault. A fault of the
    settings is found by each process at about the same time; one of a file by a single one, which
    the others then miss.
    """
    here = place()
    if here.count > 1 and here.rank:
        # Interrupted, this one ends without a word.
        for number in (signal.SIGINT, *stopping.SIGNALS):
            signal.signal(number, signal.SIG_DFL)
    try:
        yield
    except Exception as error:
        if here.count > 1 and (here.rank or not isinstance(error, InputError)):
            time.sleep(PATIENCE)
        raise


def spread(
    job: Callable[..., str], *args: Any, devices: int | None, nodes: int = 1, **options: Any
) -> str:
    """Call a function once, or in each of several processes; what that of the first returns.

    job: of a module that does not import torch, which each process loads by itself.
    devices: processes on this machine; None = 1, or as many as were started, with this one.
    Raises: InputError from any of the processes, after all have been ended; or if the number
    differs from that of the processes that were started from without.
    """
    here = place()
    if here.count > 1:
        _check_started(here, devices, nodes)
        # One process per machine, where nobody said more than GIVEN.
        os.environ.setdefault("LOCAL_RANK", "0")
        os.environ.setdefault("GROUP_RANK", os.environ["RANK"])
        _quieten()
    elif (devices or 1) * nodes > 1:
        return _start(job, args, options, _environments(devices or 1, nodes))
    return job(*args, **options)


def _check_started(here: Place, devices: int | None, nodes: int) -> None:
    """Raises: InputError if settings speak of other processes than there are."""
    faults = Faults()
    if devices not in (None, here.here):
        faults.add(f"fit.devices={devices}: {here.here} processes were started on this machine")
    if nodes not in (1, here.count // here.here):
        faults.add(f"fit.nodes={nodes}: there are {here.count // here.here} machines")
    faults.found = [f"{fault}; leave it out under torchrun" for fault in faults.found]
    faults.raise_if_any()


def _environments(devices: int, nodes: int) -> list[dict[str, str]]:
    """What each process of this machine is told, in the words of torchrun. Raises: InputError."""
    address, port, node = "127.0.0.1", _free_port(), 0
    if nodes > 1:
        try:
            address, port = os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]
            node = int(os.environ["NODE_RANK"])
        except (KeyError, ValueError):
            raise InputError(
                f"fit.nodes={nodes}: start the command with torchrun on each machine, or tell it"
                " MASTER_ADDR and MASTER_PORT of the first one and NODE_RANK (0, 1 …)"
            ) from None
    return [
        {
            "RANK": str(node * devices + local),
            "LOCAL_RANK": str(local),
            "GROUP_RANK": str(node),
            "WORLD_SIZE": str(devices * nodes),
            "LOCAL_WORLD_SIZE": str(devices),
            "MASTER_ADDR": address,
            "MASTER_PORT": port,
        }
        for local in range(devices)
    ]


def _free_port() -> str:
    """A port that nobody listens on.

    Below those that systems give to outgoing connections: torch opens it seconds later, and until
    then any program's connection could have got it.
    """
    for port in random.sample(PORTS, TRIED_PORTS):
        with socket.socket() as tried, suppress(OSError):  # taken: the next one
            tried.bind(("127.0.0.1", port))
            return str(port)
    raise InputError(f"none of {TRIED_PORTS} ports from {PORTS.start} on is free")


def _start(
    job: Callable[..., str],
    args: tuple[Any, ...],
    options: dict[str, Any],
    environments: list[dict[str, str]],
) -> str:
    # Spawned, not forked: CUDA and the threads of torch do not survive a fork.
    context = multiprocessing.get_context("spawn")
    crew: list[tuple[SpawnProcess, Connection]] = []
    try:
        for environment in environments:
            ear, mouth = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(job, args, options, environment, mouth))
            process.start()
            mouth.close()
            crew.append((process, ear))
        return _heard(crew)
    finally:
        _end(crew)


def _heard(crew: list[tuple[SpawnProcess, Connection]]) -> str:
    """What the first process returns, once all are done. Raises: what one of them raised."""
    said: dict[int, Any] = {}
    until: float | None = None
    while len(said) < len(crew):
        pending = [number for number in range(len(crew)) if number not in said]
        ends = [end for n in pending for end in (crew[n][1], crew[n][0].sentinel)]
        if not wait(ends, None if until is None else max(0.0, until - time.monotonic())):
            break
        said |= {n: word for n in pending if (word := _word(n, *crew[n])) is not None}
        if any(isinstance(word, InputError) for word in said.values()):
            break
        if until is None and any(isinstance(word, Exception) for word in said.values()):
            until = time.monotonic() + GRACE
    faults = [word for word in said.values() if isinstance(word, Exception)]
    if faults:
        raise min(faults, key=lambda fault: not isinstance(fault, InputError))
    return str(said[0])


def _word(number: int, process: SpawnProcess, ear: Connection) -> Any:
    """What a process said last, None if it is still at work."""
    try:
        if ear.poll():
            return ear.recv()
    except (EOFError, OSError):
        process.join(ENOUGH)
    if process.exitcode is None:
        return None
    why = f"status {process.exitcode}"
    if process.exitcode < 0:
        why = signal.Signals(-process.exitcode).name + " (is there too little memory?)"
    return InputError(f"process {number} ended with {why}; the same command goes on from here")


def _end(crew: list[tuple[SpawnProcess, Connection]]) -> None:
    """End the processes: those that are done by themselves, others now."""
    for process, _ in crew:
        process.terminate()
    for process, ear in crew:
        process.join(ENOUGH)
        if process.is_alive():
            process.kill()
            process.join()
        ear.close()


def _work(
    job: Callable[..., str],
    args: tuple[Any, ...],
    options: dict[str, Any],
    environment: Mapping[str, str],
    mouth: Connection,
) -> None:
    """One of the processes: what it returns or raises goes to the one that started it."""
    os.environ.update(environment)
    _quieten()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the starting process ends this one
    terminal.settle()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        mouth.send(job(*args, **options))
    except (InputError, OSError) as error:
        mouth.send(error)
    except Exception:
        mouth.send(RuntimeError(f"process {environment['RANK']}\n{traceback.format_exc()}"))


def _quieten() -> None:
    """Have torch, not imported yet, keep to itself what it finds slow; each process would say it.

    Above all that a search for unused layers found none, in networks that have none.
    """
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


def _end_with_parent() -> None:
    """No process may go on writing to a run folder when the one that started it was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
