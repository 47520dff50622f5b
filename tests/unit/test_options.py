"""How a worker works: what its options refuse."""

from __future__ import annotations

import math

import pytest

from jobctl import WorkerOptions
from jobctl.errors import UsageError


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("concurrency", 0, "concurrency: 0 is out of range: 1 to 1000"),
        ("concurrency", 1001, "concurrency: 1001 is out of range: 1 to 1000"),
        ("max_jobs", 0, "max_jobs: 0 is out of range: 1 to 1000000000"),
        ("max_attempts", 0, "max_attempts: 0 is out of range: 1 to 1000000"),
        ("lease", 0.05, "lease: 0.05 s is too short: 100ms or more"),
        ("lease", math.nan, "lease: nan s is too short: 100ms or more"),
        ("poll", 0, "poll: 0 s is too short: 1ms or more"),
        ("beat", 0.01, "beat: 0.01 s is too short: 100ms or more"),
        ("shutdown_timeout", -1, "shutdown_timeout: -1 s is too short: 0s or more"),
    ],
)
def test_option_out_of_range(field, value, said):
    """A value out of range is refused with the field's name and what is allowed."""
    with pytest.raises(UsageError) as refused:
        WorkerOptions(**{field: value})
    assert str(refused.value) == said


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("concurrency", 1),
        ("concurrency", 1000),
        ("max_jobs", 1),
        ("max_attempts", 1),
        ("lease", 0.1),
        ("poll", 0.001),
        ("beat", 0.1),
        ("shutdown_timeout", 0),
    ],
)
def test_option_at_its_bound(field, value):
    """The bounds themselves are allowed."""
    assert getattr(WorkerOptions(**{field: value}), field) == value
