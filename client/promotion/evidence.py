"""The evidence for a version before a label moves to it: its files, the checks, the comparison."""

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
    """The results of examining a version. What was not examined is missing, and fails nothing.

    Attributes:
        export: where the version comes from, from its export.json; empty without one.
        verification: of its files.
        checks: of each replica.
        comparison: with the version that the label is on.
        notes: what was not examined, in sentences.
    """

    export: Mapping[str, Any] = field(default_factory=dict)
    verification: Verification | None = None
    checks: tuple[CheckResult, ...] = ()
    comparison: Comparison | None = None
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether everything that was examined passed."""
        return all(one.passed for one in (self.verification, *self.checks, self.comparison) if one is not None)


def evidence_of_files(directory: Path, verified: bool) -> Evidence:
    """Return the evidence in a version's directory. Verify its files if `verified`.

    Raises:
        InputError: if its export.json cannot be read.
    """
    if not record_file(directory).is_file():
        missing = f"Files were not verified: there is no export.json in {directory}."
        return Evidence(notes=(missing,) if verified else ())
    try:
        record = ExportRecord.read(directory)
    except RecordError as error:
        raise InputError(str(error)) from error
    if not verified:
        return Evidence(export=record.origin)
    if not record.files:
        return Evidence(export=record.origin, notes=("Files were not verified: export.json lists none.",))
    return Evidence(export=record.origin, verification=verify(directory))
