"""Started by test_processes: calls a function in two processes, and prints what comes of it."""

import sys
from importlib import import_module

from geoseg.errors import InputError
from geoseg.training.processes import launch


def main(module: str, name: str) -> None:
    try:
        print(launch.spread(getattr(import_module(module), name), devices=2), end="")
    except InputError as error:
        raise SystemExit("\n".join(error.faults)) from None


if __name__ == "__main__":
    main(*sys.argv[1:])
