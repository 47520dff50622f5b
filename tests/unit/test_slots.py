"""Keys made of input and time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from jobctl import Slot
from jobctl.errors import UsageError

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def key(after_noon: float, length: str = "1h", input_: str = "null") -> str:
    return Slot(length).key(NOON + timedelta(seconds=after_noon), input_).text


def test_slot_is_of_utc_and_begins_early():
    """A slot of an hour is one of UTC, half a minute early: clocks that differ a little agree at the full hour."""
    assert key(0).startswith("2026-01-31T12:00:00Z+3600s/")
    assert key(-29.9) == key(0) == key(3569.9)
    assert key(-30.1) != key(0) != key(3570.1)
    assert key(-30.1).startswith("2026-01-31T11:00:00Z")


def test_short_slots_begin_half_early():
    """A slot shorter than a minute begins half its length early."""
    assert key(-5, "10s") == key(4.9, "10s") != key(5, "10s")


def test_key_is_of_input_and_length():
    """Another input or another length is another key; the order of an object's fields is not."""
    assert len({key(0), key(0, "2h"), key(0, input_="1"), key(0, input_='"1"')}) == 4
    assert key(0, input_='{"a": 1, "b": 2}') == key(0, input_='{"b":2,"a":1}')


def test_closed_chains_count():
    """The work of a slot is done once, whether it is over or not."""
    assert Slot("1h").key(NOON, "1").scope == "any"
    assert Slot("1h", conflict="fail").key(NOON, "1").conflict == "fail"


@pytest.mark.parametrize("length", ["0s", "500ms", "366d"])
def test_lengths(length: str):
    """A slot takes a second or more, and a year at most."""
    with pytest.raises(UsageError, match="out of range"):
        Slot(length)
