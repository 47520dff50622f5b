"""Durations, schedules, backoff, filters and the text that is kept of an error."""

from __future__ import annotations

import math
import traceback
from datetime import UTC, datetime, timedelta, timezone

import pytest

from jobctl.asking import ListFilter
from jobctl.errors import UsageError
from jobctl.model import MAX_ERROR_LENGTH, Backoff, Schedule, Status, describe_error, parse_duration, utc


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("15m", 900),
        ("2h30m", 9000),
        ("7d", 604_800),
        ("1w", 604_800),
        ("500ms", 0.5),
        ("0s", 0),
        ("1.5h", 5400),
        ("1h1h", 7200),
        (" 2H ", 7200),
        ("1d2h3m4s5ms", 93_784.005),
        ("366000d", 366_000 * 86_400),
    ],
)
def test_duration_is_read(text, seconds):
    """A duration is a sequence of numbers with units, added up."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    ["", " ", "10", "s", "-5s", "5 s", "5x", "5s!", "1h 30m", "½h", "1e3s", "nan s", "infs", ".5s", "5.s", "tomorrow"],
)
def test_what_is_no_duration_is_refused(text):
    """Anything else is refused with the text itself and an example of how to write one."""
    with pytest.raises(UsageError, match="is not a duration: write 90s") as refused:
        parse_duration(text)
    assert repr(text) in str(refused.value)


@pytest.mark.parametrize("text", ["366001d", "9" * 400 + "s", "999999999999999999w"])
def test_duration_has_an_end(text):
    """A duration longer than a thousand years is refused, also where a float would overflow."""
    with pytest.raises(UsageError, match="longer than a thousand years"):
        parse_duration(text)


def test_schedule_is_made_of_what_callers_write():
    """A delay may be a text or a timedelta, and a time must have a zone."""
    assert Schedule.of("90s") == Schedule(after=timedelta(seconds=90))
    assert Schedule.of(timedelta(minutes=2)).after_seconds == 120
    assert Schedule.of() == Schedule()
    assert Schedule().after_seconds is None
    instant = datetime(2030, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    assert Schedule.of(at=instant).at == instant


def test_schedule_refuses_both_and_times_without_a_zone():
    """A delay and a time together, and a time without a zone, are errors of the call."""
    with pytest.raises(UsageError, match="not both"):
        Schedule.of("1s", datetime.now(UTC))
    with pytest.raises(UsageError, match="no zone"):
        Schedule.of(at=datetime(2030, 1, 1))  # noqa: DTZ001 - that is what is refused


def test_backoff_grows_to_its_maximum():
    """The default waits 10 s, twice as long each time, and never more than 300 s."""
    backoff = Backoff()
    assert [backoff.delay(attempt) for attempt in range(1, 8)] == [10, 20, 40, 80, 160, 300, 300]
    assert backoff.delay(10**9) == 300
    assert backoff.delay(0) == 10


def test_backoff_survives_overflow():
    """A factor that overflows a float gives the maximum."""
    assert Backoff(initial=1, factor=1e300, maximum=60).delay(50) == 60
    assert Backoff(initial=0, factor=2, maximum=60).delay(5) == 0
    assert math.isfinite(Backoff(initial=1e308, factor=10, maximum=5).delay(2))


def test_closed_statuses():
    """Exactly continued, completed and cancelled are closed."""
    assert {status for status in Status if status.closed} == {Status.CONTINUED, Status.COMPLETED, Status.CANCELLED}
    assert {status.value for status in Status} == {
        "blocked",
        "scheduled",
        "ready",
        "running",
        "failed",
        "continued",
        "completed",
        "cancelled",
    }


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_limit_of_a_list_is_bounded(limit):
    """A page has 1 to 1000 rows."""
    with pytest.raises(UsageError, match=f"{limit} is out of range"):
        ListFilter(limit=limit)


@pytest.mark.parametrize("name", ["since", "until"])
def test_bounds_of_a_list_have_zones(name):
    """The bounds of a list need a zone, like any time."""
    with pytest.raises(UsageError, match=f"{name} has no zone"):
        ListFilter(**{name: datetime(2030, 1, 1)})  # noqa: DTZ001 - that is what is refused


def test_kept_error_can_be_stored():
    """The kept text of an error has no NUL and no lone surrogate, and it is the end that is kept."""
    text = describe_error(ValueError("a\x00b\ud800"), render=str)
    assert text == "a\N{REPLACEMENT CHARACTER}b\\ud800"
    long = describe_error(ValueError("x" * 20_000 + "the end"), render=str)
    assert len(long) == MAX_ERROR_LENGTH
    assert long.endswith("the end")
    trace = describe_error(ValueError("boom"), render=lambda error: "".join(traceback.format_exception(error)))
    assert trace == "ValueError: boom"


def test_kept_error_has_no_password():
    """A handler's error may quote the URL that it failed with: its password is neither kept nor shown."""
    text = describe_error(OSError("no postgresql://u:geheim@h/x, nor 'host=h password=geheim'"), render=str)
    assert text == "no postgresql://u:***@h/x, nor 'host=h password=***'"


def test_utc_keeps_the_instant():
    """Utc changes the zone of a time, not the instant."""
    local = datetime(2030, 1, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    assert utc(local) == local
    assert utc(local).isoformat() == "2030-01-01T00:00:00+00:00"
