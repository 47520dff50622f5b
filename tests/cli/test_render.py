"""What people read."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from jobctl.cli.log import human_line
from jobctl.cli.render import CHAIN_COLUMNS, JOB_COLUMNS, fit, plain, relative, said_line, span, table_of
from jobctl.cli.tree import chain_tree, rich_tree, text_lines
from jobctl.events import Event, Told
from jobctl.model import Act, AttemptError, Chain, ChainDetail, Job, Status

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
IDS = [f"01a20b07-7164-7b4f-b861-00000000000{number}" for number in range(10)]


def a_job(number: int, **changes: object) -> Job:
    job = Job(
        id=IDS[number],
        chain_id=IDS[0],
        chain_type="await-approval",
        chain_index=number,
        type_name="await-approval",
        status=Status.READY,
        priority=0,
        input={"requestId": "123"},
        output=None,
        created_at=NOW - timedelta(minutes=5, microseconds=5),
        scheduled_at=NOW - timedelta(minutes=5),
        attempt=0,
    )
    return replace(job, **changes)


def a_chain(**changes: object) -> Chain:
    chain = Chain(
        id=IDS[0],
        type_name="await-approval",
        status=Status.READY,
        input={"requestId": "123"},
        output=None,
        created_at=NOW - timedelta(minutes=5),
        closed_at=None,
        job_id=IDS[0],
        job_type="await-approval",
        scheduled_at=NOW,
        attempt=0,
        last_error=None,
        priority=0,
        length=1,
    )
    return replace(chain, **changes)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "<1ms"),
        (0.0004, "<1ms"),
        (0.0123, "12ms"),
        (0.9999, "1s"),
        (1.25, "1.2s"),
        (9.96, "10s"),
        (10, "10s"),
        (59.6, "1m"),
        (61, "1m1s"),
        (601, "10m"),
        (3600, "1h"),
        (7500, "2h5m"),
        (86_399, "23h"),
        (90_000, "1d1h"),
        (86_400 * 400, "400d"),
        (-5, "5s"),
    ],
)
def test_span(seconds: float, text: str):
    """A length of time is told in its one or two largest units."""
    assert span(seconds) == text


def test_relative():
    """A time is told by how far it is away."""
    assert relative(NOW + timedelta(hours=2), NOW) == "in 2h"
    assert relative(NOW - timedelta(seconds=90), NOW) == "1m30s ago"
    assert relative(NOW + timedelta(milliseconds=300), NOW) == "now"


def test_plain():
    """What moves a cursor, changes colours or turns text around cannot reach a terminal."""
    assert plain("äöü 漢字 ✓") == "äöü 漢字 ✓"
    assert plain("a\x1b[31mb\tc\nd\x9b\u202e") == "a\\x1b[31mb c d\\x9b\\u202e"


def test_said_line():
    """The last line of a traceback says what it was; of one of SQLAlchemy's, that before the statement, if it is kept."""
    assert said_line("Traceback\n  File x\nValueError: no\n") == "ValueError: no"
    link = "[SQL: SELECT\n1]\n(Background on this error at: https://sqlalche.me/e/21/e3q8)"
    assert said_line(f"Traceback\nsqlalchemy.exc.DataError: (x) no\nLINE 1: SELECT\n{link}\n") == (
        "sqlalchemy.exc.DataError: (x) no"
    )
    assert said_line(link) == "1]"


def test_errors_in_lists():
    """A list of chains has what they failed with, from 120 columns on."""
    failed = [a_chain(status=Status.FAILED, last_error="Traceback\nValueError: no")]
    wide, narrow = (
        [each.header for each in table_of(CHAIN_COLUMNS, failed, width, NOW).columns] for width in (120, 80)
    )
    assert set(wide) - set(narrow) >= {"ERROR", "DUE"}


def test_a_continued_chain():
    """The tree tells who settled each job, by hand with the note, and the output."""
    jobs = (
        a_job(0, status=Status.CONTINUED, completed_at=NOW - timedelta(minutes=2)),
        a_job(
            1,
            type_name="process-request",
            status=Status.COMPLETED,
            attempt=1,
            output={"processed": True},
            created_at=NOW - timedelta(minutes=2),
            scheduled_at=NOW - timedelta(minutes=2),
            completed_at=NOW - timedelta(minutes=1),
            completed_by="host:7",
        ),
    )
    act = Act(IDS[0], IDS[0], NOW - timedelta(minutes=2), "continue", "ann@desk", "desk", "looks\ngood", {})
    chain = a_chain(status=Status.COMPLETED, closed_at=NOW - timedelta(minutes=1), output={"processed": True})
    detail = ChainDetail(chain, jobs, {}, (a_job(5, chain_id=IDS[5], type_name="ship"),), (), (act,))
    assert list(text_lines(chain_tree(detail, NOW))) == [
        f"await-approval {IDS[0]} completed, started 5m ago, closed 1m ago",
        f"├── 1 await-approval {IDS[0]} continued by hand, ann@desk: looks good",
        "│   ├── created 2026-01-31T11:54:59Z, settled 2026-01-31T11:58:00Z (2m ago)",
        '│   └── input {"requestId": "123"}',
        f"├── 2 process-request {IDS[1]} completed by worker host:7",
        "│   ├── created 2026-01-31T11:58:00Z, settled 2026-01-31T11:59:00Z (1m ago)",
        "│   ├── attempts 1",
        '│   ├── input {"requestId": "123"}',
        '│   └── output {"processed": true}',
        "└── waited for by",
        f"    └── ship {IDS[5]} ready",
    ]


