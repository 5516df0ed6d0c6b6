"""A pack keeps whole records of its key, whatever became of the process that wrote it."""

from pathlib import Path

import pytest

from geoseg.errors import InputError
from geoseg.maps.cog.pack import Pack

PARTS = [[b"one", b"", b"three"], [], [b"\n{}\n" * 50]]


def add(path: Path, key: str, parts: list[list[bytes]]) -> list[tuple]:
    """Add what is missing of these records, and leave the pack as a kill does. Returns: all."""
    pack = Pack(path, key, owner="map.tif")
    records = list(pack.records)
    assert len(records) <= len(parts)
    for number, content in enumerate(parts[len(records) :], len(records)):
        records.append(pack.add(content, {"number": number}))
    found = []
    for record in records:
        offset, content = record.offset, []
        for size in record.sizes:
            content.append(pack.read(offset, size))
            offset += size
        found.append((content, record.note["number"]))
    pack.close()
    return found


def test_records_are_there_again(tmp_path):
    expected = [(content, number) for number, content in enumerate(PARTS)]
    assert add(tmp_path / "pack", "a", PARTS) == expected
    pack = Pack(tmp_path / "pack", "a", owner="map.tif")
    assert [record.note["number"] for record in pack.records] == [0, 1, 2]
    pack.close()
    assert add(tmp_path / "pack", "a", PARTS) == expected


def test_cut_anywhere_it_is_completed_to_the_same_bytes(tmp_path):
    path = tmp_path / "pack"
    expected = add(path, "a", PARTS)
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert add(path, "a", PARTS) == expected
        assert path.read_bytes() == whole


def test_what_is_damaged_is_made_anew(tmp_path):
    path = tmp_path / "pack"
    expected = add(path, "a", PARTS)
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert add(path, "a", PARTS) == expected
        assert path.read_bytes() == whole


def test_another_key_begins_anew(tmp_path):
    add(tmp_path / "pack", "a", PARTS)
    assert add(tmp_path / "pack", "ab", PARTS[:1]) == [(PARTS[0], 0)]
    assert add(tmp_path / "pack", "", []) == []


def test_records_behind_a_place_can_be_forgotten(tmp_path):
    add(tmp_path / "pack", "a", PARTS)
    for count in (2, 0):
        pack = Pack(tmp_path / "pack", "a", owner="map.tif")
        assert not pack.is_void
        pack.cut(count)
        assert len(pack.records) == count
        pack.close()
        assert add(tmp_path / "pack", "a", PARTS) == list(zip(PARTS, range(3), strict=True))
    pack = Pack(tmp_path / "pack", "b", owner="map.tif")
    assert pack.is_void
    pack.close()
    (tmp_path / "pack").write_bytes(b'{"ke')  # killed as it began
    pack = Pack(tmp_path / "pack", "b", owner="map.tif")
    assert not pack.is_void
    pack.close()


def test_it_goes_with_success_and_with_a_fault(tmp_path):
    with Pack(tmp_path / "pack", "a", owner="map.tif") as pack:
        pack.add([b"x"])
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="x"), Pack(tmp_path / "pack", "a", owner="map.tif"):
        raise ValueError("x")
    assert not list(tmp_path.iterdir())


def test_it_stays_with_ctrl_c(tmp_path):
    with pytest.raises(KeyboardInterrupt), Pack(tmp_path / "pack", "a", owner="map.tif"):
        raise KeyboardInterrupt
    assert (tmp_path / "pack").exists()


def test_a_folder_in_its_place_is_an_error(tmp_path):
    (tmp_path / "pack").mkdir()
    with pytest.raises(InputError, match=r"map\.tif: can't be written"):
        Pack(tmp_path / "pack", "a", owner="map.tif")
