"""A separate process that passes on what another writes to stderr, except known noise from TensorFlow's C++ code.

It is a separate process so that the last output of a process that dies is passed on too. It imports little, and none
of our modules.
"""

import os
import re
import select

# Lines that every export would show and that no user can act on.
_NOISE = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog\(\) is called are written to STDERR"
    rb"|I\d{4} .*MLIR V1 optimization pass is not enabled"
    rb"|.*Function was cancelled before it was started"
)

# Lines are written whole. Text without a line end for this long is progress output, or the last output.
_SECONDS = 0.2


def pass_on(source: int, target: int) -> None:
    """Copy lines from one file descriptor to another until the first ends, except those that match _NOISE."""
    pending = b""
    # Whether the beginning of the line has been passed on.
    begun = False
    while True:
        if pending and not select.select([source], [], [], _SECONDS)[0]:
            _write(target, pending)
            pending, begun = b"", True
        chunk = os.read(source, 65536)
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            if begun or not _NOISE.fullmatch(line.rstrip(b"\r")):
                _write(target, line + b"\n")
            begun = False
        if not chunk:
            _write(target, pending)
            return


def _write(target: int, text: bytes) -> None:
    while text:
        text = text[os.write(target, text) :]


if __name__ == "__main__":
    pass_on(0, 2)
