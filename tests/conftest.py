"""What several test files share: a small data set, and where the real imagery lies."""

import gc
import os
import signal
from pathlib import Path

import pytest

from tests.made.hurry import hurry
from tests.made.tiles import make_dataset

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell ignores it for what runs in the background; interrupted processes would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)

REAL = Path(
    os.environ.get("GEOSEG_REAL_DATA", Path(__file__).parent.parent.parent / "shared" / "data")
)
SLOW = {
    *("test_notebooks.py", "training/test_processes.py", "training/test_learning.py"),
    *("benchmarks/test_benchmarks.py", "commands/test_sweep.py", "prediction/test_dask.py"),
    *("prediction/test_images.py", "training/test_loop.py", "crossvalidation/test_image_folds.py"),
}
"""Files with tests of ten seconds: first, so that none is left to one worker at the end."""

hurry()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    items.sort(key=lambda item: item.path.relative_to(here).as_posix() not in SLOW)


def pytest_collection_finish() -> None:
    """Take what was imported out of what the garbage collector goes through again and again."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # libraries that count what is left at the end


@pytest.fixture
def real_data():
    """Folder of the real imagery; tests that need it are skipped where it isn't."""
    if not REAL.is_dir():
        pytest.skip("no real imagery here (GEOSEG_REAL_DATA)")
    return REAL


@pytest.fixture
def dataset(tmp_path):
    return make_dataset(tmp_path)
