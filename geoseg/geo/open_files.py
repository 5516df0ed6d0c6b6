"""Keep readers of files open that are needed again, as many as may be."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any


class OpenFiles:
    """Open readers, each with a `close`; if there is no room for one more, another one is closed.

    For one thread. Each process opens its own: GDAL's handles must not cross a fork.
    """

    def __init__(self, most: int, files: int | None = None, *, in_turns: bool = False) -> None:
        """most: readers. files: that these may have, more only if a single reader does.

        in_turns: whether readers are gone through in the same order again and again. Then the one
        opened last is needed again last, and is closed first; else the one longest not asked for.
        """
        self.most, self._files, self._in_turns = most, files, in_turns
        self._open: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def get(self, key: Hashable, opened: Callable[[], Any], files: int = 1) -> Any:
        """The reader of a key. opened: gives it, if it is not open. Raises: what that raises."""
        if key not in self._open:
            while self._open and not self._has_room(files):
                self._open.popitem(last=self._in_turns)[1][0].close()
            self._open[key] = opened(), files
        elif not self._in_turns:
            self._open.move_to_end(key)
        return self._open[key][0]

    def kept(self, key: Hashable) -> Any:
        """The reader of a key, None if it is not open now."""
        return self._open.get(key, (None,))[0]

    def _has_room(self, files: int) -> bool:
        held = files + sum(count for _, count in self._open.values())
        return len(self._open) < self.most and (self._files is None or held <= self._files)

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1][0].close()

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_open": OrderedDict()}
