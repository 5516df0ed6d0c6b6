import math
import os
import signal

import pytest

from geoseg.errors import InputError
from geoseg.outputs.crew import in_processes

KEY = "vector.processes"


def test_results_come_in_the_order_of_the_items():
    items = iter(range(7))
    assert list(in_processes(math.factorial, items, processes=2, key=KEY)) == [
        1, 1, 2, 6, 24, 120, 720,
    ]  # fmt: skip


def test_what_the_work_raises_is_raised_where_its_result_would_have_come():
    results = in_processes(math.sqrt, [4.0, -1.0, 9.0], processes=2, key=KEY)
    assert next(results) == 2.0
    with pytest.raises(RuntimeError, match="ValueError: "):
        next(results)


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_process_that_is_killed_is_named_with_a_way_out():
    results = in_processes(signal.raise_signal, [signal.SIGKILL] * 2, processes=2, key=KEY)
    with pytest.raises(
        InputError, match=r"=2: one of .* SIGKILL .*little memory.*processes=1 does"
    ):
        next(results)
