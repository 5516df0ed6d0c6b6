"""Started by tests/made/as_python.py in place of a process that multiprocessing spawns: does its
work, in a fork that has loaded what it needs."""

import sys
from multiprocessing.spawn import spawn_main

if __name__ == "__main__":
    tracker, pipe = map(int, sys.argv[1:])
    sys.argv[1:] = ["--multiprocessing-fork"]
    spawn_main(tracker_fd=tracker, pipe_handle=pipe)
