"""Write `<output>/deploy/` after a version is published."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from exporter.deploy import gate, kserve, kubernetes, messages
from exporter.deploy.alerts import alerts_file
from exporter.deploy.dashboard import dashboard_file
from exporter.deploy.files import WrittenFile, locked, write_atomically, write_unless_edited
from exporter.deploy.models_config import (
    MODELS_CONFIG,
    loaded_versions,
    local_config,
    merge_version,
    read_models_config,
)
from exporter.deploy.rollouts import rollout_files
from exporter.deploy.start import (
    BATCHING_CONFIG,
    MONITORING_CONFIG,
    ServerStart,
    compose_file,
    docker_run,
    serve_model,
    with_needs,
)
from exporter.errors import StoreError
from exporter.server_images import DEFAULT_IMAGE
from exporter.store.listing import read_record
from exporter.store.versions import VersionStore
from signatures.contract import names
from signatures.contract.record import ExportRecord

DIRECTORY = "deploy"

LOCAL, ROLLOUT = "local", "rollout"

# The record of each version on disk, by model; None for a version that another tool wrote.
Records: TypeAlias = Mapping[str, Mapping[int, ExportRecord | None]]

_LOCAL_HEADER = """\
# ../models.config with the paths of this machine, for rehearsing a promotion; every export rewrites it:
# {command}
"""


@dataclass(frozen=True)
class ServerFiles:
    """The files in `deploy/`, and the commands that use them.

    Attributes:
        files: the result of writing each file.
        notes: what the user should know, one sentence each.
        docker_run: the command that starts a server, to be run in the output directory.
        serve_model: the command that starts the stand-in on this machine, with the same versions and labels.
    """

    files: tuple[WrittenFile, ...]
    notes: tuple[str, ...]
    docker_run: str
    serve_model: str


def write_server_files(
    output: Path,
    model: str,
    version: int,
    *,
    serving_root: str = "/models",
    image: str = DEFAULT_IMAGE,
    batching: Mapping[str, Any] | None = None,
) -> ServerFiles:
    """Write what a server needs to serve every model in the output directory.

    A file that a user has edited stays as it is, and its new text goes beside it as NAME.new.
    `models.config` is merged instead (see `exporter.deploy.models_config`).

    Args:
        output: the directory that holds the base path of each model.
        model: the model whose version was just published.
        version: the version's number.
        serving_root: where the server will see `output`, an absolute path.
        image: the server's image.
        batching: fields of the server's BatchingParameters, to let the server merge requests. An existing
            batching.config stays in use; to end batching, delete it.

    Raises:
        ExportError: when `batching` is invalid.
        StoreError: when the directory cannot be written to.

    Example:
        >>> Path("models/digits/1").mkdir(parents=True)
        >>> write_server_files(Path("models"), "digits", 1).files[0]
        WrittenFile(path=PosixPath('models/deploy/models.config'), state='written')
    """
    parameters = None if batching is None else messages.batching_config(batching)
    directory = output / DIRECTORY
    local = directory.resolve() / LOCAL / MODELS_CONFIG
    try:
        with locked(directory):
            published = _published_models(output)
            config, notes = _write_models_config(directory / MODELS_CONFIG, model, version, published, serving_root)
            files = [config, write_unless_edited(directory / MONITORING_CONFIG, messages.metrics_config())]
            if parameters is not None:
                files.append(write_unless_edited(directory / BATCHING_CONFIG, parameters))
            records = {
                name: {number: read_record(output / name / str(number)) for number in numbers}
                for name, numbers in published.items()
            }
            start = ServerStart(
                image=image,
                root=serving_root,
                batching=(directory / BATCHING_CONFIG).exists(),
                jit_compile=_needs_xla(records),
            )
            start = with_needs(start, _loaded(config.path, records))
            command = serve_model(start, local)
            _write_local_config(local, config.path, command, {name: output.resolve() / name for name in published})
            texts = _server(output, start, records)
            alone = with_needs(start, [records.get(model, {}).get(version)])
            texts |= _rollout(gate.Candidate(start=alone, model=model, version=version))
            files += [write_unless_edited(directory / name, text) for name, text in texts.items()]
    except OSError as error:
        raise StoreError(f"{directory} cannot be written to: {error.strerror}.") from error
    return ServerFiles(tuple(files), (*notes, *_kept(files)), docker_run(start), command)


def _kept(files: Sequence[WrittenFile]) -> list[str]:
    return [
        f"{file.path} was edited by hand and stays as it is; the new text is in {file.new.name} beside it."
        for file in files
        if file.state == "kept"
    ]


def _server(output: Path, start: ServerStart, records: Records) -> dict[str, str]:
    """Return the files that start and monitor a server of all models, by path."""
    return {
        "compose.yaml": compose_file(start),
        "kubernetes.yaml": kubernetes.kubernetes_file(start),
        "autoscaling.yaml": kubernetes.autoscaling_file(),
        "kserve.yaml": kserve.kserve_file(
            {model: with_needs(start, [found[max(found)]]) for model, found in sorted(records.items())}
        ),
        "alerts.yaml": alerts_file(_warmed_up(output, records), _batch_timeouts(records), start.startup_seconds),
        "dashboard.json": dashboard_file(),
    }


def _rollout(candidate: gate.Candidate) -> dict[str, str]:
    """Return the rollout files of a version, by path; those of other models stay unchanged."""
    files = {f"{ROLLOUT}/{candidate.model}/{name}": text for name, text in rollout_files(candidate).items()}
    return {f"{ROLLOUT}/Dockerfile": gate.dockerfile(), **files}


def _write_local_config(local: Path, models_config: Path, command: str, base_paths: Mapping[str, Path]) -> None:
    """Write a copy of models.config with this machine's paths, if it can be parsed."""
    try:
        text = local_config(read_models_config(models_config), {name: str(path) for name, path in base_paths.items()})
    except ValueError:
        return
    text = _LOCAL_HEADER.format(command=command) + text
    if not local.exists() or local.read_bytes() != text.encode():
        local.parent.mkdir(exist_ok=True)
        write_atomically(local, text)


