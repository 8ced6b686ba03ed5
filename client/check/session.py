"""The state of a running check, and its calls, whose errors become faults."""

import re
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

from client.check.forms import NotAsked
from client.check.requests import outputs_of
from client.check.results import SampleEvidence, Tally, Timing
from client.errors import ClientError, UnreachableError
from client.rpc.calls import Call
from client.rpc.metadata import Metadata, Target
from client.rpc.sequences import BATCHING_REFUSAL
from client.samples.golden import Expectation
from signatures.contract.answers import Labels, Outputs, encoded
from signatures.contract.questions import ExportedLimits
from signatures.contract.tolerances import Tolerances

# Large enough to notice mixed-up rows, small enough for any server.
BATCH = 8


@dataclass
class Session:
    """The state of a running check: what the server is compared with, and what was found.

    batching: whether the server merges requests itself. most: the most examples in one request.
    """

    target: Target
    expectation: Expectation
    tolerances: Tolerances
    metadata: Metadata
    labels: tuple[str, ...] = ()
    encoded_labels: Labels = field(default_factory=lambda: encoded(()))
    exported: ExportedLimits = field(default_factory=lambda: ExportedLimits(k=0))
    batching: bool = False
    most: int = BATCH
    lost: bool = False
    identity: Tally = field(default_factory=lambda: Tally("identity"))
    backbone: Tally = field(default_factory=lambda: Tally("backbone"))
    head: Tally = field(default_factory=lambda: Tally("head"))
    not_asked: list[NotAsked] = field(default_factory=list)
    timings: list[Timing] = field(default_factory=list)
    evidence: list[SampleEvidence] = field(default_factory=list)


def answer_to(
    session: Session,
    tally: Tally,
    where: Mapping[str, Any],
    call: Call[Any],
    instead: Callable[[], Call[Any]] | None = None,
) -> Generator[Any, Any, tuple[Outputs, int | None] | None]:
    """Return the outputs and the version. If the call fails or another version answers, add a fault and return None.

    instead: the call to send if the server's own batching refuses the form of k or the number of examples.
    """
    if session.lost:
        tally.fault("not asked, because the connection to the server was lost", **where)
        return None
    start = time.perf_counter()
    again = None
    try:
        outputs, version = outputs_of((yield call))
    except ClientError as error:
        again = instead if _refused_by_batching(session, str(error)) else None
        if again is None:
            session.lost = isinstance(error, UnreachableError)
            tally.fault(str(error), **where)
            return None
    finally:
        session.timings.append(Timing(where["signature"], time.perf_counter() - start))
    if again is not None:
        return (yield from answer_to(session, tally, where, again()))
    if version is not None and version != session.metadata.version:
        tally.fault(f"version {version} answered, version {session.metadata.version} before", **where)
        return None
    return outputs, version


def _refused_by_batching(session: Session, message: str) -> bool:
    """Return whether the server's own batching refused a call, and store its limits in the session."""
    limit = re.search(r"is larger than maximum input batch size (\d+)", message)
    if limit:
        session.most = int(limit[1])
    session.batching |= BATCHING_REFUSAL in message
    return bool(limit) or BATCHING_REFUSAL in message
