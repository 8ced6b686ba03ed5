"""Stand in for a command: processes.py runs it, with the arguments, directory, environment and files of this process.

It imports as little as it can.
"""

import json
import os
import resource
import signal
import socket
import sys


def main(place: str, *words: str) -> None:
    told = {
        "words": words,
        "directory": os.getcwd(),
        "environment": dict(os.environ),
        "file_size": resource.getrlimit(resource.RLIMIT_FSIZE),
    }
    content = json.dumps(told).encode()
    with socket.socket(socket.AF_UNIX) as processes:
        processes.connect(place)
        socket.send_fds(processes, [len(content).to_bytes(4)], [0, 1, 2])
        processes.sendall(content)
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda number, _: processes.send(bytes([number])))
        status = int.from_bytes(processes.recv(4), signed=True)
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


if __name__ == "__main__":
    main(*sys.argv[1:])
