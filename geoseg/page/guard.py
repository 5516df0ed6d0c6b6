"""Refuse requests that do not come from the page itself."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

LARGEST = 1 << 20
"""Bytes of a request's body."""
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class TooLargeError(Exception):
    """A body that goes on longer than it may."""


class Guard:
    """An ASGI application around another one, which sees only what is meant for it.

    Each path begins with the token, so whoever knows no token reaches nothing. A page of another
    origin can't read the token, and what its scripts, forms and images ask for is refused besides;
    so is every name but this machine's, which another server could have pointed here.
    """

    def __init__(self, app: App, *, token: str, port: int) -> None:
        self._app, self._token = app, token
        self._hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}
        self._origins = {f"http://{host}" for host in self._hosts}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"{scope['type']}: only HTTP is served")
        headers = _headers(scope)
        fault = self._fault(scope, headers)
        if fault is not None:
            await _refuse(send, *fault)
            return
        inner = dict(scope)
        inner["path"] = scope["path"][1 + len(self._token) :]
        inner["raw_path"] = inner["path"].encode()

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(k.encode(), v.encode()) for k, v in HEADERS.items()]
                message["headers"] = [*message.get("headers", ()), *added]
            await send(message)

        await self._app(inner, _bounded(receive), guarded)

    def _fault(self, scope: Message, headers: dict[str, list[str]]) -> tuple[int, str] | None:
        """Status and reason of a request that is refused; None = it is taken."""
        hosts = headers.get("host", [])
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return 421, "this page is served under 127.0.0.1 only"
        given, slash, rest = scope["path"][1:].partition("/")
        if not slash or not secrets.compare_digest(given.encode(), self._token.encode()):
            return 404, "open the address that geoseg.refine printed when it began"
        origins = headers.get("origin", [])
        if any(origin not in self._origins for origin in origins):
            return 403, "another origin"
        # Browsers say where a request comes from; QGIS and others that are none do not.
        site = headers.get("sec-fetch-site", ["none"])
        opens = headers.get("sec-fetch-mode") == ["navigate"] and not rest
        if site[0] not in ("same-origin", "none") and not (opens and scope["method"] == "GET"):
            return 403, "another origin"
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return 405, "GET and POST only"
        if scope["method"] == "POST":
            kinds = headers.get("content-type", [""])
            if kinds[0].partition(";")[0].strip().lower() != "application/json":
                return 415, "expected application/json"
        length = headers.get("content-length", ["0"])[0]
        if not length.isdecimal() or int(length[:20]) > LARGEST:
            return 413, "too large"
        return None


def _headers(scope: Message) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


def _bounded(receive: Receive) -> Receive:
    """A body that does not go on for ever, whatever its length was said to be."""
    count = 0

    async def receive_() -> Message:
        nonlocal count
        message = await receive()
        count += len(message.get("body", b""))
        if count > LARGEST:
            raise TooLargeError
        return message

    return receive_


async def _refuse(send: Send, status: int, reason: str) -> None:
    text = reason.encode()
    headers = {
        "content-type": "text/plain; charset=utf-8",
        "content-length": str(len(text)),
        "cache-control": "no-store",
        **HEADERS,
    }
    encoded = [(k.encode(), v.encode()) for k, v in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": text})
