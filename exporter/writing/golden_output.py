"""Golden records outside of their version, in a file that appears once the version is published."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from exporter.options import ExportOptions
from exporter.store.follow_up import only_warn


@contextmanager
def golden_output(options: ExportOptions, warnings: list[str]) -> Iterator[Path | None]:
    """Yield a temporary path for the golden records, which becomes `options.golden_output` on publishing."""
    if options.golden_output is None:
        yield None
        return
    unvalidated = options.golden_output.with_name(f"{options.golden_output.name}.unvalidated")
    published = False
    try:
        yield unvalidated
        published = not options.dry_run
    finally:
        if not published:
            with suppress(OSError):
                unvalidated.unlink()
    if published:
        with only_warn(warnings, f"The golden records stay in {unvalidated}, not in {options.golden_output}"):
            unvalidated.replace(options.golden_output)
