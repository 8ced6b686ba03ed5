"""Run the command of an engine, so that Ctrl-C leaves nothing half-created."""

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import IO

# How long an engine may take for anything but fetching an image.
_SECONDS = 120.0
# How long a process may take to end in an orderly way.
_STOP_SECONDS = 10.0
_ADVICE = ("Run '", "See '")


@dataclass(frozen=True)
class Finished:
    """A command that has ended.

    Attributes:
        status: its exit status.
        stdout: what it wrote to stdout.
        stderr: what it wrote to stderr.
    """

    status: int
    stdout: str
    stderr: str

    @property
    def last_line(self) -> str:
        """The last line of stderr, or else of stdout, that is not advice on where to find help."""
        output = (self.stderr.strip() or self.stdout.strip()).splitlines()
        lines = [line.strip() for line in output if line.strip() and not line.startswith(_ADVICE)]
        return lines[-1] if lines else f"it ended with status {self.status} and wrote nothing"


def run(
    command: Sequence[str],
    *,
    seconds: float = _SECONDS,
    give_up: bool = False,
    environment: Mapping[str, str] | None = None,
    feed: Callable[[IO[bytes]], None] | None = None,
) -> Finished:
    """Run a command to its end.

    It runs in a separate session, which Ctrl-C does not reach: the creation of a container is completed, so that it
    can be removed.

    Args:
        command: the program and its arguments.
        seconds: how long it may take; then it is killed.
        give_up: kill it at once when this process is interrupted, because it creates nothing that must be removed.
        environment: its environment; by default this process's own.
        feed: writes what the command reads from stdin.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL if feed is None else subprocess.PIPE,
            stdout=out,
            stderr=err,
            env=environment,
            start_new_session=True,
        )
        try:
            if feed is not None and process.stdin is not None:
                # A command that ends early says why on stderr.
                with suppress(BrokenPipeError), process.stdin:
                    feed(process.stdin)
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            with suppress(BaseException):
                err.write(f"\nit was stopped because it took more than {seconds:g} s".encode())
        except BaseException:
            if not give_up:
                _wait_in_spite_of_interrupts(process, seconds)
            raise
        finally:
            process.kill()
            process.wait()
        return Finished(process.returncode, _text(out), _text(err))


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that no program listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Ask the leader of a process group to end, then kill it, with everything that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _wait_in_spite_of_interrupts(process: subprocess.Popen[bytes], seconds: float) -> None:
    until = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < until:
        with suppress(KeyboardInterrupt):
            time.sleep(0.05)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
