"""A folder belongs to one command at a time; locks of who is gone count for nothing."""

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import asdict, replace

import pytest

from geoseg.errors import InputError
from geoseg.outputs import lock
from geoseg.outputs.lock import Holder, alone, held, holder, lock_path


@pytest.fixture
def other(monkeypatch):
    """A process that runs, and that is not this one."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        mine = Holder.here("train")
        yield replace(mine, process=process.pid, started=lock._start_of(process.pid))
        process.kill()


def leave(folder, who, *, name="", silent=0.0):
    """A lock in a folder that was last touched so many seconds ago."""
    folder.mkdir(exist_ok=True)
    path = lock_path(folder, name)
    path.write_text(json.dumps(asdict(who)))
    when = path.stat().st_mtime - silent
    os.utime(path, (when, when))
    return path


def test_the_second_is_told_who_the_first_is(tmp_path, other):
    leave(tmp_path / "run", other)
    told = rf"run: geoseg train \(process {other.process} on .*, since {re.escape(other.since)}\)"
    with pytest.raises(InputError, match=told), held(tmp_path / "run", "predict"):
        pytest.fail("both work")
    assert holder(tmp_path / "run") == other
    with held(tmp_path / "run", "mosaic", name="a.tif"):  # another output in the same folder
        pass
    assert [p.name for p in (tmp_path / "run").iterdir()] == [".lock"]


def test_a_lock_is_given_back_whatever_ends_the_work(tmp_path):
    for error in (InputError("x"), KeyboardInterrupt(), None):
        try:
            with held(tmp_path / "new" / "out", "prepare"):
                assert holder(tmp_path / "new" / "out").process == os.getpid()
                with pytest.raises(InputError, match="prepare"), held(tmp_path / "new/out", "x"):
                    pass
                if error:
                    raise error
        except (InputError, KeyboardInterrupt) as raised:
            assert raised is error  # noqa: PT017
        assert not (tmp_path / "new").exists(), "folders made for nothing stay"
    with held(tmp_path / "out", "prepare"):
        (tmp_path / "out" / "a").touch()
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a"]


def test_locks_of_processes_that_are_gone_count_for_nothing(tmp_path, other):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for who in (
        replace(other, process=gone.pid, started="1"),
        replace(other, started="1"),  # the same number, another process
        replace(other, host="elsewhere", started="1"),
    ):
        leave(tmp_path / "out", who, silent=lock.SILENCE + 60)
        with held(tmp_path / "out", "train"):
            assert holder(tmp_path / "out").process == os.getpid()
    path = lock_path(tmp_path / "out")
    path.write_text("")  # a power cut
    os.utime(path, (1e9, 1e9))
    with held(tmp_path / "out", "train"):
        pass
    assert not list((tmp_path / "out").iterdir())


def test_a_process_of_another_user_whose_start_is_hidden_is_alive(tmp_path, other, monkeypatch):
    def kill(process, signal):
        raise PermissionError

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(lock.os, "kill", kill)
        patch.setattr(lock, "_start_of", lambda process: "")
        leave(run, other, silent=lock.SILENCE / 2)
        with pytest.raises(InputError, match="is writing there"), held(run, "predict"):
            pytest.fail("both work")
        leave(run, other, silent=lock.SILENCE + 60)
        with held(run, "predict"):
            pass
    lock_path(run).write_text("")  # what an account that may not read it sees
    os.utime(lock_path(run), (time.time() - 60,) * 2)
    with monkeypatch.context() as patch:
        patch.setattr(lock.os, "access", lambda path, mode: path != lock_path(run))
        with pytest.raises(InputError, match="can't be read"), held(run, "predict"):
            pytest.fail("both work")


def test_a_process_that_nobody_asked_for_its_status_is_gone(tmp_path, other):
    zombie = subprocess.Popen([sys.executable, "-c", ""])
    started = lock._start_of(zombie.pid)
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    assert started != ""
    leave(tmp_path / "out", replace(other, process=zombie.pid, started=started))
    with held(tmp_path / "out", "train"):
        pass
    zombie.wait()


def test_a_lock_of_another_machine_is_named_with_how_to_remove_it(tmp_path, other):
    path = leave(tmp_path / "out", replace(other, host="node7 x y"), silent=50)
    told = rf"on node7, since .* 5\d seconds ago; if it is gone, remove {path}"
    with pytest.raises(InputError, match=told), held(tmp_path / "out", "train"):
        pass
    assert path.exists()


def test_a_folder_that_is_removed_meanwhile_is_a_fault(tmp_path):
    @alone("predict", "out")
    def predict(out):
        lock_path(out).unlink()
        out.rmdir()

    with pytest.raises(InputError, match=r"out: somebody removed it.*while geoseg predict"):
        predict(tmp_path / "out")


def test_the_holder_gives_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.01)
    with held(tmp_path, "train"):
        path = lock_path(tmp_path)
        os.utime(path, (1e9, 1e9))
        for _ in range(500):
            if path.stat().st_mtime > 1e9:
                break
            lock.time.sleep(0.01)
        assert path.stat().st_mtime > 1e9


def test_functions_have_their_folder_for_themselves(tmp_path):
    class Config:
        run = tmp_path / "run"

    @alone("train", "config.run")
    def train(dataset, config, *, epochs=1):
        assert holder(Config.run).command == "train"
        return dataset, epochs

    assert train("d", Config, epochs=3) == ("d", 3)
    assert train.__name__ == "train"
    assert not Config.run.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_where_nobody_may_write_needs_no_lock(tmp_path):
    tmp_path.chmod(0o500)
    with held(tmp_path, "prepare"):
        assert not list(tmp_path.iterdir())


def test_on_windows_signs_of_life_tell_whether_a_process_runs(monkeypatch, other):
    """There os.kill(process, 0) is a Ctrl+C, and an error of it does not say that it is gone."""
    # Only here: os is that of all, which is to end the other process afterwards.
    with monkeypatch.context() as patched:
        patched.setattr(lock.sys, "platform", "win32")
        patched.setattr(lock.os, "kill", lambda *_: pytest.fail("it was interrupted"))
        assert other.is_alive(lock.SILENCE / 2)
        assert not other.is_alive(lock.SILENCE + 1)
