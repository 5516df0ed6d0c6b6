"""Turn georeferenced images and labels into land-cover maps."""

import os
import sys
from typing import TYPE_CHECKING

from geoseg.lazily import lazily

__version__ = "0.1.0"
# OpenMP's threads spin while they wait for one another. On a machine that others use too, or beside
# the processes that read tiles, that makes a network several times slower. Read when torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from geoseg.dataset.tiles import Dataset as Dataset
    from geoseg.errors import InputError as InputError
    from geoseg.geo.legend import Legend as Legend
    from geoseg.prediction.network import TrainedNetwork as TrainedNetwork
    from geoseg.scenes.scene import Scene as Scene
    from geoseg.scenes.scene import find_scenes as find_scenes
else:
    __getattr__, __dir__, __all__ = lazily(__name__)

if sys.argv[:1] == ["-m"] and {"-h", "--help"} & set(sys.argv):
    # Python is about to look for the file of `python -m geoseg.<command> --help`. The text is read
    # from the sources, in a tenth of the time that the rooms which a command needs take to load.
    from geoseg.commands.shell import answer_help

    answer_help(sys.orig_argv)
