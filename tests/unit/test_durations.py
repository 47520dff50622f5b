"""Histograms of durations."""

from __future__ import annotations

import itertools
import json
import math
import random

import pytest

from jobctl.durations import BOUNDS, Durations
from jobctl.errors import InvalidDataError


def test_buckets_grow_evenly():
    """Each bound is about a third more than the one before, from a tenth of a millisecond to days, and the last has no end."""
    assert BOUNDS[0] == pytest.approx(0.0001)
    assert BOUNDS[-2] > 86_400 * 7
    assert math.isinf(BOUNDS[-1])
    assert all(1.25 <= after / before <= 1.5 for before, after in itertools.pairwise(BOUNDS[:-1]))


def counted(*seconds: float) -> Durations:
    counts = [0] * len(BOUNDS)
    for each in seconds:
        counts[next(place for place, bound in enumerate(BOUNDS) if each <= bound)] += 1
    return Durations.of(counts)


def test_quantiles_are_near():
    """A quantile is off by the width of a bucket at the most, wherever the durations lie."""
    numbers = random.Random(7)  # noqa: S311
    for scale in (0.002, 0.5, 40.0):
        seconds = sorted(numbers.lognormvariate(0, 1) * scale for _ in range(2000))
        found = counted(*seconds)
        assert found.count == 2000
        for share in (0.05, 0.5, 0.95, 0.99):
            exact = seconds[int(share * 2000) - 1]
            assert exact / 1.4 <= found.quantile(share) <= exact * 1.4


def test_quantiles_at_the_ends():
    """None of nothing; of the quickest something above zero; of what has no bound the largest one that there is."""
    assert Durations().quantile(0.5) is None
    assert 0 < counted(0.0).quantile(0.5) <= 0.0001
    assert counted(math.inf).quantile(0.5) == BOUNDS[-2]
    assert counted(0.01, 0.01, 7.0).quantile(1.0) == pytest.approx(7.5)


def test_sums_and_what_is_within():
    """Histograms add up, and tell how many were within a bound."""
    total = Durations.total([counted(0.001, 0.2), counted(0.001, 30.0), Durations()])
    assert (total.count, total.within(0.001), total.within(0.24), total.within(math.inf)) == (4, 2, 3, 4)


def test_json_is_read_back():
    """What is written is an object from milliseconds to counts, which is read back the same, the last bucket too."""
    found = counted(0.00005, 0.001, 0.001, 90.0, math.inf)
    assert json.loads(found.encode()) == {"0.1": 1, "1": 2, "100000": 1, "inf": 1}
    assert Durations.decode(found.encode()) == found
    every = Durations.of([1] * len(BOUNDS))
    assert Durations.decode(every.encode()) == every


def test_other_buckets_are_read():
    """Buckets of another version are read as they are, and count within the bounds of this one."""
    found = Durations.total([Durations.decode('{"1.5": 2}'), counted(0.001)])
    assert found.count == 3
    assert 0.0005 < found.quantile(0.9) <= 0.0015


@pytest.mark.parametrize("text", ["[]", "{", '{"a": 1}', '{"1": "x"}', "null"])
def test_nonsense_is_refused(text):
    """What is no histogram is an error that says so."""
    with pytest.raises(InvalidDataError, match="no histogram"):
        Durations.decode(text)
