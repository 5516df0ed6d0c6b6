"""Threads around a loop: order, faults, and that nothing goes on after the end."""

import threading
import time
from contextlib import closing

import pytest

from geoseg.outputs.threads import BackgroundWriter, in_order, prefetch, timed


def alive():
    return [t.name for t in threading.enumerate() if t.name.startswith("geoseg")]


def count(until, closed=None):
    try:
        yield from range(until)
    finally:
        if closed is not None:
            closed.append(threading.current_thread().name)


def test_ahead_keeps_the_order_and_reads_in_its_own_thread():
    closed = []
    assert list(prefetch(count(20, closed), depth=3)) == list(range(20))
    assert closed == ["geoseg-prefetch"]
    assert not alive()


def test_ahead_hands_over_faults_where_they_came():
    def broken():
        yield 1
        raise ValueError("boom")

    items = prefetch(broken())
    assert next(items) == 1
    with pytest.raises(ValueError, match="boom"):
        next(items)
    assert not alive()


def test_ahead_ends_with_the_loop():
    closed = []
    with closing(prefetch(count(10**9, closed), depth=2)) as items:
        assert next(items) == 0
    assert closed == ["geoseg-prefetch"]
    assert not alive()


def test_behind_makes_calls_in_order_and_waits_for_the_last():
    made = []
    with BackgroundWriter(lambda: made.append("last"), depth=2) as behind:
        for number in range(20):
            behind.do(lambda n=number: made.append(n))
    assert made == [*range(20), "last"]
    assert not alive()


def test_behind_raises_what_a_call_raised():
    made = []

    def fail():
        raise ValueError("boom")

    def work():
        with BackgroundWriter(lambda: made.append("last"), depth=2) as behind:
            behind.do(fail)
            for _ in range(100):
                behind.do(lambda: made.append("more"))
                time.sleep(0.001)

    with pytest.raises(ValueError, match="boom"):
        work()
    assert made == ["last"]
    assert not alive()


def test_behind_drops_calls_when_the_block_fails():
    made = []

    def work():
        with BackgroundWriter(lambda: made.append("last"), depth=10) as behind:
            behind.do(lambda: time.sleep(0.1))
            for number in range(5):
                behind.do(lambda n=number: made.append(n))
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert made[-1] == "last"
    assert 4 not in made
    assert not alive()


def test_timed_adds_up_what_items_take():
    def slow():
        for _ in range(3):
            time.sleep(0.01)
            yield 1

    seconds = {}
    begin = time.perf_counter()
    for _ in timed(slow(), seconds, "read"):
        time.sleep(0.02)
    assert 0.03 <= seconds["read"] <= time.perf_counter() - begin - 0.06


def test_results_come_in_order_from_all_threads():
    names = set()

    def work(item):
        names.add(threading.current_thread())
        time.sleep(0.002 * (item % 3))
        return item**2

    assert list(in_order(work, range(50), threads=3)) == [item**2 for item in range(50)]
    assert len(names) == 3
    assert not alive()


def test_work_is_little_ahead_of_what_is_asked_for():
    taken = []
    results = in_order(lambda item: item, (taken.append(n) or n for n in range(99)), threads=2)
    with closing(results):
        assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert len(taken) <= 3 + 2 * 2
    assert not alive()


def test_a_fault_comes_where_its_result_would_have_and_nothing_goes_on():
    done = []

    def work(item):
        if item == 3:
            raise ValueError("boom")
        done.append(item)
        return item

    results = in_order(work, range(1000), threads=2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="boom"):
        next(results)
    assert len(done) < 20
    assert not alive()


def test_an_interrupted_loop_does_not_wait_for_work_that_hangs():
    hang = threading.Event()
    results = in_order(lambda item: item and hang.wait(), range(9), threads=2)
    assert next(results) == 0
    begin = time.perf_counter()
    results.close()
    assert time.perf_counter() - begin < 2
    hang.set()
