"""Run a command by its name, or list the commands: `geoseg train key=value`."""

from __future__ import annotations

import sys

from geoseg.commands.shell import main

if __name__ == "__main__":
    sys.exit(main())
