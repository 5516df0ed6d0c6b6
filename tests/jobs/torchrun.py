"""Started by test_processes: what torchrun does, whose processes are forks that load nothing.

The agent, the rendezvous and all that the processes are told are those of torchrun itself.
"""

import runpy
import sys

from torch.distributed.launcher.api import LaunchConfig, elastic_launch

HERE = LaunchConfig(
    min_nodes=1, max_nodes=1, nproc_per_node=2, rdzv_backend="c10d",
    rdzv_endpoint="localhost:0", run_id="test", max_restarts=0, start_method="fork",
)  # fmt: skip


def work(*words: str) -> None:
    sys.argv = list(words)
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    assert sys.argv[1] == "-m"
    elastic_launch(HERE, work)(*sys.argv[2:])
