"""One loaded version of a model: its signatures, and runs of its graph, alone or in a batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from server import metrics
from server.caller import Caller
from server.inference.batching import BatchingSession
from server.inference.scheduler import BatchScheduler
from server.loader import Session
from server.metrics import Metrics

DEFAULT_SIGNATURE = "serving_default"


@dataclass(frozen=True)
class Call:
    """The request that a run belongs to: the model and API for the metrics, and the caller.

    Runs without an API are not counted.
    """

    model: str
    api: str
    caller: Caller


class Servable:
    """One version of a model, loaded and able to answer.

    Args:
        session: the loaded graph.
        scheduler: merges runs into batches; None runs each alone.
        metrics: counts the runs.
        as_content: whether Predict answers in tensor_content.

    Attributes:
        signatures: the SignatureDef of each signature key.

    """

    def __init__(
        self, session: Session, scheduler: BatchScheduler | None, metrics: Metrics, *, as_content: bool
    ) -> None:
        self.signatures = session.signatures
        self.metrics = metrics
        self.as_content = as_content
        self._session = session
        self._batching = BatchingSession(scheduler, session.run) if scheduler is not None else None

    def close(self) -> None:
        """Free the version; no request may be running."""
        if self._batching is not None:
            self._batching.close()
        self._session.close()

    def run(self, call: Call, feeds: Mapping[str, np.ndarray[Any, Any]], fetches: Sequence[str]) -> list[Any]:
        """Return the values of the fetched tensors, in their order; feeds are arrays by tensor name."""
        began = metrics.now()
        if self._batching is None:
            outputs = self._session.run(feeds, fetches, call.caller.deadline)
        else:
            outputs = self._batching.run(feeds, fetches, call.caller)
        if call.api:
            self.metrics.count_run(call.model, call.api, began)
        return outputs
