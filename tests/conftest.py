"""What several test files share: a small data set, and where the real imagery lies."""

import gc
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.made import started

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
# What predictions on this machine found out is not to decide what a test sees, nor the other way.
os.environ["GEOSEG_CACHE"] = os.devnull
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell ignores it for what runs in the background; interrupted processes would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)

REAL = Path(
    os.environ.get("GEOSEG_REAL_DATA", Path(__file__).parent.parent.parent / "shared" / "data")
)
SLOW = (
    *("test_notebooks.py", "training/test_processes.py", "training/test_learning.py"),
    *("benchmarks/test_benchmarks.py", "commands/test_sweep.py", "prediction/test_dask.py"),
    # One after the other in one process: the first export to ONNX loads what takes seconds.
    *("export/test_write.py", "prediction/test_backends.py", "prediction/test_images.py"),
    *("training/test_loop.py", "crossvalidation/test_image_folds.py"),
)
"""Files with tests of ten seconds: first, so that none is left to one worker at the end."""
EXAMPLES = 30
"""Of each property in a run of all tests; a file that is run by itself tries 100."""

OBJECTS = 10_000
"""New ones after which they are searched for garbage: what a test makes is mostly gone by then."""


def pytest_configure(config: pytest.Config) -> None:
    """In the process that hands out the tests to others, load nothing: they wait for it, and are
    forks of the process that has loaded the libraries."""
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        if sys.platform == "linux":
            started.share()
            config.option.tx = [f"popen//python={started.python()}" for _ in config.option.tx]
        return
    # What is imported from here to the end of the collection stays: not searched for garbage.
    gc.disable()
    from hypothesis import HealthCheck, settings

    from tests.made.hurry import hurry

    hurry()
    # On a machine that does much else at the same time, anything may take long.
    patient = settings(suppress_health_check=[HealthCheck.too_slow])
    if hasattr(config, "workerinput"):
        patient = settings(patient, max_examples=EXAMPLES)
    settings.register_profile("tests", patient)
    settings.load_profile("tests")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here, places = Path(__file__).parent, {name: place for place, name in enumerate(SLOW)}
    items.sort(
        key=lambda item: places.get(item.path.relative_to(here).as_posix(), len(SLOW)),
    )


def pytest_collection_finish() -> None:
    """Take what was imported out of what the garbage collector goes through again and again."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(OBJECTS)


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # those end without taking anything apart
        gc.unfreeze()  # libraries that count what is left at the end


@pytest.fixture
def real_data():
    """Folder of the real imagery; tests that need it are skipped where it isn't."""
    if not REAL.is_dir():
        pytest.skip("no real imagery here (GEOSEG_REAL_DATA)")
    return REAL


@pytest.fixture
def dataset(tmp_path):
    from tests.made.tiles import make_dataset

    return make_dataset(tmp_path)
