"""Start `python -m …` in a fork of a process that has loaded the libraries: it saves seconds.

Workers of pytest-xdist are such forks as well. What needs a Python of its own (how long it loads,
what it imports, its limits) starts one itself.
"""

from __future__ import annotations

import atexit
import json
import multiprocessing
import os
import pickle
import runpy
import select
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from contextlib import suppress
from functools import cache
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

LOADED = (
    *("torch", "hydra", "rasterio", "segmentation_models_pytorch", "lightning_fabric"),
    *("geoseg.training.tasks.images", "geoseg.training.tasks.series", "geoseg.prediction.worker"),
    *("torch.distributed.launcher.api", "geoseg.training.run.tensorboard"),
    *("torch.utils.tensorboard", "matplotlib.backends.backend_agg", "matplotlib.patheffects"),
    # What commands load only when they need it, which takes each of them seconds.
    *("albumentations", "cv2", "geopandas", "pyogrio.raw", "pyproj", "jinja2", "shapely"),
    *("scipy.ndimage", "scipy.spatial", "scipy.sparse.csgraph", "scipy.optimize", "distributed"),
    # What most tests import, for the workers that run them.
    *("hypothesis", "scipy.stats", "sklearn.base", "xarray"),
)
FAR = 512
"""Numbers of files from here on are used by nobody."""
COMMANDS = ("geoseg.train", "geoseg.predict", "geoseg.prepare", "geoseg.evaluate")
"""What these import is loaded too, but not they themselves, which run as __main__."""


class Started:
    """A process that was forked off; what it says is in files until it is asked for."""

    def __init__(
        self,
        *words: str | Path,
        cwd: Path | None = None,
        env: dict | None = None,
        forks: bool = False,
        programs: bool = False,
    ):
        """forks: the processes that it starts in its turn are forks too, which need load nothing;
        for those that train together, which are spawned otherwise.
        programs: what it has the interpreter run or spawns is run by a fork of the server."""
        assert words[0] == "-m"
        self.args = [str(word) for word in words]
        self._said = (TemporaryFile(), TemporaryFile())  # noqa: SIM115  (closed when it has ended)
        request = {
            "words": self.args[1:],
            "cwd": str(cwd or Path.cwd()),
            "env": dict(os.environ if env is None else env),
            "forks": forks,
            "python": str(python()) if programs else "",
        }
        ear, mouth = os.pipe()
        numbers = [file.fileno() for file in self._said]
        socket.send_fds(_server(), [json.dumps(request).encode()], [*numbers, mouth])
        os.close(mouth)
        self._ear = os.fdopen(ear, "r")
        self.pid = int(self._ear.readline())
        self.returncode: int | None = None

    def __enter__(self) -> Started:
        return self

    def __exit__(self, *_: object) -> None:
        if self.poll() is None:
            self.send_signal(signal.SIGKILL)
            self.wait()
        for file in (*self._said, self._ear):
            file.close()

    def poll(self) -> int | None:
        try:
            return self.wait(timeout=0)
        except TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._ear], [], [], timeout)[0]:
                raise TimeoutExpired(self.args, timeout or 0)
            self.returncode = int(self._ear.readline())
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def printed(self) -> str:
        """What it has written to its output so far."""
        number = self._said[0].fileno()
        # Not read(): that would move the place where it writes.
        return os.pread(number, os.fstat(number).st_size, 0).decode(errors="ignore")

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self.wait(timeout)
        texts = []
        for file in self._said:
            file.seek(0)
            texts.append(file.read().decode())
        return texts[0], texts[1]


def run(*words: str | Path, timeout: float | None = None, **place: Any) -> CompletedProcess[str]:
    """As subprocess.run of `python` and these words, with both outputs as text."""
    with Started(*words, **place) as process:
        out, told = process.communicate(timeout)
        assert process.returncode is not None
        return CompletedProcess(process.args, process.returncode, out, told)


DOOR = "GEOSEG_TESTS_STARTED"
"""Variable with the path of the socket of a server that somebody else has started."""


def share() -> None:
    """Start the server for the processes that this one will start: loading takes it 10 seconds."""
    os.environ[DOOR] = str(_started())


def python() -> Path:
    """A program that runs modules as the interpreter does, but in a fork of the server."""
    return _door().with_name("python")


def _door() -> Path:
    return Path(os.environ.get(DOOR) or _started())


@cache
def _server() -> socket.socket:
    door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    door.connect(str(_door()))
    return door


@cache
def _started() -> Path:
    """Start a server that ends with this process. Returns: path of its socket."""
    folder = TemporaryDirectory(prefix="geoseg-")
    path = Path(folder.name) / "door"
    root = Path(__file__).parents[2]
    paths = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    program = path.with_name("python")
    words = (sys.executable, "-I", "-S", str(Path(__file__).with_name("as_python.py")), str(path))
    program.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n', encoding="utf-8")
    program.chmod(0o700)
    environment = os.environ | {
        "OMP_NUM_THREADS": "1", "NO_ALBUMENTATIONS_UPDATE": "1", "PYTHONPATH": paths,
        # Torch reads it when it is loaded; what trains in several processes sets it before.
        "TORCH_CPP_LOG_LEVEL": "ERROR",
    }  # fmt: skip
    # Who comes while it still loads waits in the queue. It ends when this end of the pipe is gone.
    life, hold = os.pipe()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen(64)
        numbers = [listener.fileno(), life]
        code = f"from tests.made.started import serve; serve(*{numbers})"
        call = [sys.executable, "-c", code]
        process = subprocess.Popen(call, pass_fds=numbers, env=environment)
    os.close(life)

    def end() -> None:
        os.close(hold)
        process.wait()
        folder.cleanup()

    atexit.register(end)
    return path


