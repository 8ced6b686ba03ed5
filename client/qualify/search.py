"""Search for the batch size and the number of callers with the highest throughput, in a tenth of the grid's time.

Short windows show where to look: one line over the batch size, one over the callers through the best of it, and so on
until the best place no longer moves; then the diagonal with the same number of examples in flight, and the neighbors. A
line ends where the throughput saturates. Only the best places are measured until they have settled.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

from client.qualify.points import WINDOWS, Place, Rated, done

SIZES = tuple(1 << power for power in range(9))
CALLERS = tuple(1 << power for power in range(7))

# The parts of a window that a short one takes, and that the warm-up at each place takes.
SHORT, WARMUP = 0.25, 0.0625
# A tenth of what the whole grid takes at least, in windows.
BUDGET = len(SIZES) * len(CALLERS) * (WINDOWS + WARMUP) / 10

_FIRST_CALLERS = 4
# A line ends after this many places in a row that raise the rate by no more than this factor.
_PATIENCE, _GAIN = 3, 1.02
# A rate that grows by this factor is still rising. If batches are padded, it first falls below that of a smaller size.
_RECOVERY = 1.3
# Short windows are inexact: a place with this share of the best rate may be the best.
_CLOSE = 0.85
# This many places are measured in whole windows, each at least this often: one stall must not decide.
_CANDIDATES, _CHANCES = 3, 2
# The windows reserved for them; the best place settles after two more at the earliest.
_RESERVED = (_CANDIDATES * _CHANCES + 2) * (1 + WARMUP)

Window = TypeVar("Window", bound=Rated)
# Measures a short window at a place and returns its rate; None when time is up.
Screen: TypeAlias = Callable[[Place], float | None]


@dataclass
class Search(Generic[Window]):
    """The state of a search: the rates of short windows in examples a second, and the whole windows of the best places.

    `spent` counts the windows that it took.
    """

    screened: dict[Place, float] = field(default_factory=dict)
    windows: dict[Place, list[Window]] = field(default_factory=dict)
    spent: float = 0.0

    @property
    def best(self) -> Place | None:
        """The best place of those measured in whole windows."""
        return max(self.windows, key=self.rate, default=None)

    @property
    def best_screened(self) -> Place:
        """The best place of those measured in short windows."""
        return max(self.screened, key=lambda place: self.screened[place])

    def rate(self, place: Place) -> float:
        """Return the highest rate of whole windows at a place: disturbances only slow a server down."""
        return max((one.examples_per_second for one in self.windows[place]), default=0.0)


def search(sizes: Sequence[int], screen: Screen, measure: Callable[[Place], Window | None]) -> Search[Window]:
    """Search within BUDGET.

    Args:
        sizes: the batch sizes that the server takes, in rising order.
        screen: measures a short window at a place and returns its rate; 0 where calls fail, None when time is up.
        measure: measures a whole window, or returns None when time is up.
    """
    found: Search[Window] = Search()
    if _screen_lines(found, sizes, screen) and _screen_diagonal(found, sizes, screen):
        _screen_around(found, sizes, screen)
    ranked = sorted(found.screened, key=lambda place: -found.screened[place])
    places = [place for place in ranked if found.screened[place] > _CLOSE * found.screened[ranked[0]]]
    _measure(found, places[:_CANDIDATES], measure)
    return found


def _measure(found: Search[Window], places: Sequence[Place], measure: Callable[[Place], Window | None]) -> None:
    """Measure each place twice, and then the best of them until it has settled."""
    turns = [place for _ in range(_CHANCES) for place in places]
    while turns or (found.best and not done(found.windows[found.best])):
        place = turns.pop(0) if turns else found.best
        if place is None or found.spent + 1 + WARMUP > BUDGET:
            return
        window = measure(place)
        if window is None:
            return
        found.spent += 1 + WARMUP
        found.windows.setdefault(place, []).append(window)


def _screen_lines(found: Search[Window], sizes: Sequence[int], screen: Screen) -> bool:
    """Screen lines in turn, each through the best place so far, until the best place no longer moves.

    Returns whether there is time left.
    """
    along_sizes, at, unmoved = True, Place(sizes[0], _FIRST_CALLERS), 0
    while unmoved < 2:
        line = [Place(size, at.callers) for size in sizes] if along_sizes else [Place(at.batch, n) for n in CALLERS]
        if not _screen_line(found, line, screen):
            return False
        unmoved = unmoved + 1 if found.best_screened == at else 0
        at, along_sizes = found.best_screened, not along_sizes
    return True


def _screen_line(found: Search[Window], line: Sequence[Place], screen: Screen) -> bool:
    """Screen the places of a line until the rate saturates. Returns whether there is time left."""
    highest, previous, idle = 0.0, 0.0, 0
    for place in line:
        if place not in found.screened and not _screen(found, place, screen):
            return False
        rate = found.screened[place]
        idle = 0 if rate > highest * _GAIN or rate > previous * _RECOVERY else idle + 1
        highest, previous = max(highest, rate), rate
        if idle == _PATIENCE:
            break
    return True


def _screen_diagonal(found: Search[Window], sizes: Sequence[int], screen: Screen) -> bool:
    """Screen half the batch size with twice the callers, and the reverse, as long as the rate rises.

    If a server merges requests, only the examples in flight count: no single line leads along this ridge. Returns
    whether there is time left.
    """
    for step in (-1, 1):
        rises = True
        while rises:
            best = found.best_screened
            size, callers = sizes.index(best.batch) + step, CALLERS.index(best.callers) - step
            if not (0 <= size < len(sizes) and 0 <= callers < len(CALLERS)):
                break
            place = Place(sizes[size], CALLERS[callers])
            if place not in found.screened and not _screen(found, place, screen):
                return False
            rises = found.screened[place] > found.screened[best]
    return True


def _screen_around(found: Search[Window], sizes: Sequence[int], screen: Screen) -> None:
    """Screen the best place and those around it once more: a stall may have hidden a better one."""
    at = found.best_screened
    size, callers = sizes.index(at.batch), CALLERS.index(at.callers)
    for batch in sizes[max(0, size - 1) : size + 3]:
        for several in CALLERS[max(0, callers - 1) : callers + 3]:
            if not _screen(found, Place(batch, several), screen):
                return


def _screen(found: Search[Window], place: Place, screen: Screen) -> bool:
    """Screen a place. The highest of its rates counts, because disturbances only slow a server down."""
    if found.spent + SHORT + WARMUP + _RESERVED > BUDGET:
        return False
    rate = screen(place)
    if rate is None:
        return False
    found.spent += SHORT + WARMUP
    found.screened[place] = max(rate, found.screened.get(place, 0.0))
    return True
