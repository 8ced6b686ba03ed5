"""What a whole process costs. As a script, it runs the command in its arguments and prints what that took.

A process counts as its own peak what its parent held when it started it, so a small one has to start it.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence


def process_cost(command: Sequence[str]) -> dict[str, float]:
    """Run a process to its end, and return its wall time in seconds and its peak memory in MB.

    Raises:
        RuntimeError: if it ends with another status than 0.
    """
    with tempfile.TemporaryFile("w+") as said:
        launcher = [sys.executable, "-S", __file__, *command]
        done = subprocess.run(launcher, stdout=subprocess.PIPE, stderr=said, text=True, check=False)
        if done.returncode:
            said.seek(0)
            last = said.read().strip().splitlines()[-1:]
            raise RuntimeError(f"a process to measure ended with status {done.returncode}: {' '.join(last)}")
    seconds, megabytes = map(float, done.stdout.split())
    return {"wall time": seconds, "peak memory": megabytes}


def _launch(command: Sequence[str]) -> int:
    started = time.perf_counter()
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    process = subprocess.Popen(command, stdout=sys.stderr, env=quiet)
    _, status, usage = os.wait4(process.pid, 0)
    print(time.perf_counter() - started, usage.ru_maxrss / 1024)
    process.returncode = os.waitstatus_to_exitcode(status)
    return abs(process.returncode)


if __name__ == "__main__":
    sys.exit(_launch(sys.argv[1:]))
