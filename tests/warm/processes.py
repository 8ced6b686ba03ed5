"""A process that has loaded TensorFlow, and forks for each command, which otherwise takes seconds to load it.

A command is sent by command.py, through a socket. It runs in a child of a child: the one between waits for its end, and
passes signals on.
"""

import gc
import json
import os
import resource
import runpy
import select
import signal
import socket
import sys
from contextlib import suppress


def serve(place: str) -> None:
    """Fork for each connection to a socket, until stdin is closed."""
    import client.cli
    import exporter.cli.command
    import exporter.pipeline
    import server.cli
    import server.model_server

    commands = {
        "export-model": exporter.cli.command.main,
        "serve-model": server.cli.main,
        "serving-client": client.cli.main,
        "python": run_file,
    }
    # What is never searched for garbage stays shared with the children.
    gc.freeze()
    # Nobody waits for the children.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place)
        listener.listen(64)
        print("ready", flush=True)
        while listener in select.select([listener, sys.stdin], [], [])[0]:
            connection, _ = listener.accept()
            if os.fork():
                connection.close()
                continue
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            run(connection, commands)


def run_file() -> None:
    """Do what `python FILE ARGUMENTS` does."""
    del sys.argv[0]
    sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))
    runpy.run_path(sys.argv[0], run_name="__main__")


def run(connection, commands) -> None:
    """Run what was sent, in a child; only this one returns."""
    size, files, _, _ = socket.recv_fds(connection, 4, 3)
    content = b""
    while len(content) < int.from_bytes(size):
        content += connection.recv(1 << 16)
    child = os.fork()
    if child:
        for file in files:
            os.close(file)
        wait_for(child, connection)
        os._exit(0)
    connection.close()
    told = json.loads(content)
    become(files, told)
    name, *arguments = told["words"]
    sys.argv = [name, *arguments]
    sys.exit(commands[name]())


def wait_for(child, connection) -> None:
    """Pass signals on to a child, and its status back; it does not outlive whoever sent it."""
    ended = os.pidfd_open(child)
    while ended not in (ready := select.select([connection, ended], [], [])[0]) and ready:
        sent = connection.recv(1)
        os.kill(child, sent[0] if sent else signal.SIGKILL)
        if not sent:
            break
    _, status = os.waitpid(child, 0)
    with suppress(OSError):
        connection.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, signed=True))


def become(files, told) -> None:
    """Take over what a process gets from the one that starts it."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    sys.stdin, sys.stdout, sys.stderr = (open(number, mode) for number, mode in enumerate("rww"))  # noqa: SIM115
    sys.stderr.reconfigure(line_buffering=True)
    os.chdir(told["directory"])
    os.environ.clear()
    os.environ.update(told["environment"])
    sys.path[:0] = [path for path in os.environ.get("PYTHONPATH", "").split(":") if path]
    resource.setrlimit(resource.RLIMIT_FSIZE, told["file_size"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


if __name__ == "__main__":
    serve(sys.argv[1])
