"""Outputs reach the disk before they get their names; damaged notes are in nobody's way."""

import json
import os
import subprocess
import sys

import pytest

from geoseg.errors import InputError
from geoseg.geo.vector import write_layer
from geoseg.models import checkpoint
from geoseg.outputs import files
from geoseg.outputs.claims import claim, is_claimed, note_made, read_claim, read_made
from geoseg.outputs.files import read_note, replacing


@pytest.fixture
def calls(monkeypatch):
    """What reached the disk or got its name, in order."""
    told, sync, rename = [], os.fsync, os.replace

    def synced(number):
        told.append(("sync", os.path.basename(os.readlink(f"/proc/self/fd/{number}"))))
        sync(number)

    def renamed(a, b):
        told.append(("name", os.path.basename(b)))
        rename(a, b)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    return told


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="asks Linux for names")
def test_bytes_reach_the_disk_before_the_name_and_the_name_before_the_next_step(tmp_path, calls):
    with replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("a")
    assert calls == [("sync", ".a.txt.part"), ("name", "a.txt"), ("sync", tmp_path.name)]
    calls.clear()
    write_layer(tmp_path / "l.gpkg", {"n": [1]}, layer="l")
    assert calls == [("sync", ".l.gpkg.gpkg"), ("name", "l.gpkg"), ("sync", tmp_path.name)]


def test_the_umask_decides_who_may_read(tmp_path):
    from torch import nn

    before = os.umask(0o027)
    try:
        checkpoint._write(tmp_path / "best.safetensors", nn.Linear(2, 2), {})
        with replacing(tmp_path / "a.txt") as temporary:
            temporary.touch(0o600)
        os.umask(0o077)
        with replacing(tmp_path / "b.txt") as temporary:
            temporary.write_text("b")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"best.safetensors": 0o640, "a.txt": 0o640, "b.txt": 0o600}


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "\x00\x01", "[" * 100_000])
def test_a_damaged_note_is_replaced_if_that_is_asked_for(tmp_path, capsys, text):
    options = {"command": "predict", "products": ("maps",)}
    claim(tmp_path, {"size": 1}, **options)
    (tmp_path / ".predict.json").write_text(text)
    files._told.clear()
    claim(tmp_path, {"size": 1}, **options)  # nothing there that could be other
    assert ".predict.json: can't be read" in capsys.readouterr().err
    (tmp_path / "maps").mkdir()
    (tmp_path / ".predict.json").write_text(text)
    with pytest.raises(InputError, match=r"\.predict\.json, can't be read; .*overwrite=true"):
        claim(tmp_path, {"size": 1}, **options)
    claim(tmp_path, {"size": 1}, **options, overwrite=True)
    assert not (tmp_path / "maps").exists()
    assert is_claimed(tmp_path, {"size": 1}, command="predict")


def test_what_was_made_is_noted_beside_the_settings(tmp_path):
    claim(tmp_path, {"size": 1}, command="mosaic", products=(), name="a.tif")
    assert read_made(tmp_path, command="mosaic", name="a.tif") == {}
    note_made(tmp_path, {"a.tif": "3 bytes"}, command="mosaic", name="a.tif")
    assert read_made(tmp_path, command="mosaic", name="a.tif") == {"a.tif": "3 bytes"}
    assert read_claim(tmp_path, command="mosaic", name="a.tif") == {"size": 1}
    claim(tmp_path, {"size": 1}, command="mosaic", products=(), name="a.tif")
    assert read_made(tmp_path, command="mosaic", name="a.tif") == {"a.tif": "3 bytes"}
    claim(tmp_path, {"size": 2}, command="mosaic", products=(), name="a.tif")
    assert read_made(tmp_path, command="mosaic", name="a.tif") == {}


def test_a_note_that_is_not_there_is_no_fault(tmp_path, capsys):
    assert read_note(tmp_path / "none.json") is None
    assert capsys.readouterr().err == ""


SAYS = """
import os, sys
from geoseg.outputs import terminal
terminal.settle("train")
print("Größe 3 × 4 – \\udcff", flush=True)
sys.stdin.readline()
print("into nothing", flush=True)
fault = terminal.unwritten()
print(f"fault: {fault}", file=sys.stderr)
os.write(2, b"worked\\n")
"""


def say(*, out, env):
    return subprocess.Popen(
        [sys.executable, "-c", SAYS], stdin=subprocess.PIPE, stdout=out, stderr=subprocess.PIPE,
        env=os.environ | env,
    )  # fmt: skip


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_no_terminal_and_no_reader_ends_the_work(unbuffered):
    env = {"PYTHONIOENCODING": "ascii", "PYTHONUNBUFFERED": unbuffered}
    process = say(out=subprocess.PIPE, env=env)
    assert process.stdout.readline() == b"Gr??e 3 ? 4 ? ?\n"
    process.stdout.close()  # as `head` does
    said = process.communicate(b"\n")[1].decode().splitlines()
    assert said == [
        "geoseg train: nobody reads the output any more; the work goes on without it",
        *("fault: None", "worked"),
    ]
    assert process.returncode == 0
    with open("/dev/full", "wb") as full:
        process = say(out=full, env=env | {"PYTHONIOENCODING": "cp1252"})
        said = process.communicate(b"\n")[1].decode().splitlines()
    assert said[0].startswith("fault: standard output can't be written (No space left")
    assert (said[1:], process.returncode) == (["worked"], 0)


def test_json_is_written_whole(tmp_path):
    files.write_json(tmp_path / "a.json", {"name": "ß"})
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {"name": "ß"}
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "a.json", {"x": float("nan")})
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
