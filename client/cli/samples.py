"""What the commands send: files of samples of any kind, golden records, or made-up samples."""

from collections.abc import Sequence
from pathlib import Path

import click

from client.cli.options import all_of
from client.client import ServingClient
from client.errors import InputError
from client.rpc.metadata import Metadata, Target
from client.samples.golden import Sample
from client.samples.made_up import Bound, random_samples, read_bounds
from client.samples.read import read_samples
from signatures.contract import names
from signatures.contract.record import ExportRecord, RecordError

# These take the same samples, each in its own way.
_OURS = {names.TOP_K, names.FIXED_K, names.ENCODED_IMAGES, names.ENCODED_IMAGES_TOP_K, names.CLASSIFY}


sample_arguments = all_of(
    click.argument("samples", nargs=-1, type=click.Path(path_type=Path, allow_dash=True), metavar="[SAMPLES]..."),
    click.option(
        "--golden", type=click.Path(path_type=Path), metavar="PATH", help="A version directory or its golden file."
    ),
)


def samples_for(
    client: ServingClient, target: Target, paths: Sequence[Path], signature: str = names.SERVING_DEFAULT
) -> tuple[Sample, ...]:
    """Read samples, fitted to the inputs of a signature."""
    metadata = client.metadata(version=target.version, label=target.label)
    return read_samples(paths, metadata, _preprocessing(client, target, metadata), _fitted_to(metadata, signature))


def made_up_for(
    client: ServingClient, metadata: Metadata, count: int, bounds: dict[str, Bound], signature: str
) -> tuple[Sample, ...]:
    """Make up samples for a signature."""
    preprocessing = _preprocessing(client, Target(client.model), metadata)
    fitted_to = _fitted_to(metadata, signature)
    inputs = metadata.signature(fitted_to).inputs
    known = {name: bound for name, bound in bounds.items() if name in inputs}
    return random_samples(metadata, count, preprocessing=preprocessing, bounds=known, signature=fitted_to)


def bounds_of(golden: Path | None) -> dict[str, Bound]:
    """Return the bounds of inputs that a version states in its export.json, given its directory or golden file."""
    if golden is None:
        return {}
    try:
        record = ExportRecord.from_file(golden_path(golden).with_name(names.EXPORT_FILE))
    except RecordError as error:
        raise InputError(str(error)) from error
    return read_bounds(record.input_bounds)


def golden_path(path: Path) -> Path:
    """Return the file of golden records that an option names. Raises InputError if it does not exist."""
    file = path / names.ASSETS_EXTRA / names.GOLDEN_FILE if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"{file} cannot be read: pass a version directory that export-model wrote")
    return file


def _preprocessing(client: ServingClient, target: Target, metadata: Metadata) -> str | None:
    if names.EXPORT_INFO not in metadata.signatures:
        return None
    return client.info(version=target.version, label=target.label).preprocessing


def _fitted_to(metadata: Metadata, signature: str) -> str:
    """Return the signature that samples are read for: the same one for all that sparsehead exports."""
    return names.SERVING_DEFAULT if signature in _OURS and names.SERVING_DEFAULT in metadata.signatures else signature
