"""`serving-client emit-request`."""

import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from client.cli.connection import ConnectedCommand, Connection
from client.cli.options import as_json_option, show_or_print, utf8, version_options
from client.cli.samples import golden_path, sample_arguments, samples_for
from client.rest.http import path as rest_path
from client.rest.json_forms import classify_request, columns, filled, not_callable, rows
from client.rpc.calls import Call, classify_call, predict_call
from client.rpc.inputs import arrange_inputs
from client.rpc.metadata import Signature, Target
from client.samples.golden import Sample
from client.samples.images import with_file
from client.samples.stacking import inputs_of
from signatures.contract import names


@click.command("emit-request", cls=ConnectedCommand)
@sample_arguments
@click.option("--signature", callback=utf8, default=names.SERVING_DEFAULT, show_default=True, help="The signature.")
@click.option("--k", type=int, help="How many labels to keep; the export's default where it is left out.")
@click.option("--min-score", type=float, help="The lowest score to keep; the export's default where it is left out.")
@click.option("--columns", "in_columns", is_flag=True, help="Write the JSON in columns (inputs), not rows (instances).")
@click.option("--output", type=click.Path(path_type=Path), default=Path(), metavar="DIR", help="Where to write.")
@version_options
@as_json_option
@click.pass_obj
def emit_request(
    connection: Connection,
    samples: tuple[Path, ...],
    golden: Path | None,
    signature: str,
    k: int | None,
    min_score: float | None,
    in_columns: bool,
    output: Path,
    version: int | None,
    label: str | None,
    as_json: bool,
) -> None:
    """Write one request with all SAMPLES: request.json for curl, and request.pb, the serialized message, for gRPC.

    Nothing is predicted: the server is asked only for the signature.
    """
    paths = [*samples, *([] if golden is None else [golden_path(golden)])]
    if not paths:
        raise click.UsageError("give SAMPLES to write, or --golden PATH.")
    with connection.open() as client:
        target = Target(client.model, version, label)
        metadata = client.metadata(version=version, label=label)
        served = client.info(version=version, label=label) if names.EXPORT_INFO in metadata.signatures else None
        found = samples_for(client, target, paths, signature)
    if served is not None:
        metadata = metadata.with_defaults(served.k, served.min_score)
        if served.preprocessing is not None:
            found = tuple(with_file(sample, served.preprocessing) for sample in found)
    declared = metadata.signature(signature)
    call, document = _messages(target, declared, found, k, min_score)
    written, reason = {"request.pb": call.request}, not_callable(declared)
    if not reason:
        try:
            written["request.json"] = json.dumps(document(in_columns), allow_nan=False).encode()
        except ValueError:
            reason = "the inputs are not all finite numbers, which JSON cannot hold"
    output.mkdir(parents=True, exist_ok=True)
    for name, content in written.items():
        (output / name).write_bytes(content)
    host = client.addresses[0].rpartition(":")[0]
    url = f"http://{host}:8501{rest_path(target, ':' + call.method.rpartition('/')[2].lower())}"
    curl = f"curl -d @{shlex.quote(str(output / 'request.json'))} {shlex.quote(url)}"
    value: dict[str, Any] = {"method": call.method, "message": str(output / "request.pb"), "examples": len(found)}
    value |= {"json": None, "reason": reason} if reason else {"json": str(output / "request.json"), "curl": curl}
    show_or_print(value, as_json, lambda: _show(value))


def _show(value: dict[str, Any]) -> None:
    click.echo(f"{value['message']}: {value['examples']} examples for {value['method']}")
    if value["json"] is None:
        click.echo(f"REST cannot call the signature: {value['reason']}.")
    else:
        click.echo(f"{value['json']}: the same as JSON, where 8501 is the REST port:\n  {value['curl']}")


def _messages(
    target: Target, signature: Signature, samples: Sequence[Sample], k: int | None, min_score: float | None
) -> tuple[Call[Any], Callable[[bool], dict[str, Any]]]:
    """Return the gRPC call, and a function that returns the same request as JSON, in columns or rows."""
    if signature.key == names.CLASSIFY:
        examples = [_features(sample, k, min_score) for sample in samples]
        return classify_call(target, signature.key, examples), lambda _: classify_request(signature.key, examples)
    inputs = inputs_of(samples, signature)
    arrays = filled(signature, arrange_inputs(signature, inputs, k, min_score))
    return (
        predict_call(target, signature.key, arrays, dtypes=signature.rounded),
        lambda in_columns: (columns if in_columns else rows)(signature.key, arrays),
    )


def _features(sample: Sample, k: int | None, min_score: float | None) -> dict[str, Any]:
    if sample.file is not None:
        features: dict[str, Any] = {names.IMAGE_FEATURE: sample.file}
    else:
        features = {name: array.reshape(-1) for name, array in sample.inputs.items()}
    limits = {
        names.K: sample.k if k is None else k,
        names.MIN_SCORE: sample.min_score if min_score is None else min_score,
    }
    return features | {name: value for name, value in limits.items() if value is not None}
