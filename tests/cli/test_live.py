"""A worker's log for people: on a terminal a line below it says how it is going."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from support import Result

from jobctl.cli.live import Above, LiveLine
from jobctl.events import Event, Told

ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def event(told: Told, job: str = "j") -> Event:
    return Event(told, "w", job)


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.usefixtures("here")
def test_worker_off_a_terminal(call: Callable[..., Result], here: Path):
    """In a file the log has one line per quick job, and no line that is redrawn."""
    (here / "mod.py").write_text("from jobctl import processor\n@processor('a')\ndef a(job): ...\n")
    for _ in range(3):
        call("start", "a")
    result = call("worker", "--processors", "mod.py", "--drain", "--name", "w1")
    assert [line.split()[3] for line in result.err.splitlines()] == ["started", *["completed"] * 3, "stopped"]
    assert "\x1b" not in result.err
    assert "\r" not in result.err


# --- the line below ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("wide")
def test_counts():
    """The line has how many run and how many are done, and what else there was, in a fixed order."""
    shown = io.StringIO()
    live = LiveLine(shown, colored=False)
    live.count([event(Told.JOB_STARTED, str(number)) for number in range(4)])
    live.count([event(Told.JOB_RETRIED, "0"), event(Told.JOB_CONTINUED, "1"), Event(Told.DATABASE_LOST, "w")])
    live.write("one\n")
    assert shown.getvalue() == "one\n2 running · 1 done · 1 retried"
    live.write()
    assert shown.getvalue() == "one\n2 running · 1 done · 1 retried"  # nothing changed: nothing is redrawn
    live.count([event(Told.JOB_COMPLETED, "2")])
    live.write()
    assert shown.getvalue().endswith("retried\r\x1b[2K1 running · 2 done · 1 retried")
    live.close()
    assert shown.getvalue().endswith("\r\x1b[2K")


@pytest.mark.usefixtures("wide")
def test_what_handlers_print():
    """What a handler prints goes above the line; while its own line is unfinished, nothing is drawn behind it."""
    shown = io.StringIO()
    live = LiveLine(shown, colored=False)
    live.write("log\n")
    above = Above(shown, live)
    print("printed", file=above)
    print("unfinished", end="", file=above)
    assert shown.getvalue().endswith("\r\x1b[2Kunfinished")
    print(" is over", file=above)
    assert shown.getvalue().endswith("unfinished is over\n0 running · 0 done")
    assert not above.isatty()


def test_narrow_terminal(monkeypatch: pytest.MonkeyPatch):
    """On a narrow terminal the line is cut, not folded; colours count for nothing."""
    monkeypatch.setenv("COLUMNS", "12")
    shown = io.StringIO()
    LiveLine(shown, colored=True).write("\n")
    assert shown.getvalue() == "\n0 running ·"
    monkeypatch.setenv("COLUMNS", "20")
    shown = io.StringIO()
    LiveLine(shown, colored=True).write("\n")
    assert ESCAPE.sub("", shown.getvalue()) == "\n0 running · 0 done"
    assert shown.getvalue() != ESCAPE.sub("", shown.getvalue())
