"""Import what names of packages need, and torch's compiler, not before somebody uses them, and
large libraries in less time."""

from __future__ import annotations

import ast
import functools
import gc
import importlib
import sys
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

COMPILER, ASKED = "torch._dynamo", "torch._dynamo.utils"
"""The package of torch's compiler, and its module that torchvision imports at its start."""


def lazily(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a package (PEP 562).

    The names are those that its `__init__.py` imports below `if TYPE_CHECKING:`, so that a type
    checker and Python read the same list.
    """
    module = sys.modules[package]
    origins = _imports(Path(str(module.__file__)))

    def get(name: str) -> Any:
        if name not in origins:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(origins[name]), name)
        setattr(module, name, value)  # the next one who asks does not come here
        return value

    return get, lambda: sorted({*vars(module), *origins}), sorted(origins)


def _imports(path: Path) -> dict[str, str]:
    """Name → module of the imports that only a type checker sees."""
    found: dict[str, str] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for line in node.body:
                if isinstance(line, ast.ImportFrom) and line.module:
                    found |= {alias.name: line.module for alias in line.names}
    return found


class _Imports(MetaPathFinder):
    """Has some modules imported while a context manager is open."""

    NAMES: tuple[str, ...]
    """What `import` is told: packages, whose parts come with them, or single modules."""

    @classmethod
    def install(cls) -> None:
        """Apply to what this process imports from now on."""
        if not any(isinstance(finder, cls) for finder in sys.meta_path):
            sys.meta_path.insert(0, cls())

    @abstractmethod
    def opened(self) -> AbstractContextManager[None]:
        """What is open meanwhile."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What the next finders find, whose code then runs while it is open."""
        if fullname not in self.NAMES:
            return None
        others = sys.meta_path[sys.meta_path.index(self) + 1 :]
        found = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        loader: Any = spec.loader if spec is not None else None
        if loader is not None:
            execute = loader.exec_module

            def within(module: ModuleType) -> None:
                with self.opened():
                    execute(module)

            loader.exec_module = within
        return spec


class ImportsWithoutCompiler(_Imports):
    """Has packages imported without torch's compiler, until something is to be compiled.

    timm and torchvision mark functions for the compiler when they are imported, which loads it,
    SymPy and Triton: a third of the start and half the end of a process that compiles nothing.
    """

    NAMES = ("timm", "torchvision")

    def opened(self) -> AbstractContextManager[None]:
        """torch without its compiler."""
        return _without_compiler()


class ImportsWithoutSearch(_Imports):
    """Has large libraries imported without a search for garbage among what they make, which stays.

    For a process that runs one command: Python would go through the half million objects of torch
    and its likes again and again while they become more: a sixth of the imports.
    """

    NAMES = (
        *("torch", "torch._dynamo", "timm", "torchvision", "segmentation_models_pytorch"),
        *("lightning_fabric", "pandas", "geopandas", "scipy", "matplotlib", "albumentations"),
    )

    def opened(self) -> AbstractContextManager[None]:
        """Python without its search for cycles."""
        return without_search()


@contextmanager
def without_search() -> Iterator[None]:
    """Make objects that stay, without a search for cycles among them meanwhile."""
    searching = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if searching:  # the outermost of those that import each other
            gc.enable()


@contextmanager
def _without_compiler() -> Iterator[None]:
    """Let code ask torch's compiler what it asks on import, without loading it."""
    torch: Any = sys.modules.get("torch")
    # It is loaded already, or a package further out is being imported; torch comes before both.
    if torch is None or ASKED in sys.modules:
        yield
        return
    stand_in, disable = _StandIn(ASKED), torch.compiler.disable
    sys.modules[ASKED] = stand_in
    torch.compiler.disable = _disable_later(disable)
    try:
        yield
    finally:
        torch.compiler.disable = disable
        if sys.modules.get(ASKED) is stand_in:
            del sys.modules[ASKED]


class _StandIn(ModuleType):
    """Module of the compiler that is loaded when anything is needed of it."""

    def is_compile_supported(self, device: str) -> bool:
        """Whether torch can compile for a device: what torchvision asks when it detects objects."""
        answer: bool = self._real().is_compile_supported(device)
        return answer

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # Python itself asks
            raise AttributeError(name)
        return getattr(self._real(), name)

    def _real(self) -> ModuleType:
        if sys.modules.get(ASKED) is self:
            del sys.modules[ASKED]
        return importlib.import_module(ASKED)


def _disable_later(disable: Callable[..., Any]) -> Callable[..., Any]:
    """torch.compiler.disable, which itself loads the compiler, for functions that are defined while
    it is not loaded."""

    def disable_later(
        function: Any = None, recursive: bool = True, *, reason: str | None = None
    ) -> Any:
        if function is None:
            return functools.partial(disable_later, recursive=recursive, reason=reason)
        disabled = functools.cache(lambda: disable(function, recursive, reason=reason))

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            # Where the compiler is not loaded, nothing is being compiled.
            return (disabled() if COMPILER in sys.modules else function)(*args, **kwargs)

        return call

    return disable_later
