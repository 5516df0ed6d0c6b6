"""Serve the page on this machine until it is ended."""

from __future__ import annotations

import secrets
import socket
import sys
from pathlib import Path
from threading import Thread
from typing import Any

from geoseg.errors import InputError
from geoseg.outputs.lock import held
from geoseg.outputs.stopping import Stopped
from geoseg.page.guard import Guard
from geoseg.page.session import Session, open_session, summary_of
from geoseg.refinement.refine import Inputs
from geoseg.refinement.settings import Refining
from geoseg.refinement.suggest import read_suggestions

HOST = "127.0.0.1"
"""Nobody else on the network reaches it."""
CLOSING = 2
"""Seconds that open requests get when the page is ended."""
LOOK = 0.2


def serve(  # noqa: PLR0913 one keyword per key of the command
    inputs: Inputs,
    corrections: str | Path | None,
    out: str | Path,
    *,
    settings: Refining,
    suggestions: str | Path | None = None,
    port: int = 0,
    overwrite: bool = False,
) -> str:
    """Serve the page until Ctrl-C, and then write the maps if they lack corrections.

    Each correction is on disk, and shown, as soon as it is drawn; maps are written by *save* and at
    the end. suggestions: file of suggest that Next goes through; None = chosen of the maps.
    port: 0 = any that is free. Returns: what is to be said at the end.
    Raises: InputError if the packages or the port are missing, the output is another's, or the
    suggestions are for other maps.
    """
    out = Path(out)
    check_packages()
    maps = [old.map for old in inputs.old]
    chosen = [] if suggestions is None else read_suggestions(suggestions, maps)
    door = _bound(port)
    with door, held(out, "refine serve=true", name="page"):
        session = open_session(inputs, corrections, out, settings=settings, overwrite=overwrite)
        session.state.suggestions = chosen
        _run(session, door)
        session.look_again()
        if not session.is_unsaved():
            return summary_of(session)
        print("geoseg refine: writing the maps", file=sys.stderr)
        return session.save()


def check_packages() -> None:
    """Raises: InputError with what is to be installed."""
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"serve=true: needs the package {error.name}; pip install 'geoseg[page]'"
        ) from None


def _bound(port: int) -> socket.socket:
    """Raises: InputError if the port is taken."""
    door = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":  # there it would share the port with others
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind((HOST, port))
    except OSError as error:
        door.close()
        raise InputError(
            f"port={port}: cannot be opened ({error.strerror}); leave it out to take a free one"
        ) from None
    return door


def _run(session: Session, door: socket.socket) -> None:
    """Return on Ctrl-C. Raises: Stopped if the process is told to end."""
    import uvicorn

    from geoseg.page.server import Server

    token = secrets.token_urlsafe(24)
    port = door.getsockname()[1]
    guard: Any = Guard(Server(session).app(), token=token, port=port)
    config = uvicorn.Config(
        guard,
        log_level="warning",
        access_log=False,
        ws="none",
        lifespan="off",
        server_header=False,
        limit_concurrency=256,
        timeout_graceful_shutdown=CLOSING,
    )
    server = uvicorn.Server(config)
    # Signals are for the main thread, which waits.
    thread = Thread(target=server.run, kwargs={"sockets": [door]}, name="geoseg-page-server")
    session.start()
    thread.start()
    while thread.is_alive() and not server.started:
        thread.join(LOOK)
    print(_told(f"http://{HOST}:{port}/{token}/", session), flush=True)
    try:
        while thread.is_alive():
            thread.join(LOOK)
    except Stopped:
        raise
    except KeyboardInterrupt:
        print("geoseg refine: closing the page", file=sys.stderr)
    finally:
        server.should_exit = True
        session.stop()
        thread.join()


def _told(address: str, session: Session) -> str:
    layers = ", ".join(("map", "image", "predicted", *session.scenes[0].layers))
    return (
        f"the page: {address}\n"
        f"in QGIS, as XYZ tiles: {address}xyz/map/{{z}}/{{x}}/{{y}}.png (or {layers})\n"
        f"{summary_of(session)}; each further one is written there at once\n"
        "Ctrl-C ends the page and writes the maps"
    )
