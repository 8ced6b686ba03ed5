"""A high dynamic range histogram: stores any latency with an error of at most 0.1%, in a few kilobytes.

It works like HdrHistogram (http://hdrhistogram.org): each power of two is divided into 1024 equal parts.
"""

from collections import Counter
from collections.abc import Iterable

_PARTS = 1024


class Histogram:
    """Counts durations. It stores microseconds, and takes and returns seconds.

    Example:
        >>> histogram = Histogram()
        >>> histogram.record(0.012)
        >>> round(histogram.percentile(99.9), 3)
        0.012
    """

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self.total = 0
        self.largest = 0.0
        self.sum = 0.0

    def record(self, seconds: float) -> None:
        """Count one duration. A negative one counts as 0."""
        seconds = max(seconds, 0.0)
        self._counts[_place(round(seconds * 1e6))] += 1
        self.total += 1
        self.sum += seconds
        self.largest = max(self.largest, seconds)

    def percentile(self, percent: float) -> float:
        """Return the duration that `percent` of all durations do not exceed, or 0.0 if nothing was counted."""
        rank = max(1, -(-self.total * percent // 100))
        seen = 0
        for place in sorted(self._counts):
            seen += self._counts[place]
            if seen >= rank:
                return min(_highest(place) / 1e6, self.largest)
        return self.largest

    def mean(self) -> float:
        """Return the mean, or 0.0 if nothing was counted."""
        return self.sum / self.total if self.total else 0.0


def merged(histograms: Iterable[Histogram]) -> Histogram:
    """Return one histogram with the counts of several."""
    whole = Histogram()
    for one in histograms:
        whole._counts.update(one._counts)
        whole.total += one.total
        whole.sum += one.sum
        whole.largest = max(whole.largest, one.largest)
    return whole


def _place(microseconds: int) -> int:
    shift = max(0, microseconds.bit_length() - _PARTS.bit_length())
    return shift * _PARTS + (microseconds >> shift)


def _highest(place: int) -> int:
    """Return the highest number of microseconds that is counted at this index."""
    shift = max(0, place // _PARTS - 1)
    return ((place - shift * _PARTS + 1) << shift) - 1
