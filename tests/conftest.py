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


hurry()


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
