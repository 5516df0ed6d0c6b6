"""A run that was killed is gone on with, and its file has the bytes of one that was not."""

import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from geoseg.errors import InputError
from geoseg.maps.cog.pack import Pack
from geoseg.outputs.crew import WorkerEndedError
from geoseg.vectors import layers as layers_
from geoseg.vectors import merge as merge_
from geoseg.vectors import polygons as blocks
from geoseg.vectors import vectorize as vectorize_
from geoseg.vectors.feature_stream import growing
from geoseg.vectors.settings import VectorSettings
from geoseg.vectors.unfinished import unfinished
from geoseg.vectors.vectorize import vectorize
from tests.vectors.test_vectorize import patches, write_map

CHOSEN = VectorSettings(minimum_m2=4, simplify_m=1.5, regular=["building"], lines=["road"])


@pytest.fixture(autouse=True, scope="module")
def small_blocks():
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((blocks, "BLOCK"), (merge_, "SQUARE"), (layers_, "BLOCK")):
            patch.setattr(module, name, 16)
        yield


def write_town(folder: Path, seed: int = 9, percent: int = 70) -> Path:
    codes = patches(seed, (44, 40), (1, 2, 5))
    return write_map(folder, codes, confidence=np.full(codes.shape, percent, np.uint8))


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def town(home) -> Path:
    return write_town(home / "maps")


@pytest.fixture(scope="module")
def whole(home, town):
    """Files of a run that was not killed, by their suffix."""

    @cache
    def made(suffix: str) -> dict[str, bytes]:
        vectorize(town, home / suffix[1:] / f"a{suffix}", settings=CHOSEN)
        return files_of(home / suffix[1:] / f"a{suffix}")

    return made


@pytest.fixture
def out(home) -> Path:
    """A place as deep as that of the others: the report tells where the map is from there."""
    return Path(tempfile.mkdtemp(dir=home)) / "a.gpkg"


def files_of(out: Path) -> dict[str, bytes]:
    """What an output is, its note and lock apart."""
    found = out.parent.glob(f"{out.stem}*")
    return {path.name: path.read_bytes() for path in found}


class Killed(KeyboardInterrupt):
    pass


def stopping(monkeypatch, owner, name: str, number: int) -> None:
    """Have the call of this number end the run before it has done anything."""
    real, calls = getattr(owner, name), []

    def counted(*given, **named):
        calls.append(0)
        if len(calls) == number:
            raise Killed
        return real(*given, **named)

    monkeypatch.setattr(owner, name, counted)


POINTS = [
    (vectorize_, "merge", 1),
    (Pack, "add", 4),
    (blocks, "simplify", 8),
    (blocks, "_whole", 1),
    (Pack, "add", 24),
    (vectorize_, "write_stream", 2),
    (layers_, "center_lines", 1),
    (vectorize_, "put", 1),
]


@pytest.mark.parametrize("point", POINTS, ids=[f"{name}_{n}" for _, name, n in POINTS])
def test_it_goes_on_to_the_same_bytes(out, town, whole, monkeypatch, point):
    with monkeypatch.context() as patch:
        stopping(patch, *point)
        with pytest.raises(Killed):
            vectorize(town, out, settings=CHOSEN)
    assert unfinished(out).exists()
    assert not growing(out).exists()
    vectorize(town, out, settings=CHOSEN)
    assert files_of(out) == whole(".gpkg")
    assert not unfinished(out).exists()


@pytest.mark.parametrize("suffix", [".fgb", ".parquet"])
def test_no_row_of_blocks_is_done_twice(out, town, whole, monkeypatch, suffix):
    out, expected = out.with_suffix(suffix), whole(suffix)
    monkeypatch.setattr(vectorize_, "merge", _once(vectorize_.merge))
    for _ in range(2):
        with monkeypatch.context() as patch:
            stopping(patch, blocks, "simplify", 4)  # a row has three blocks
            with pytest.raises(Killed):
                vectorize(town, out, settings=CHOSEN)
        growing(out).write_bytes(b"half of it, as SIGKILL leaves it")
    with monkeypatch.context() as patch:
        stopping(patch, blocks, "simplify", 4)
        said = str(vectorize(town, out, settings=CHOSEN))
    assert "went on after row 32 of 44" in said
    assert files_of(out) == expected
    assert not growing(out).exists()


def _once(function):
    calls = []

    def called(*given):
        assert not calls
        calls.append(0)
        return function(*given)

    return called


def killed(town, out, monkeypatch, settings=CHOSEN) -> None:
    with monkeypatch.context() as patch:
        stopping(patch, blocks, "simplify", 5)
        with pytest.raises(Killed):
            vectorize(town, out, settings=settings)


@pytest.mark.parametrize("other", [{"minimum_m2": 9}, {"simplify_m": 0.0}, {"strip": 20}])
def test_other_settings_begin_anew_and_say_so(home, out, town, monkeypatch, other):
    killed(town, out, monkeypatch)
    chosen = replace(CHOSEN, **other)
    assert "begun anew" in str(vectorize(town, out, settings=chosen))
    assert not unfinished(out).exists()
    again = home / f"other_{next(iter(other))}" / "a.gpkg"
    assert "anew" not in str(vectorize(town, again, settings=chosen))
    assert files_of(out) == files_of(again)


@pytest.mark.parametrize("changed", [{"seed": 10}, {"percent": 60}])
def test_another_map_begins_anew_and_says_so(tmp_path, monkeypatch, changed):
    town, out = write_town(tmp_path / "maps"), tmp_path / "out" / "a.gpkg"
    killed(town, out, monkeypatch)
    write_town(tmp_path / "maps", **changed)
    assert "begun anew" in str(vectorize(town, out, settings=CHOSEN))
    vectorize(town, tmp_path / "again" / "a.gpkg", settings=CHOSEN)
    assert files_of(out) == files_of(tmp_path / "again" / "a.gpkg")


def test_a_process_that_is_killed_costs_only_its_row(out, town, whole, monkeypatch):
    real, calls = blocks.simplify, []

    def ended(*given):
        calls.append(0)
        if len(calls) == 5:
            raise WorkerEndedError("vector.processes=2: one of these processes ended")
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(blocks, "simplify", ended)
        with pytest.raises(WorkerEndedError):
            vectorize(town, out, settings=CHOSEN)
    assert "went on after row 16" in str(vectorize(town, out, settings=CHOSEN))
    assert files_of(out) == whole(".gpkg")


def test_a_fault_leaves_nothing_unfinished(out, town, monkeypatch):
    def full(*_):
        raise InputError("the disk is full")

    monkeypatch.setattr(blocks, "simplify", full)
    with pytest.raises(InputError, match="the disk is full"):
        vectorize(town, out, settings=CHOSEN)
    assert not unfinished(out).exists()


def test_what_is_left_of_a_file_that_is_whole_is_removed(out, town):
    vectorize(town, out, settings=CHOSEN)
    unfinished(out).write_bytes(b"killed when all was done but this")
    assert "nothing to do" in str(vectorize(town, out, settings=CHOSEN))
    assert not unfinished(out).exists()
