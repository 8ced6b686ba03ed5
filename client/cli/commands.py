"""The command `serving-client`."""

import io
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import grpc

from client.cli import show
from client.cli.bench import bench
from client.cli.check import check
from client.cli.connection import ConnectedCommand, ConnectedGroup, Connection
from client.cli.emit import emit_request
from client.cli.history import history
from client.cli.options import as_json_option, show_or_print, version_options
from client.cli.predict import predict
from client.cli.promote import promote, rollback
from client.cli.qualify import qualify
from client.cli.samples import golden_path
from client.cli.verify import verify
from client.errors import ClientError, InputError, ServerError, UnreachableError
from client.promotion.plan import PromoteError
from client.rpc.metadata import ExportInfo, ReplicaStatus
from signatures.contract import names
from signatures.contract.record import ExportRecord, RecordError

_OUR_INPUT = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION}


def main() -> None:
    """Run the command line and exit with its status."""
    for stream in (sys.stdout, sys.stderr):
        # Labels and file names may contain anything: characters that a terminal cannot show are escaped.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command line: 0 success, 1 a negative answer, 2 wrong input, 3 no server in time, 4 any other failure."""
    try:
        return int(commands.main(arguments, "serving-client", standalone_mode=False) or 0)
    except click.Abort:
        return 130
    except click.ClickException as error:
        error.show(sys.stderr)
        return 2
    except ClientError as error:
        print(f"serving-client: {error}", file=sys.stderr)
        return _status(error)
    except OSError as error:
        print(f"serving-client: {error}", file=sys.stderr)
        return 4


def _status(error: ClientError) -> int:
    if isinstance(error, PromoteError):
        return 1
    if isinstance(error, UnreachableError):
        return 3
    if isinstance(error, InputError) or (isinstance(error, ServerError) and error.code in _OUR_INPUT):
        return 2
    return 4


@click.group(cls=ConnectedGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sparsehead", prog_name="serving-client", message="%(prog)s %(version)s")
def commands() -> None:
    """Call a model on a TensorFlow Serving server, and check that it is what was exported."""


@commands.command(cls=ConnectedCommand)
@as_json_option
@click.pass_obj
def status(connection: Connection, as_json: bool) -> int:
    """Show the versions of the model and their states; status 1 unless one is available at every address."""
    replicas = _replicas(connection)
    model, available = connection.required_model(), all(replica.available for replica in replicas)
    value: dict[str, Any] = {"model": model, "versions": replicas[0].versions}
    if len(replicas) > 1:
        value = {"model": model, "available": available, "replicas": replicas}
    show_or_print(value, as_json, lambda: show.status(model, replicas))
    return 0 if available else 1


def _replicas(connection: Connection) -> list[ReplicaStatus]:
    """Ask each address. Raises the first error if no address answers."""
    replicas: list[ReplicaStatus] = []
    errors: list[ServerError] = []
    for address in connection.addresses():
        try:
            with connection.open(address) as client:
                replicas.append(ReplicaStatus(address, client.status()))
        except ServerError as error:
            errors.append(error)
            replicas.append(ReplicaStatus(address, error=str(error)))
    if len(errors) == len(replicas):
        raise errors[0]
    return replicas


@commands.command(cls=ConnectedCommand)
@version_options
@as_json_option
@click.pass_obj
def metadata(connection: Connection, version: int | None, label: str | None, as_json: bool) -> None:
    """Show the signatures: inputs, outputs, dtypes, shapes, defaults."""
    with connection.open() as client:
        found = client.metadata(version=version, label=label)
    show_or_print(found, as_json, lambda: show.metadata(found))


@commands.command(cls=ConnectedCommand)
@click.option("--labels", "all_labels", is_flag=True, help="List all labels, by index, one on each line.")
@click.option(
    "--golden", type=click.Path(path_type=Path), metavar="PATH", help="Its version directory: show where it comes from."
)
@version_options
@as_json_option
@click.pass_obj
def info(
    connection: Connection, all_labels: bool, golden: Path | None, version: int | None, label: str | None, as_json: bool
) -> None:
    """Show the identity of the served export."""
    with connection.open() as client:
        found = client.info(version=version, label=label)
    origin = {} if golden is None else _origin(golden, found)
    value = {**asdict(found), "origin": origin} if origin else found
    show_or_print(value, as_json, lambda: show.labels(found) if all_labels else show.info(found, origin))


def _origin(golden: Path, served: ExportInfo) -> dict[str, Any]:
    """Return where a version comes from, from its directory. The server reports only which export it is."""
    try:
        record = ExportRecord.from_file(golden_path(golden).with_name(names.EXPORT_FILE))
    except RecordError as error:
        raise InputError(str(error)) from error
    if record.export_id != served.export_id:
        raise InputError(f"{golden} is the export {record.export_id}, and {served.export_id} is served")
    return record.origin


for command in (predict, check, bench, qualify, emit_request, promote, rollback, history, verify):
    commands.add_command(command)
