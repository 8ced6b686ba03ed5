"""After publishing: write the server's files, and remove old versions.

A server may have loaded the version by now, so an error here does not fail the export; it becomes a warning.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from exporter.deploy import ServerFiles, named_versions, write_server_files
from exporter.errors import reason
from exporter.options import ExportOptions
from exporter.store.versions import VersionStore
from signatures import Batching


@contextmanager
def only_warn(warnings: list[str], consequence: str) -> Iterator[None]:
    """Turn any error into a warning that ends with its reason."""
    try:
        yield
    except Exception as error:  # Whatever it is, the version has been published.
        warnings.append(f"{consequence}: {reason(error)}.")


def follow_up(
    store: VersionStore, version: int, options: ExportOptions, warnings: list[str]
) -> tuple[ServerFiles | None, list[int]]:
    """Write the server's files, and remove the versions that `options.keep` does not keep.

    Args:
        store: where the version was published.
        version: its number.
        options: the options of the export.
        warnings: a list to add a sentence to for each problem.

    Returns:
        The files that were written, or None if that failed, and the numbers of the versions that were removed.
    """
    output, model = store.base_path.parent, store.base_path.name
    files = None
    with only_warn(warnings, f"Version {version} is published, but not every file in {output / 'deploy'} was written"):
        files = write_server_files(
            output,
            model,
            version,
            serving_root=options.serving_root,
            image=options.image,
            batching=None if options.server_batching is None else server_parameters(options.server_batching),
        )
    if options.keep is None:
        return files, []
    if files is None:
        warnings.append(f"No older version of {model} was removed: it is unknown which of them a server needs.")
        return files, []
    before: list[int] = []
    with only_warn(warnings, f"Some older versions of {model} that --keep {options.keep} would remove are still there"):
        named = named_versions(output, model)
        before = store.versions()
        store.prune(options.keep, spare=named)
    return files, [number for number in before if not (store.base_path / str(number)).exists()]


def server_parameters(batching: Batching) -> dict[str, Any]:
    """Return the fields of the server's BatchingParameters.

    There, "max_batch_size" limits a request as well as a run. A server can split larger requests, but must not do so
    here: each part of a `top_k` answer is as wide as the largest k in that part, and a server that joins parts of
    different widths writes past the end of its memory.
    """
    return {
        "max_batch_size": batching.max_batch_size,
        "allowed_batch_sizes": list(batching.sizes),
        "batch_timeout_micros": batching.batch_timeout_micros,
        "num_batch_threads": batching.num_batch_threads,
        "max_enqueued_batches": batching.max_enqueued_batches,
    }
