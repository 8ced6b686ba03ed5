"""The options of `export-model`, and how those about the export become ExportOptions."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exporter.cli.model_options import MODEL_OPTIONS
from exporter.errors import ExportError
from exporter.server_images import DEFAULT_IMAGE

if TYPE_CHECKING:
    from exporter.options import ExportOptions

_PATH = click.Path(path_type=Path)

# The value of --version without a number: show the program's version.
PROGRAM_VERSION = "program"
_BATCH_OPTIONS = (
    "max_request_size",
    "max_batch_size",
    "allowed_batch_sizes",
    "batch_timeout_micros",
    "num_batch_threads",
    "max_enqueued_batches",
    "pad_to",
)


def _read_config(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    """Use the options in a TOML file as defaults, which the command line overrides."""
    if path is None:
        return
    try:
        config = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise click.UsageError(f"{path} could not be read as TOML: {error}.") from error
    parameters = {parameter.opts[-1].lstrip("-"): parameter for parameter in context.command.params}
    if unknown := sorted(set(config) - set(parameters)):
        raise click.UsageError(f"{path} sets {unknown[0]!r}, which is not an option: see export-model --help.")
    context.default_map = {
        parameters[key].name or key: _checked_value(parameters[key], value, f"{path} sets {key} = {value!r}")
        for key, value in config.items()
    }


def _checked_value(parameter: click.Parameter, value: Any, problem: str) -> Any:
    """Return a value in the form that click takes; refuse one that click would silently change, such as 2.5 into 2."""
    if isinstance(parameter.type, _Lengths):
        return value
    if parameter.multiple and not isinstance(value, list):
        value = [value]
    types: tuple[type, ...] = (str, int)
    wanted = "a string"
    if getattr(parameter, "is_flag", False):
        types, wanted = (str, bool), "true or false"
    elif isinstance(parameter.type, click.types.IntParamType):
        wanted = "a whole number"
    elif isinstance(parameter.type, click.types.FloatParamType):
        types, wanted = (str, int, float), "a number"
    for each in value if parameter.multiple else [value]:
        if not isinstance(each, types) or (isinstance(each, bool) and bool not in types):
            raise click.UsageError(f"{problem}; use {wanted}{' or a list of these' if parameter.multiple else ''}.")
    return value


class _Lengths(click.ParamType[tuple[int, ...]]):
    """Numbers separated by commas; in a TOML file, a list of numbers works too."""

    name = "N,..."

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> tuple[int, ...]:
        given = value.split(",") if isinstance(value, str) else value
        try:
            return tuple(int(str(number)) for number in given)
        except (TypeError, ValueError):
            self.fail(f"{value!r} is not a list of lengths; write them as in 16,32,64.", parameter, context)


_OPTIONS = [
    click.option(
        "--config",
        type=_PATH,
        is_eager=True,
        expose_value=False,
        callback=_read_config,
        help="TOML file that sets these options; their names have no leading dashes there.",
    ),
    click.option(
        "--k", default=2, show_default=True, help="How many labels an answer keeps if the request does not set k."
    ),
    click.option(
        "--output",
        type=_PATH,
        default=Path("models"),
        show_default=True,
        help="Directory that holds the base path of each model.",
    ),
    click.option(
        "--min-score",
        type=click.FloatRange(0, 1),
        default=0.0,
        show_default=True,
        help="The lowest score that an answer keeps if the request does not set one.",
    ),
    click.option(
        "--thresholds",
        type=_PATH,
        metavar="FILE",
        help='The lowest score to keep for each label: JSON by label, as in {"cat": 0.5}, or one number for all.',
    ),
    click.option(
        "--fit-thresholds",
        metavar="RULE",
        help="Fit the thresholds on the labeled samples: f1, precision=P or recall=R. Needs scikit-learn.",
    ),
    *MODEL_OPTIONS,
    click.option(
        "--signature", "signatures", multiple=True, help="Export only this signature; repeatable.  [default: all]"
    ),
    click.option(
        "--batching",
        type=click.Choice(["none", "in-graph", "server"]),
        default="none",
        show_default=True,
        help="Where requests are merged into one run of the backbone.",
    ),
    click.option("--max-request-size", type=int, help="The most examples in one request.  [default: 1024]"),
    click.option("--max-batch-size", type=int, help="The most examples in one run of the backbone.  [default: 32]"),
    click.option(
        "--allowed-batch-size",
        "allowed_batch_sizes",
        type=int,
        multiple=True,
        help="A size that batches are padded to; repeatable.  [default: powers of two]",
    ),
    click.option("--batch-timeout-micros", type=int, help="How long a request waits for others.  [default: 2000]"),
    click.option("--num-batch-threads", type=int, help="How many batches run at the same time.  [default: 2]"),
    click.option("--max-enqueued-batches", type=int, help="The most batches that wait.  [default: 100]"),
    click.option(
        "--pad-to",
        type=_Lengths(),
        help="Lengths to pad inputs of variable length to before they share a run, such as 16,32,64.",
    ),
    click.option(
        "--precision",
        type=click.Choice(["float32", "mixed_float16", "mixed_bfloat16"]),
        help="What the backbone computes in.  [default: what the model computes in]",
    ),
    click.option(
        "--max-deviation",
        type=click.FloatRange(0, 1),
        help="Fail if --precision changes a score by more than this.  [default: 0.05 in float16, 0.1 in bfloat16]",
    ),
    click.option(
        "--max-changed-sets",
        type=click.FloatRange(0, 1),
        help="Fail if --precision changes the kept labels of a larger share of the samples.  "
        "[default: 0.1 in float16, 0.2 in bfloat16]",
    ),
    click.option("--jit-compile", is_flag=True, help="Let XLA compile the backbone; the server then needs a flag."),
    click.option("--image", default=DEFAULT_IMAGE, show_default=True, help="The server's image."),
    click.option("--allow-older-image", is_flag=True, help="Export for an image that may be unable to serve it."),
    click.option("--require-gpu-kernels", is_flag=True, help="Refuse a model with an op that has no GPU kernel."),
    # The name of --require-gpu-kernels in the first release.
    click.option("--strict", is_flag=True, hidden=True),
    click.option(
        "--min-exact-match",
        type=click.FloatRange(0, 1),
        help="Fail if all labels are right for a smaller share of the labeled samples.",
    ),
    click.option("--min-f1", type=click.FloatRange(0, 1), help="Fail if the F1 (micro) on labeled samples is lower."),
    click.option("--golden-megabytes", default=8.0, show_default=True, help="The most MB of golden records."),
    click.option(
        "--golden-output", type=_PATH, help="Write the golden records here, and only their digest into the version."
    ),
    click.option(
        "--version",
        is_flag=False,
        flag_value=PROGRAM_VERSION,
        metavar="[N|timestamp]",
        help="The version's number. Without one, show the program's version.  [default: the next]",
    ),
    click.option(
        "--keep",
        type=click.IntRange(1),
        help="Remove all versions but the newest N and those that deploy/models.config names.",
    ),
    click.option(
        "--forbid-breaking-changes",
        is_flag=True,
        help="Refuse a version that would break callers of the newest one; without this, it is a warning.",
    ),
    click.option(
        "--metadata",
        multiple=True,
        metavar="KEY=VALUE",
        help="A fact to record about the export, such as the run that trained the model; repeatable.",
    ),
    click.option(
        "--validate-on",
        multiple=True,
        metavar="TARGET",
        help="Before publishing, serve the version with docker, podman, kubectl, docker:IMAGE or the path of a "
        "tensorflow_model_server, and check it there; repeatable.",
    ),
    click.option(
        "--keep-failed",
        is_flag=True,
        help="Keep a version that fails validation. If a server refused it, add a script that reproduces this.",
    ),
    click.option(
        "--serving-root", default="/models", show_default=True, help="Where the server will see the output directory."
    ),
    click.option("--dry-run", is_flag=True, help="Do everything but publish, and show what would be published."),
    click.option("--list", "list_versions", is_flag=True, help="List the published versions, and export nothing."),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object, and nothing else, on stdout."),
]


def all_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add every option of `export-model` to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def export_options(given: Mapping[str, Any]) -> ExportOptions:
    """Return the options about the export."""
    from exporter.options import ExportOptions
    from exporter.thresholds import read_thresholds
    from signatures import Batching

    sizes = {option: given[option] for option in _BATCH_OPTIONS if given[option] not in (None, ())}
    if sizes and given["batching"] == "none":
        option = next(iter(sizes)).replace("_", "-")
        raise ExportError(f"--{option} needs batching: pass --batching in-graph or --batching server with it.")
    if "max_request_size" in sizes and given["batching"] == "server":
        raise ExportError(
            "--max-request-size is for --batching in-graph: under the server's own batching, --max-batch-size limits "
            "requests, too."
        )
    try:
        batching = Batching(**sizes)
    except ValueError as error:
        raise ExportError(str(error)) from error
    thresholds = given["thresholds"] and read_thresholds(given["thresholds"])
    values = {field.name: given[field.name] for field in fields(ExportOptions) if field.name in given}
    return ExportOptions(
        **{
            **values,
            "thresholds": thresholds,
            "require_gpu_kernels": given["require_gpu_kernels"] or given["strict"],
            "signatures": given["signatures"] or None,
            "batching": batching if given["batching"] == "in-graph" else None,
            "server_batching": batching if given["batching"] == "server" else None,
            "version": _parse_version(given["version"]),
            "metadata": _parse_metadata(given["metadata"]),
        }
    )


def _parse_metadata(pairs: Sequence[str]) -> dict[str, str]:
    metadata: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise ExportError(f"--metadata is {pair!r}; use KEY=VALUE, as in --metadata run=42.")
        if metadata.get(key, value) != value:
            raise ExportError(f"--metadata sets {key!r} to both {metadata[key]!r} and {value!r}: choose one.")
        metadata[key] = value
    return metadata


def _parse_version(text: str | None) -> int | None:
    if text is None:
        return None
    if text == "timestamp":
        return int(time.time())
    if not text.isdecimal():
        raise ExportError(f"--version is {text!r}; use a number, or the word timestamp.")
    return int(text)
