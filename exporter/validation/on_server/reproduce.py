"""Write the script that is kept with a refused version. It serves the version the same way, and repeats what failed."""

import shlex
import shutil
from pathlib import Path

from exporter.deploy.start import GRPC_PORT
from exporter.errors import ValidationError
from exporter.validation.on_server.check import check_arguments
from exporter.validation.on_server.readiness import LAST_WORDS
from exporter.validation.on_server.servable import Servable
from exporter.validation.on_server.servers.server import Server
from exporter.validation.on_server.survival import REQUEST_SECONDS, SERVICE, FailedByRequestError
from signatures.contract import names

SCRIPT = "reproduce.sh"
# The files that the script needs, beside it.
FOLDER = "reproduce"
_REQUEST = f"{FOLDER}/request.bin"
_ADDRESS = f"localhost:{GRPC_PORT}"


def write_script(server: Server, servable: Servable, error: ValidationError, *, gpu: bool) -> None:
    """Write the script into the version's directory, which will be kept."""
    directory = servable.directory
    reproduction = server.reproduction()
    servable.write_files(directory / FOLDER, reproduction.root)
    golden = directory / names.ASSETS_EXTRA / names.GOLDEN_FILE
    if not golden.exists():
        shutil.copyfile(servable.golden, golden)
    status = shlex.join(["serving-client", "--address", _ADDRESS, "--model", servable.model, "status"])
    lines = [
        "#!/bin/sh",
        f"# export-model refused this version: {str(error).splitlines()[0].removesuffix(LAST_WORDS)}",
        "# This serves it the same way, repeats what failed, and removes the server.",
        'cd "$(dirname "$0")" || exit',
        f"trap {shlex.quote(reproduction.stop)} EXIT",
        "trap 'exit 130' INT TERM",
        *reproduction.start,
        f"until {status} 2>/dev/null; do {reproduction.alive} || exit 1; sleep 1; done",
        *_question(directory, servable, error, gpu),
    ]
    script = directory / SCRIPT
    script.write_text("\n".join(lines) + "\n", encoding="utf-8")
    script.chmod(0o755)


def _question(directory: Path, servable: Servable, error: ValidationError, gpu: bool) -> list[str]:
    """Return the line that repeats the failure: the request that failed, or the check."""
    if not isinstance(error, FailedByRequestError):
        return [shlex.join(["serving-client", *check_arguments(_ADDRESS, servable, ".", gpu=gpu)])]
    (directory / _REQUEST).write_bytes(error.request.message)
    send = (
        f"import grpc; print(grpc.insecure_channel({_ADDRESS!r}).unary_unary({SERVICE + error.request.method!r})"
        f"(open({_REQUEST!r}, 'rb').read(), timeout={REQUEST_SECONDS:g}))"
    )
    return [shlex.join(["python3", "-c", send])]
