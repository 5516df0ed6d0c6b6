"""What each of two processes does in test_ddp: without geoseg's tensor rooms, which load slowly."""

import os
import signal
import time

from geoseg.errors import InputError
from geoseg.training.processes import launch


def fault() -> str:
    """The second process has a fault, and the first one, waiting for it, loses it."""
    import torch
    from torch import distributed

    distributed.init_process_group("gloo")
    if launch.place().rank == 1:
        raise InputError("s.tif: is gone")
    distributed.all_reduce(torch.ones(1))
    return "done"


def place() -> str:
    """Which process this is; the last one takes its time."""
    here = launch.place()
    assert here.count == 1 or os.environ["TORCH_CPP_LOG_LEVEL"] == "ERROR", "torch would say much"
    time.sleep(0.3 * here.rank)
    return f"{here.rank} of {here.count}"


def killed() -> str:
    """The second process ends as if the system had killed it."""
    if launch.place().rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)
    return ""


def forever() -> str:
    """Both say that they run, and go on."""
    print("runs")
    time.sleep(60)
    return ""
