"""The door of all commands, with a made-up one: help, faults, exit status."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from geoseg.commands.run import to_objects
from geoseg.errors import InputError
from geoseg.mosaic import MosaicConfig
from geoseg.sample import SampleConfig
from geoseg.training.config import TrainConfig
from tests.made import started

COMMAND = '''
import multiprocessing
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy

from geoseg.commands import conf
from geoseg.commands.run import run
from geoseg.errors import Faults, InputError
from geoseg.outputs.lock import held

conf.CONF = Path(__file__).parent


@dataclass
class Ring:
    """A part with checks of its own."""

    size: int = 256
    """Pixels of a side."""

    def __post_init__(self):
        if self.size < 8:
            raise InputError(f"ring.size={self.size}: must be at least 8 pixels")


@dataclass
class Knot(Ring):
    """Another part."""

    size: int = 16
    """Pixels of a knot."""


@dataclass
class BendConfig:
    """Bend a made-up thing."""

    path: str | None = None
    """Where it lies."""
    times: int = 3
    """How often,
    and over two lines."""
    ring: Ring = field(default_factory=Ring)
    knot: Knot = field(default_factory=Knot)


def main(cfg):
    if cfg.path == "none":
        raise InputError("none: no such file; give another", "and a second fault")
    if cfg.path == "full":
        raise OSError(28, "No space left on device", "big.tif")
    if cfg.path == "large":
        numpy.empty(1 << 60, "uint8")
    if cfg.path == "stop":
        raise KeyboardInterrupt
    if cfg.path == "finders":
        print(*(type(finder).__name__ for finder in sys.meta_path))
    if cfg.path == "term":
        with held("out", "bend"):
            child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
            child.start()
            print(child.pid, flush=True)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
    print(f"{cfg.times} times {type(cfg.ring).__name__} {cfg.ring.size}")


if __name__ == "__main__":
    run("bend", BendConfig, main)
'''
CONF = """
defaults:
  - bend_schema
  - ring: null
  - _self_
  - override hydra/job_logging: disabled
  - override hydra/hydra_logging: disabled
hydra:
  run: {dir: .}
  output_subdir: null
times: 4
"""


@pytest.fixture
def bend(tmp_path: Path):
    (tmp_path / "bend.py").write_text(COMMAND)
    (tmp_path / "bend.yaml").write_text(CONF)
    (tmp_path / "ring").mkdir()
    (tmp_path / "ring" / "wide.yaml").write_text("size: 512\n")
    (tmp_path / "ring" / "wrong.yaml").write_text("sise: 512\n")
    before = set(tmp_path.iterdir())

    def run(*words: str, itself: bool = False) -> subprocess.CompletedProcess[str]:
        """itself: in a Python of its own, not in a fork of one that has loaded the libraries."""
        environment = os.environ | {"COLUMNS": "100"}
        if itself:
            done = subprocess.run(
                [sys.executable, "bend.py", *words], capture_output=True, text=True, cwd=tmp_path,
                check=False, env=environment,
            )  # fmt: skip
        else:
            done = started.run("-m", "bend", *words, cwd=tmp_path, env=environment)
            shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
        assert "Traceback" not in done.stderr
        assert set(tmp_path.iterdir()) == before, "Hydra left something behind"
        return done

    return run


def test_default_then_yaml_then_command_line(bend):
    assert bend(itself=True).stdout == "4 times Ring 256\n"
    assert bend("times=5", "ring=wide").stdout == "5 times Ring 512\n"
    done = bend("ring=wide", "ring.size=64")
    assert (done.returncode, done.stdout, done.stderr) == (0, "4 times Ring 64\n", "")


def test_libraries_are_imported_as_a_process_of_one_command_may(bend):
    assert "ImportsWithoutSearch" in bend("path=finders").stdout.splitlines()[0].split()


def test_help_gives_purpose_keys_and_groups(bend):
    done = bend("--help")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "geoseg bend key=value …",
        "",
        "Bend a made-up thing.",
        "",
        "Usual keys:",
        "  path                      Where it lies. [none]",
        "  times                     How often, and over two lines. [3]",
        "",
        "Ready-made groups, each a file of settings:",
        "  ring=                     wide | wrong",
        "",
        "ring: A part with checks of its own.",
        "  ring.size                 Pixels of a side. [256]",
        "",
        "knot: Another part.",
        "  knot.size                 Pixels of a knot. [16]",
        "",
        "Options:",
        "  --help                    This text.",
        "  --config-dir              Folder of settings, as <run>/.hydra; with "
        "--config-name config.",
        "",
        "The same as python -m geoseg.bend; all commands: geoseg",
    ]


def test_an_empty_output_is_not_the_folder_where_one_is():
    for schema, name in ((MosaicConfig, "out"), (SampleConfig, "out"), (TrainConfig, "run")):
        cfg = OmegaConf.merge(OmegaConf.structured(schema), {name: ""})
        with pytest.raises(InputError, match=f"^{name}: is empty"):
            to_objects(cfg, schema)


def test_faults_go_to_stderr_each_on_a_line_and_end_with_1(bend):
    done = bend("path=none")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "geoseg bend: none: no such file; give another",
        "geoseg bend: and a second fault",
    ]


def test_a_full_disk_is_a_fault(bend):
    done = bend("path=full")
    assert (done.returncode, done.stderr) == (1, "geoseg bend: big.tif: No space left on device\n")


def test_want_of_memory_is_a_fault(bend):
    done = bend("path=large")
    assert done.returncode == 1
    assert done.stderr.startswith("geoseg bend: not enough memory (Unable to allocate 1.00 EiB")


def test_an_interrupt_ends_with_130(bend):
    done = bend("path=stop", itself=True)
    assert done.returncode == 130
    assert done.stderr == "geoseg bend: stopped; the same command goes on from here\n"


def test_sigterm_is_an_interrupt_that_ends_with_143_and_leaves_nothing(bend):
    done = bend("path=term", itself=True)  # the fixture looks for what is left, such as the lock
    assert done.returncode == 143
    assert done.stderr == "geoseg bend: stopped; the same command goes on from here\n"
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout), 0)


def test_faults_of_all_parts_come_at_once(bend):
    done = bend("ring.size=7", "knot.size=6")
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "geoseg bend: ring.size=7: must be at least 8 pixels",
        "geoseg bend: ring.size=6: must be at least 8 pixels",
    ]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["tims=3"], ["tims"]),
        (["ring.sise=3"], ["ring.sise"]),
        (["times=many"], ["times", "many"]),
        (["ring=wrong"], ["sise"]),
        (["ring=none"], ["ring=none", "wide"]),
        (["times"], ["times"]),
    ],
)
def test_unknown_keys_and_wrong_types_are_named(bend, words, told):
    done = bend(*words)
    assert done.returncode == 1
    assert done.stdout == ""
    assert all(text in done.stderr for text in told)
