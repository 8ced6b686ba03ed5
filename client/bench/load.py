"""Send load to a server in a closed or an open loop, and measure its latency and throughput.

Closed loop: each of a number of callers sends its next request when the previous one is answered. A server that
stalls then receives fewer requests, and looks better than users find it. Open loop: requests are sent at a fixed rate,
no matter what comes back. Latency counts from the moment when each request *should* have been sent, so that a stall
shows in all requests that it delayed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from client.bench.histogram import Histogram
from client.bench.loops import Load, Measurement, Stop, merged_tally, send_load
from client.bench.requests import BenchRequest
from client.client import ServingClient
from client.rpc.channel import Retry

PERCENTILES = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9)

# No retries: refused requests are counted, not sent again.
NO_RETRY = Retry(attempts=1)


@dataclass(frozen=True, kw_only=True)
class BenchResult:
    """The result of one load. Latencies are in milliseconds and cover only calls that were answered.

    `busy` is the largest share of a core that a process of the load generator used. `late_ms` is the 99th percentile of
    how late requests were sent (open loop). `limits` says whether the generator limited the results.
    `interrupted` means that Ctrl-C ended the load; the result covers the calls answered until then.
    `latencies`, in seconds, and `scheduled`, when the last request of an open loop was due, are not part of the JSON.
    """

    load: str
    seconds: float
    answered: int
    calls_per_second: float
    examples_per_second: float
    mean_ms: float
    percentiles_ms: dict[str, float]
    longest_ms: float
    errors: dict[str, int]
    versions: dict[str, int]
    busy: float
    late_ms: float
    limits: tuple[str, ...]
    interrupted: bool
    latencies: Histogram = field(repr=False)
    scheduled: float = field(repr=False)


def measure(client: ServingClient, requests: Sequence[BenchRequest], load: Load) -> BenchResult:
    """Send requests in turn and return the measurements. Ctrl-C ends the load early and closes the client.

    Args:
        client: a client created with NO_RETRY.
        requests: what to send, in turn; see `client.bench.requests`.
        load: how to send them.
    """
    return result_of(load, [send_load(client, requests, load, Stop(client))])


def result_of(load: Load, parts: Sequence[Measurement]) -> BenchResult:
    """Return the result of a load that was sent by one or more processes."""
    tally = merged_tally([part.tally for part in parts])
    seconds, busy = max(part.seconds for part in parts), max(part.busy for part in parts)
    latencies, late = tally.latencies, tally.late.percentile(99)
    return BenchResult(
        load=load.name,
        seconds=seconds,
        answered=latencies.total,
        calls_per_second=latencies.total / seconds,
        examples_per_second=tally.examples / seconds,
        mean_ms=latencies.mean() * 1e3,
        percentiles_ms={f"{percent:g}": latencies.percentile(percent) * 1e3 for percent in PERCENTILES},
        longest_ms=latencies.largest * 1e3,
        errors=dict(tally.errors),
        versions=dict(tally.versions),
        busy=busy,
        late_ms=late * 1e3,
        limits=tuple(_limits(busy, late, latencies.percentile(50))),
        interrupted=any(part.interrupted for part in parts),
        latencies=latencies,
        scheduled=tally.scheduled,
    )


def _limits(busy: float, late: float, median: float) -> list[str]:
    found = []
    # Python uses one core at a time, no matter how many threads it has.
    if busy > 0.8:
        found.append(
            f"The load generator was busy {busy:.0%} of a core: the server may be faster than this; use more processes."
        )
    if late > max(0.001, 0.1 * median):
        found.append(
            f"Requests left up to {late * 1e3:.1f} ms late, which counts as latency: the sender cannot keep this rate."
        )
    return found
