"""Started by test_images: runs a module that may write no file of more than so many bytes.

Files that the system itself refuses to make longer are a full disk.
"""

import resource
import runpy
import sys

if __name__ == "__main__":
    limit, module = int(sys.argv[1]), sys.argv[2]
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    sys.argv[:] = sys.argv[2:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