def test_a_chain_for_scripts():
    """Off a terminal times are instants: the same chain is told in the same words whenever it is looked at."""
    job = a_job(0, status=Status.CANCELLED, completed_at=NOW - timedelta(minutes=2), scheduled_at=NOW)
    acts = tuple(
        Act(
            IDS[0],
            IDS[0],
            NOW,
            action,
            "ann",
            "desk",
            None,
            {"before": {"due": NOW.isoformat()}, "after": {"due": (NOW + timedelta(hours=1)).isoformat()}},
        )
        for action in ("reschedule", "cancel")
    )
    error = AttemptError(IDS[0], 1, NOW, "w1", "ValueError: 1")
    chain = a_chain(status=Status.CANCELLED, closed_at=NOW)
    assert list(text_lines(chain_tree(ChainDetail(chain, (job,), {}, (), (error,), acts), None))) == [
        f"await-approval {IDS[0]} cancelled, started 2026-01-31T11:55:00Z, closed 2026-01-31T12:00:00Z",
        f"├── 1 await-approval {IDS[0]} cancelled by hand, ann",
        "│   ├── created 2026-01-31T11:54:59Z, due 2026-01-31T12:00:00Z, settled 2026-01-31T11:58:00Z",
        '│   ├── input {"requestId": "123"}',
        "│   └── error of attempt 1 ValueError: 1 (2026-01-31T12:00:00Z, w1)",
        "└── by hand",
        "    └── reschedule 2026-01-31T12:00:00Z by ann (due 2026-01-31T12:00:00Z → 2026-01-31T13:00:00Z)",
    ]


def test_a_running_and_a_failed_job():
    """The tree tells who holds a running job and until when, and what the latest attempts failed with."""
    errors = tuple(
        AttemptError(IDS[0], number, NOW - timedelta(minutes=9 - number), "w1", f"Traceback\nValueError: {number}")
        for number in range(1, 6)
    )
    job = a_job(0, status=Status.RUNNING, attempt=6, worker="w2", leased_until=NOW + timedelta(seconds=20))
    text = "\n".join(text_lines(chain_tree(ChainDetail(a_chain(), (job,), {}, (), errors, ()), NOW)))
    assert f"1 await-approval {IDS[0]} running by worker w2" in text
    assert "lease until 2026-01-31T12:00:20Z (in 20s)" in text
    assert "2 earlier errors" in text
    assert "error of attempt 5 ValueError: 5 (4m ago, w1)" in text
    assert "ValueError: 2" not in text


def test_a_blocked_job():
    """The tree tells what a job waits for, in the order given."""
    other = a_chain(id=IDS[7], type_name="import", status=Status.RUNNING)
    job = a_job(0, status=Status.BLOCKED, blocker_ids=(IDS[7], IDS[8]))
    lines = list(text_lines(chain_tree(ChainDetail(a_chain(), (job,), {IDS[7]: other}, (), (), ()), NOW)))
    assert lines[-3:] == ["    └── waits for", f"        ├── import {IDS[7]} running", f"        └── {IDS[8]}"]


def test_tree_on_a_narrow_terminal():
    """On a terminal long lines fold under their own beginning and nothing is cut off."""
    from rich.console import Console

    job = a_job(0, input={"text": "word " * 60})
    console = Console(width=60, color_system=None, markup=False, highlight=False)
    with console.capture() as captured:
        console.print(rich_tree(chain_tree(ChainDetail(a_chain(), (job,), {}, (), (), ()), NOW)))
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= 60
    assert captured.get().count("word") == 60


def test_fit():
    """Columns that may give way do, the widest first, until all fit or nothing is left to give."""
    assert fit([36, 50, 20, 9], [False, True, True, False], 100) == [36, 35, 20, 9]
    assert fit([36, 50, 20, 9], [False, True, True, False], 80) == [36, 17, 18, 9]
    assert fit([36, 50, 9], [False, True, False], 10) == [36, 8, 9]
    assert fit([36, 5], [False, True], 80) == [36, 5]


def test_columns_have_unique_names():
    """No two columns of a list are called the same."""
    for columns in (CHAIN_COLUMNS, JOB_COLUMNS):
        assert len({each.name for each in columns}) == len(columns)


def test_log_line():
    """A worker's line tells time, worker, what, type, end of the id, attempt, duration and the error's last line."""
    event = Event(Told.JOB_RETRIED, "w1", IDS[1], IDS[0], "resize", 2, 0.25, "Traceback\nValueError: \x1b[31mno")
    assert human_line(event, NOW.timestamp()) == (
        f"{NOW.astimezone():%Y-%m-%d %H:%M:%S}.000 w1 retried       resize …000000000001 attempt 2 250ms ValueError: \\x1b[31mno"
    )
    assert "\x1b[33mretried      \x1b[0m" in human_line(event, NOW.timestamp(), colored=True)
    assert human_line(Event(Told.WORKER_STOPPED, "w1"), NOW.timestamp()).endswith("w1 stopped")