def _needs_xla(records: Records) -> bool:
    """Return whether XLA must compile any version."""
    return any(record is not None and record.jit_compile for each in records.values() for record in each.values())


def _loaded(models_config: Path, records: Records) -> list[ExportRecord | None]:
    """Return the records of the versions that a server loads, or of the newest ones if models.config cannot be read."""
    try:
        loaded = loaded_versions(
            read_models_config(models_config), {name: list(found) for name, found in records.items()}
        )
    except ValueError:
        loaded = {name: [max(found)] for name, found in records.items()}
    return [records[name][version] for name, versions in loaded.items() for version in versions]


def _warmed_up(output: Path, records: Records) -> list[str]:
    """Return the models whose newest version has warm-up requests."""
    warmup = Path(names.ASSETS_EXTRA) / names.WARMUP_FILE
    return [name for name, found in records.items() if (output / name / str(max(found)) / warmup).exists()]


def _batch_timeouts(records: Records) -> dict[str, int]:
    """Return the batch timeout of the newest version of each model that batches in the graph, in microseconds."""
    newest = {name: found[max(found)] for name, found in records.items()}
    return {
        name: record.batching["batch_timeout_micros"]
        for name, record in newest.items()
        if record is not None and record.batching is not None
    }


def _published_models(output: Path) -> dict[str, list[int]]:
    """Return the versions of each model in the output directory that has any."""
    children = (child for child in output.iterdir() if child.is_dir() and child.name != DIRECTORY)
    models = {child.name: VersionStore(child).versions() for child in children if not child.name.startswith(".")}
    return {name: versions for name, versions in models.items() if versions}


def _write_models_config(
    file: Path, model: str, version: int, published: Mapping[str, list[int]], serving_root: str
) -> tuple[WrittenFile, tuple[str, ...]]:
    try:
        text = read_models_config(file)
        merged = merge_version(text, model, version, published, serving_root)
    except ValueError as error:
        # The version is already published, so a user's broken edit must not fail the export.
        kept = WrittenFile(file, "kept")
        write_atomically(kept.new, merge_version("", model, version, published, serving_root).text)
        return kept, (f"{error}",)
    if merged.text == text:
        return WrittenFile(file, "unchanged"), merged.notes
    write_atomically(file, merged.text)
    return WrittenFile(file, "written"), merged.notes
