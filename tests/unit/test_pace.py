"""How many attempts end in a second, as a worker measures it to know how many jobs to claim."""

from __future__ import annotations

import pytest

from jobctl import runners
from jobctl.runners import Pace


class Clock:
    """A time that goes on when it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(runners, "time", made)
    return made


def count(pace: Pace, clock: Clock, *ends: tuple[float, int]) -> float:
    """So many ends, each so many seconds after the ones before; gives the pace that they make."""
    for seconds, ended in ends:
        clock.now += seconds
        pace.count(ended)
    return pace.per_second


def test_quick_ones_are_seen_at_once(clock: Clock):
    """Jobs of which many end in a hundredth of a second have their pace then, and not after a tenth."""
    pace = Pace(10)
    assert count(pace, clock, *[(0.002, 10)] * 6) == pytest.approx(5000)
    assert count(pace, clock, *[(0.002, 60)] * 6) == pytest.approx(30000)


def test_slow_ones_that_end_together(clock: Clock):
    """As many as run at once, begun and ended together, are no pace: more of them would be claimed than can begin."""
    pace = Pace(10)
    assert count(pace, clock, (60.0, 1), *[(0.001, 1)] * 9, (0.005, 10)) == pytest.approx(1 / 60)
    assert count(pace, clock, (60.0, 1)) == pytest.approx(20 / 60, rel=0.01)


def test_slower_ones(clock: Clock):
    """A pace that is less than double, or falls, is measured for a tenth of a second."""
    pace = Pace(10)
    count(pace, clock, *[(0.002, 60)] * 6)
    assert count(pace, clock, *[(0.01, 400)] * 9) == pytest.approx(30000)
    assert count(pace, clock, (0.011, 400)) == pytest.approx(4000 / 0.101)
    assert count(pace, clock, *[(0.05, 10)] * 3) == pytest.approx(30 / 0.15)


def test_nothing_ended(clock: Clock):
    """Where nothing ended, nothing has ended last: what waits for a free hand may be given back."""
    pace = Pace(10)
    count(pace, clock, (1.0, 5))
    last = pace.last_end
    count(pace, clock, (1.0, 0))
    assert pace.last_end == last


def test_forgotten(clock: Clock):
    """What was measured does not hold any more once it is forgotten."""
    pace = Pace(10)
    count(pace, clock, (0.2, 100))
    clock.now += 1.0
    pace.forget()
    assert (pace.per_second, pace.last_end) == (0.0, clock.now)
    assert count(pace, clock, (0.2, 100)) == pytest.approx(500)
