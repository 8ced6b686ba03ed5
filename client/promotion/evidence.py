"""What speaks for a version before a label moves to it: its files, the checks of what is served, the comparison."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from client.check.results import CheckResult
from client.comparison.results import Comparison
from client.errors import InputError
from client.promotion.verify import Verification, verify
from signatures.contract.record import ExportRecord, RecordError, record_file


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What was found about a version. What was not asked is missing and fails nothing.

    Attributes:
        export: where the version comes from, as its export.json says; empty if that is not at hand.
        verification: of its files.
        checks: of what each replica serves.
        comparison: with the version that the label has.
        notes: what was not asked, a sentence each.
    """

    export: Mapping[str, Any] = field(default_factory=dict)
    verification: Verification | None = None
    checks: tuple[CheckResult, ...] = ()
    comparison: Comparison | None = None
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against the version."""
        asked = (self.verification, *self.checks, self.comparison)
        return all(one.passed for one in asked if one is not None)


def evidence_of_files(directory: Path, verified: bool) -> Evidence:
    """Return what a version's directory shows, if it is at hand.

    Args:
        directory: the version's directory.
        verified: whether to compare its files with the checksums in its export.json.

    Raises:
        InputError: if its export.json cannot be read.
    """
    if not record_file(directory).is_file():
        return Evidence(
            notes=(f"Files were not verified: there is no export.json in {directory}.",) if verified else ()
        )
    try:
        record = ExportRecord.read(directory)
    except RecordError as error:
        raise InputError(str(error)) from error
    if not verified:
        return Evidence(export=record.origin)
    if not record.files:
        return Evidence(export=record.origin, notes=("Files were not verified: export.json lists none.",))
    return Evidence(export=record.origin, verification=verify(directory))
