"""The stage between validating and publishing, if the user names servers: the staged version is validated on each."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from exporter.deploy.start import ServerStart, with_needs
from exporter.staging import ExportRequest, StagedVersion
from exporter.store.versions import VersionStore
from exporter.validation.on_server.servable import Servable, batching_of
from exporter.validation.on_server.target import Target
from exporter.validation.on_server.validate import validate_on_server
from signatures.contract import names
from signatures.contract.record import ExportRecord


def on_servers(
    request: ExportRequest,
    staged: StagedVersion,
    record: ExportRecord,
    targets: Sequence[Target],
    store: VersionStore,
    golden: Path | None,
    warnings: list[str],
) -> ExportRecord:
    """Validate a staged version on one server after another, and write their verdicts into its record.

    Args:
        request: the arguments of the export.
        staged: the version.
        record: its record, as it was written.
        targets: the servers. The first one that refuses the version ends the export.
        store: where it will be published.
        golden: the file of its golden records, if it does not hold them.
        warnings: the list that warnings for the user are added to.

    Returns:
        The record with the verdicts.

    Raises:
        ValidationError: when a server refuses the version.
        ExportError: when a server cannot be started.
    """
    options = request.options
    batching = batching_of(store.base_path.parent, options)
    start = ServerStart(
        image=options.image,
        root=options.serving_root,
        batching=batching is not None,
        jit_compile=options.jit_compile,
    )
    servable = Servable(
        directory=staged.directory,
        model=request.classifier.name,
        version=store.next_version(options.version),
        golden=golden or staged.directory / names.ASSETS_EXTRA / names.GOLDEN_FILE,
        start=with_needs(start, [record]),
        batching=batching,
    )
    verdicts = []
    for target in targets:
        with request.step(f"Serving it on {target}"), store.staging() as work:
            verdict = validate_on_server(target, servable, work, keep_failed=options.keep_failed)
        warnings += verdict.warnings(target)
        verdicts.append(verdict)
    slowest = max([record.warmup_seconds or 0, *(verdict.startup_seconds for verdict in verdicts)])
    record = replace(record, validated_on=[asdict(verdict) for verdict in verdicts], warmup_seconds=slowest)
    record.write(staged.directory)
    return record
