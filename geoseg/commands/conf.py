"""Find the folder of ready-made settings."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent.parent
CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"
"""In a wheel conf/ lies inside the package, in a checkout beside it."""
