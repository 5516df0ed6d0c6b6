"""Files that many tests ask for are made once in a process, and written anew for each."""

from collections.abc import Callable, Hashable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory


def write(folder: Path, make: Callable[..., None], *given: Hashable) -> None:
    """Write what `make(folder, *given)` does, which must not depend on the folder."""
    for name, content in _files(make, *given).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@cache
def _files(make: Callable[..., None], *given: Hashable) -> dict[str, bytes]:
    """Contents by path within the folder."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, *given)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): path.read_bytes() for path in paths}
