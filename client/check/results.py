"""The results of a check: judged rows and faults for each question, and the verdict."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.check.forms import NotAsked
from client.samples.golden import Sample
from signatures.contract.kept import Verdict
from signatures.contract.tolerances import Tolerances


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that is wrong: the question, the request, and the place in the answer."""

    question: str
    message: str
    signature: str | None = None
    k: str | None = None
    record: int | None = None
    entry: int | None = None

    def __str__(self) -> str:
        where = [f"signature {self.signature}"] if self.signature else []
        where += [f"k {self.k}"] if self.k else []
        where += [f"record {self.record}"] if self.record is not None else []
        where += [f"entry {self.entry}"] if self.entry is not None else []
        return (", ".join(where) + ": " if where else "") + self.message


@dataclass(frozen=True, kw_only=True)
class QuestionResult:
    """The answer to one question. `records` samples were judged in `answers` rows; `passed` is None if not asked."""

    passed: bool | None
    records: int
    answers: int
    near_ties: int
    largest_difference: float
    faults: int
    first_fault: Fault | None

    @property
    def fault_summary(self) -> str:
        """The first fault and the number of the others, or "" if there is none."""
        more = f" (and {self.faults - 1} more)" if self.faults > 1 else ""
        return f"{self.first_fault}{more}" if self.first_fault else ""


@dataclass(frozen=True, kw_only=True)
class SignatureResult:
    """The results of one signature for all questions: judged rows, and the duration of a call in milliseconds."""

    signature: str
    passed: bool
    answers: int
    near_ties: int
    largest_difference: float
    calls: int
    median_ms: float
    longest_ms: float


@dataclass
class SampleEvidence:
    """What the report shows about a sample: its inputs, the scores, and the entries kept when k is left out."""

    sample: Sample
    served: NDArray[np.float32] | None = None
    kept: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """The verdict on one server.

    `source` names what it was compared with. `not_asked` holds the signatures that could not be called, with reasons.
    `batching` means that the server merges requests itself and takes only one k per example, so no other form of k
    could be sent. `rest` is None if REST was not checked. `evidence` and `differences` are for a report and not part of
    the JSON.
    """

    passed: bool
    address: str
    model: str
    version: int
    source: str
    tolerances: Tolerances
    batching: bool
    not_asked: tuple[NotAsked, ...]
    identity: QuestionResult
    backbone: QuestionResult
    head: QuestionResult
    signatures: tuple[SignatureResult, ...]
    labels: tuple[str, ...] = field(repr=False)
    evidence: tuple[SampleEvidence, ...] = field(repr=False)
    differences: tuple[float, ...] = field(repr=False)
    rest: QuestionResult | None = None

    @property
    def questions(self) -> dict[str, QuestionResult]:
        """The answers to the questions that were asked, by name."""
        found = {"identity": self.identity, "backbone": self.backbone, "head": self.head}
        return found if self.rest is None else {**found, "rest": self.rest}

    @property
    def verdict(self) -> str:
        """The answer in a sentence that claims no more than what was checked."""
        if not self.passed:
            answer = "What is served is NOT what was expected."
        elif self.backbone.passed is None:
            answer = (
                "The head is right. Whether the model is the one exported was not asked: that takes golden records."
            )
        else:
            answer = f"What is served is what was expected, by {self.source}."
        left_out = ", ".join(one.signature for one in self.not_asked)
        return f"{answer} Not asked: {left_out}." if left_out else answer

    @property
    def notes(self) -> list[str]:
        """The limits of the answer, in sentences."""
        found = []
        if self.batching:
            found.append("The server batches: it refuses k left out or scalar, so one k per example was sent.")
        found += [f"Signature {one.signature} was not asked: {one.reason}." for one in self.not_asked]
        if self.tolerances.blind_to:
            found.append(f"These tolerances cannot see: {'; '.join(self.tolerances.blind_to)}.")
        return found


@dataclass(frozen=True)
class Row:
    """One row that was judged."""

    signature: str
    record: int
    verdict: Verdict


@dataclass(frozen=True)
class Timing:
    """How long one call took."""

    signature: str
    seconds: float


@dataclass
class Tally:
    """The results for one question so far."""

    question: str
    asked: int = 0
    answered: int = 0
    rows: list[Row] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def fault(self, message: str, **where: Any) -> None:
        """Add a fault."""
        self.faults.append(Fault(question=self.question, message=message, **where))

    def judged(self, record: int, verdict: Verdict, *, signature: str, k: str) -> None:
        """Add the verdict on one row."""
        self.answered += 1
        self.rows.append(Row(signature, record, verdict))
        if verdict.problem:
            self.fault(verdict.problem, record=record, entry=verdict.entry, signature=signature, k=k)

    def verdicts(self) -> dict[str, list[Verdict]]:
        """Return the verdicts on the rows of each signature."""
        found: dict[str, list[Verdict]] = {}
        for row in self.rows:
            found.setdefault(row.signature, []).append(row.verdict)
        return found

    def result(self, records: int) -> QuestionResult:
        """Return the answer. It is yes only if every request for all `records` samples was answered."""
        seen = {row.record for row in self.rows}
        faults = list(self.faults)
        if not faults and self.asked != self.answered:
            self.fault(f"{self.asked} answers were requested and {self.answered} arrived")
        if not faults and len(seen) != records:
            self.fault(f"{len(seen)} of {records} records were answered")
        return QuestionResult(
            passed=not self.faults if self.asked or self.faults else None,
            records=len(seen),
            answers=self.answered,
            near_ties=sum(row.verdict.near_tie for row in self.rows),
            largest_difference=max((row.verdict.difference for row in self.rows), default=0.0),
            faults=len(self.faults),
            first_fault=self.faults[0] if self.faults else None,
        )


def by_signature(tallies: Sequence[Tally], timings: Sequence[Timing]) -> tuple[SignatureResult, ...]:
    """Return the results of each signature, in the order of their first calls."""
    found = []
    for key in dict.fromkeys(timing.signature for timing in timings):
        rows = [row for tally in tallies for row in tally.rows if row.signature == key]
        times = [timing.seconds * 1000 for timing in timings if timing.signature == key]
        found.append(
            SignatureResult(
                signature=key,
                passed=not any(fault.signature == key for tally in tallies for fault in tally.faults),
                answers=len(rows),
                near_ties=sum(row.verdict.near_tie for row in rows),
                largest_difference=max((row.verdict.difference for row in rows), default=0.0),
                calls=len(times),
                median_ms=float(np.median(times)),
                longest_ms=max(times),
            )
        )
    return tuple(found)
