"""Writing `<output>/deploy/` after a version was published."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import json_format, text_format

from exporter.deploy import manifests, messages
from exporter.deploy.files import WrittenFile, locked, write_atomically, write_unless_edited
from exporter.deploy.models_config import MODELS_CONFIG, merge_version, read_models_config
from exporter.errors import ExportError, StoreError
from exporter.server_images import DEFAULT_IMAGE
from exporter.store.versions import VersionStore
from signatures.contract import names

DIRECTORY = "deploy"

METRICS_PATH = "/monitoring/prometheus/metrics"


@dataclass(frozen=True)
class ServerFiles:
    """What was written, and what to do with it.

    Attributes:
        files: what became of each file.
        notes: what a person should know, a sentence each.
        docker_run: the command that starts a server, given in the output directory.
    """

    files: tuple[WrittenFile, ...]
    notes: tuple[str, ...]
    docker_run: str


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

    A file that a person has changed stays as it is; what would have been written lies beside it as NAME.new.
    `models.config` is merged instead (see `exporter.deploy.models_config`).

    Args:
        output: the directory that holds the base path of each model.
        model: whose version was just published.
        version: its number.
        serving_root: where the server will see `output`, an absolute path.
        image: the server's image.
        batching: fields of the server's BatchingParameters, where the server merges requests. Once there is a
            batching.config it stays in use; to end batching, delete it.

    Raises:
        ExportError: when `serving_root` or `batching` cannot be.
        StoreError: when the directory cannot be written to.

    Example:
        >>> write_server_files(Path("models"), "digits", 1).files[0]
        WrittenFile(path=PosixPath('models/deploy/models.config'), state='written')
    """
    parameters = None if batching is None else _batching_config(batching)
    directory = output / DIRECTORY
    try:
        with locked(directory):
            published = _published_models(output)
            config, notes = _write_models_config(directory / MODELS_CONFIG, model, version, published, serving_root)
            files = [config, write_unless_edited(directory / manifests.MONITORING_CONFIG, _monitoring_config())]
            if parameters is not None:
                files.append(write_unless_edited(directory / manifests.BATCHING_CONFIG, parameters))
            start = manifests.ServerStart(
                image=image,
                root=serving_root,
                batching=(directory / manifests.BATCHING_CONFIG).exists(),
                jit_compile=any(
                    _needs_xla(output / name / str(number)) for name, numbers in published.items() for number in numbers
                ),
            )
            for name, text in (
                ("compose.yaml", manifests.compose_file(start)),
                ("kubernetes.yaml", manifests.kubernetes_file(start)),
                ("kserve.yaml", manifests.kserve_file(start, sorted(published))),
            ):
                files.append(write_unless_edited(directory / name, text))
    except OSError as error:
        raise StoreError(f"{directory} cannot be written to: {error.strerror}.") from error
    kept = [
        f"{file.path} was changed by hand and stays as it is; see {file.new.name} beside it."
        for file in files
        if file.state == "kept"
    ]
    return ServerFiles(tuple(files), (*notes, *kept), manifests.docker_run(start))


def _published_models(output: Path) -> dict[str, list[int]]:
    """The versions of each model in the output directory that has one."""
    children = (child for child in output.iterdir() if child.is_dir() and child.name != DIRECTORY)
    found = {child.name: VersionStore(child).versions() for child in children if not child.name.startswith(".")}
    return {name: versions for name, versions in found.items() if versions}


def _write_models_config(
    file: Path, model: str, version: int, published: Mapping[str, list[int]], serving_root: str
) -> tuple[WrittenFile, tuple[str, ...]]:
    try:
        text = read_models_config(file)
        merged = merge_version(text, model, version, published, serving_root)
    except ValueError as error:
        # The version is published by now: an edit gone wrong is the user's to mend, and nothing to fail for.
        kept = WrittenFile(file, "kept")
        write_atomically(kept.new, merge_version("", model, version, published, serving_root).text)
        return kept, (f"{error}",)
    if merged.text == text:
        return WrittenFile(file, "unchanged"), merged.notes
    write_atomically(file, merged.text)
    return WrittenFile(file, "written"), merged.notes


def _batching_config(batching: Mapping[str, Any]) -> str:
    try:
        parameters = json_format.ParseDict(dict(batching), messages.batching_parameters())
    except json_format.ParseError as error:
        raise ExportError(f"The batching parameters {dict(batching)} are not what a server takes: {error}") from None
    sizes = list(parameters.allowed_batch_sizes)
    largest = (
        parameters.max_execution_batch_size
        if parameters.enable_large_batch_splitting.value
        else parameters.max_batch_size
    ).value
    if sizes and (sizes != sorted(set(sizes)) or sizes[0] < 1 or sizes[-1] != largest):
        raise ExportError(f"allowed_batch_sizes are {sizes}, and must rise and end with the largest batch, {largest}.")
    return text_format.MessageToString(parameters)


def _monitoring_config() -> str:
    config = messages.monitoring_config()
    config.prometheus_config.enable = True
    config.prometheus_config.path = METRICS_PATH
    return text_format.MessageToString(config)


def _needs_xla(version: Path) -> bool:
    """Whether a version says that it must be compiled; one that another tool wrote says nothing."""
    try:
        record = json.loads((version / names.ASSETS_EXTRA / names.EXPORT_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return False
    return isinstance(record, dict) and record.get("jit_compile") is True
