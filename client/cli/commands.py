"""The command `serving-client`."""

import sys
from pathlib import Path
from typing import Any

import click
import grpc
import numpy as np

from client.cli import show
from client.cli.bench import bench
from client.cli.check import check
from client.cli.options import Connection, as_json_option, show_or_print, version_options
from client.cli.promote import promote, rollback
from client.cli.verify import verify
from client.client import ServingClient
from client.errors import ClientError, InputError, ServerError, UnreachableError
from client.promotion.move import PromoteError
from client.rpc.channel import ChannelOptions, Tls
from client.samples.image_samples import picture_samples
from client.samples.images import picture_size
from signatures.contract import names

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_OUR_INPUT = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION}


def main() -> None:
    """Run the command line and exit with its status."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run the command line: 0 fine, 1 the answer is no, 2 wrong input, 3 no server in time, 4 a failure of ours."""
    try:
        return int(commands.main(arguments, "serving-client", standalone_mode=False) or 0)
    except click.Abort:
        return 130
    except click.ClickException as error:
        error.show()
        return 2
    except ClientError as error:
        click.echo(f"serving-client: {error}", err=True)
        return _status(error)
    except OSError as error:
        click.echo(f"serving-client: {error}", err=True)
        return 4


def _status(error: ClientError) -> int:
    if isinstance(error, PromoteError):
        return 1
    if isinstance(error, UnreachableError):
        return 3
    if isinstance(error, InputError) or (isinstance(error, ServerError) and error.code in _OUR_INPUT):
        return 2
    return 4


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--address", metavar="HOST:PORT", help="Where the server listens for gRPC; several separated by commas.")
@click.option("--model", metavar="NAME", help="The name that the model is served under.")
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    help="How long each call may take.",
)
@click.option("--tls", is_flag=True, help="Use TLS, trusting the usual authorities.")
@click.option("--ca", type=_FILE, metavar="FILE", help="Use TLS, trusting the authority in this PEM file.")
@click.option("--certificate", type=_FILE, metavar="FILE", help="Your own certificate, for mutual TLS.")
@click.option("--key", type=_FILE, metavar="FILE", help="Its key.")
@click.option("--server-name", metavar="NAME", help="The name in the server's certificate, if not that of the address.")
@click.option("--token-file", type=_FILE, metavar="FILE", help="Send the bearer token in this file; wants TLS.")
@click.option("--token-over-plaintext", is_flag=True, help="Send the token without TLS too.")
@click.option("--gzip", is_flag=True, help="Compress requests.")
@click.pass_context
def commands(
    context: click.Context,
    address: str | None,
    model: str | None,
    timeout: float,
    tls: bool,
    ca: Path | None,
    certificate: Path | None,
    key: Path | None,
    server_name: str | None,
    token_file: Path | None,
    token_over_plaintext: bool,
    gzip: bool,
) -> None:
    """Call a model on a TensorFlow Serving server, and check that it is what was exported."""
    secure = tls or any(value is not None for value in (ca, certificate, key, server_name))
    options = ChannelOptions(
        tls=Tls(ca=ca, certificate=certificate, key=key, server_name=server_name) if secure else None,
        token=None if token_file is None else token_file.read_bytes().decode("latin-1").strip(),
        secrets_over_plaintext=token_over_plaintext,
        gzip=gzip,
    )
    context.obj = Connection(address, model, timeout, options)


@commands.command()
@as_json_option
@click.pass_obj
def status(connection: Connection, as_json: bool) -> int:
    """Show the versions of the model and their states; status 1 when none is available."""
    with connection.open() as client:
        versions = client.status()
    show_or_print({"model": client.model, "versions": versions}, as_json, lambda: show.status(client.model, versions))
    return 0 if any(version.state == "AVAILABLE" for version in versions) else 1


@commands.command()
@version_options
@as_json_option
@click.pass_obj
def metadata(connection: Connection, version: int | None, label: str | None, as_json: bool) -> None:
    """Show the signatures: inputs, outputs, dtypes, shapes, defaults."""
    with connection.open() as client:
        found = client.metadata(version=version, label=label)
    show_or_print(found, as_json, lambda: show.metadata(found))


@commands.command()
@version_options
@as_json_option
@click.pass_obj
def info(connection: Connection, version: int | None, label: str | None, as_json: bool) -> None:
    """Show the identity that the served export gives of itself."""
    with connection.open() as client:
        found = client.info(version=version, label=label)
    show_or_print(found, as_json, lambda: show.info(found))


@commands.command()
@click.argument("pictures", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--k", type=int, help="How many labels to keep; the export's default where it is left out.")
@version_options
@as_json_option
@click.pass_obj
def predict(
    connection: Connection,
    pictures: tuple[Path, ...],
    k: int | None,
    version: int | None,
    label: str | None,
    as_json: bool,
) -> None:
    """Show the labels that the model keeps for PICTURES, and their scores."""
    with connection.open() as client:
        predictions = _predictions(client, pictures, k, version, label)
    show_or_print({"model": client.model, "predictions": predictions}, as_json, lambda: show.predictions(predictions))


def _predictions(
    client: ServingClient, pictures: tuple[Path, ...], k: int | None, version: int | None, label: str | None
) -> list[dict[str, Any]]:
    metadata = client.metadata(version=version, label=label)
    preprocessing = client.info(version=version, label=label).preprocessing
    samples = picture_samples(pictures, metadata, preprocessing)
    by_file = names.ENCODED_IMAGES_TOP_K in metadata.signatures
    found = []
    for path, sample in zip(pictures, samples, strict=True):
        ((name, pixels),) = sample.inputs.items()
        if by_file and sample.file is not None:
            signature, inputs = names.ENCODED_IMAGES_TOP_K, {names.ENCODED_IMAGES: np.array([sample.file], object)}
        else:
            signature, inputs = names.TOP_K, {name: pixels}
            if picture_size(path) != (pixels.shape[2], pixels.shape[1]):
                click.echo(f"{path} was resized to {pixels.shape[2]}x{pixels.shape[1]}", err=True)
        answer = client.predict(inputs, k, signature, version=version, label=label)
        kept = _kept(answer[names.INDICES][0], answer[names.LABELS][0], answer[names.SCORES][0])
        found.append({"picture": str(path), "signature": signature, "kept": kept})
    return found


def _kept(indices: Any, labels: Any, scores: Any) -> list[dict[str, Any]]:
    return [
        {"index": int(index), "label": label.decode(errors="backslashreplace"), "score": float(score)}
        for index, label, score in zip(indices, labels, scores, strict=True)
        if index != names.NO_INDEX
    ]


for command in (check, bench, promote, rollback, verify):
    commands.add_command(command)
