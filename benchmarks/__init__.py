"""What is claimed, measured: anyone can run these."""

import geoseg  # noqa: F401  (it says how threads wait, before torch loads)
