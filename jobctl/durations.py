"""How long attempts took: histograms whose buckets are the same everywhere, so that they can be added up."""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from jobctl.errors import InvalidDataError

_STEPS: Final = (1.0, 1.3, 1.8, 2.4, 3.2, 4.2, 5.6, 7.5)
"""Eight to a decade, each about a third more than the one before."""

MILLISECONDS: Final = (*(float(f"{step}e{decade}") for decade in range(-1, 9) for step in _STEPS), 1e9, math.inf)
"""The upper bounds of the buckets: from a tenth of a millisecond to eleven days, and whatever is longer."""

BOUNDS: Final = tuple(each / 1000 for each in MILLISECONDS)
"""The same in seconds."""


@dataclass(frozen=True, slots=True)
class Durations:
    """How many attempts took how long.

    Attributes:
        counts: How many, by the upper bound of their bucket in seconds.
    """

    counts: Mapping[float, int] = field(default_factory=dict)

    @classmethod
    def of(cls, counts: Iterable[int]) -> Durations:
        """From a count for each of BOUNDS."""
        return cls({bound: count for bound, count in zip(BOUNDS, counts, strict=True) if count})

    @classmethod
    def decode(cls, text: str) -> Durations:
        """Read what ``encode`` wrote, in this version or in one with other buckets.

        Raises:
            InvalidDataError: It is nothing of that kind.
        """
        try:
            return cls.of_milliseconds(json.loads(text))
        except (ValueError, TypeError, AttributeError) as error:
            raise InvalidDataError(f"is no histogram of durations: {text[:100]}") from error

    @classmethod
    def of_milliseconds(cls, counts: Mapping[str, int]) -> Durations:
        """From counts by upper bounds as they are in JSON."""
        return cls({float(bound) / 1000: int(count) for bound, count in counts.items()})

    @classmethod
    def total(cls, several: Iterable[Durations]) -> Durations:
        """All of them together."""
        found: dict[float, int] = {}
        for each in several:
            for bound, count in each.counts.items():
                found[bound] = found.get(bound, 0) + count
        return cls(found)

    def encode(self) -> str:
        """As JSON: an object from upper bounds in milliseconds to counts."""
        return json.dumps({f"{bound * 1000:.10g}": count for bound, count in sorted(self.counts.items())})

    @property
    def count(self) -> int:
        """How many attempts there are."""
        return sum(self.counts.values())

    def within(self, seconds: float) -> int:
        """How many took so long at the most; exact at the bounds of buckets."""
        return sum(count for bound, count in self.counts.items() if bound <= seconds)

    def quantile(self, share: float) -> float | None:
        """How many seconds that share of the attempts (0 to 1) took at the most; None when there are none.

        Exact up to the width of a bucket, within which durations are taken to be spread evenly by their logarithm.
        """
        rest = share * self.count
        for bound, count in sorted(self.counts.items()):
            if rest <= count:
                return _between(bound, rest / count)
            rest -= count
        return None


def _between(bound: float, share: float) -> float:
    """A duration so far into the bucket that ends at this bound."""
    place = bisect_left(BOUNDS, bound)
    lower = BOUNDS[place - 1] if place else 0.0
    if math.isinf(bound):
        return lower
    return float(bound * share) if lower == 0.0 else float(lower * (bound / lower) ** share)