def serve(listening: int, life: int) -> None:
    """Fork for each request of whoever connects, until the one that started this is gone."""
    import gc
    import importlib

    before = set(os.environ)
    from tests.made.hurry import hurry

    gc.disable()  # all that is loaded stays
    for name in (*LOADED, *COMMANDS):
        importlib.import_module(name)
    for name in COMMANDS:
        delattr(sys.modules["geoseg"], sys.modules.pop(name).__name__.rpartition(".")[2])
    hurry()
    _warm_up()
    for made in weakref.finalize._registry:  # type: ignore[attr-defined]
        made.atexit = False  # of what is loaded, which no fork takes apart
    gc.freeze()
    gc.enable()
    loaded = {name: os.environ[name] for name in os.environ.keys() - before}
    _work(*_asked(socket.socket(fileno=listening), life), loaded)


def _warm_up() -> None:
    """Do once what Hydra would do in each command, look for plugins and learn its grammar, and SMP
    in each training."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.plugins import Plugins

    from tests.made.hurry import structure

    structure("lcnet_050")
    Plugins.instance()
    words = ["a=b", "a.b=-1.5e-3", "++a.b={c: 'd', e: [1, x]}", "+a=${b}", "~a", "a=b,c"]
    OverridesParser.create().parse_overrides(words)


def _asked(listener: socket.socket, life: int) -> tuple[dict[str, Any], list[int]]:
    """Answer requests, each in a process that is forked for it, and tell how it ended. Returns,
    there: what is to be done, and files: where its two outputs go, and what else it was sent."""
    poll = select.poll()
    for file in (life, listener.fileno()):
        poll.register(file, select.POLLIN)
    doors: dict[int, socket.socket] = {}
    working: dict[int, tuple[int, int]] = {}
    """By the file that says when a process has ended: its number, and who is to be told."""
    while True:
        number, _ = poll.poll()[0]  # what comes next may have the number of one that is closed
        if number == life:
            for worker, _ in working.values():
                os.kill(worker, signal.SIGKILL)
            os._exit(0)  # taking apart what was loaded takes seconds
        if number == listener.fileno():
            door = listener.accept()[0]
            doors[door.fileno()] = door
            poll.register(door, select.POLLIN)
        elif number in working:
            worker, mouth = working.pop(number)
            _say(mouth, os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]))
            for file in (number, mouth):
                with suppress(KeyError):  # a mouth that nobody listens to
                    poll.unregister(file)
                os.close(file)
        elif number in doors:
            message, numbers, *_ = socket.recv_fds(doors[number], 1 << 20, 64)
            if not message:
                poll.unregister(number)
                doors.pop(number).close()
                continue
            out, told, mouth, *others = numbers
            worker = os.fork()
            if not worker:
                for one in (listener, *doors.values()):
                    one.close()
                for file in (life, mouth, *working, *(mouth for _, mouth in working.values())):
                    os.close(file)
                return json.loads(message), [out, told, *others]
            for file in (out, told, *others):
                os.close(file)
            _say(mouth, worker)
            end = os.pidfd_open(worker)
            working[end] = worker, mouth
            poll.register(end, select.POLLIN)
            poll.register(mouth, 0)  # an error: its other end is closed
        else:  # a mouth that nobody listens to any more
            poll.unregister(number)
            (worker,) = (worker for worker, mouth in working.values() if mouth == number)
            os.kill(worker, signal.SIGKILL)


def _say(mouth: int, number: int) -> None:
    with suppress(BrokenPipeError):
        os.write(mouth, f"{number}\n".encode())


def _work(request: dict[str, Any], numbers: list[int], loaded: dict[str, str]) -> None:
    """loaded: variables that are set by what is imported, which is done already."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    _move(numbers, [1, 2, *request.get("inherited", [])])
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(loaded | request["env"])
    time.tzset()
    if request.get("forks"):
        _fork_instead_of_spawning()
    if request.get("python"):
        sys.executable = request["python"]
        multiprocessing.set_executable(sys.executable)  # which it has noted already
    module, *words = request["words"]
    sys.argv = [module, *words]
    os._exit(_status(module))


def _move(numbers: list[int], places: list[int]) -> None:
    """Give files the numbers that they had where they come from: words may name them."""
    import fcntl

    far = [fcntl.fcntl(number, fcntl.F_DUPFD, FAR) for number in numbers]
    for number in numbers:
        os.close(number)
    for number, place in zip(far, places, strict=True):
        os.dup2(number, place)
        os.close(number)


def _fork_instead_of_spawning() -> None:
    """Nothing has been computed here yet, and so torch has no threads that a fork would lose."""
    original = multiprocessing.get_context

    class Forked(multiprocessing.context.ForkContext):
        class Process(multiprocessing.context.ForkProcess):  # type: ignore[misc]
            """What it is given must be such that a spawned one could be given it."""

            def __init__(self, *, target: Any, args: tuple[Any, ...]):
                *given, mouth = args
                target, given = pickle.loads(pickle.dumps((target, given)))
                super().__init__(target=target, args=(*given, mouth))

    def get_context(method: str | None = None) -> Any:
        return Forked() if method == "spawn" else original(method)

    multiprocessing.get_context = get_context  # type: ignore[assignment]


def _status(module: str) -> int:
    """Run a module as Python does, its end included, up to its exit status.

    Python would then take apart half a million objects that the fork shares with the process that
    loaded them, which takes longer than most commands: two seconds.
    """
    status: Any = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        status = ended.code
    except Exception:
        sys.excepthook(*sys.exc_info())
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    if not isinstance(status, int | None):
        print(status, file=sys.stderr)
        status = 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return status or 0
