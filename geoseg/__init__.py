"""Turn georeferenced images and labels into land-cover maps."""

import os

__version__ = "0.1.0"
# OpenMP's threads spin while they wait for one another. On a machine that others use too, or beside
# the processes that read tiles, that makes a network several times slower. Read when torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
