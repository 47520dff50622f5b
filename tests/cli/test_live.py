"""A worker's log for people: a line per job, and on a terminal a line below that says how it is going."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from support import Result

from jobctl.cli import log
from jobctl.cli.live import Above, LiveLine
from jobctl.events import Event, Told

ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def event(told: Told, job: str = "j") -> Event:
    return Event(told, "w", job)


def told_line(each: Event, _: object) -> str:
    return f"{each.told.value} {each.job_id}"


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")


# --- one line per job ----------------------------------------------------------------------------------------------


def test_quick_job_is_one_line(capsys: pytest.CaptureFixture[str]):
    """Of a job that ends soon its end alone is written; every other event is written as ever."""
    with log.Log(told_line, quiet=False, patience=60) as tell:
        tell(Event(Told.WORKER_STARTED, "w"))
        for job in ("a", "b"):
            tell(event(Told.JOB_STARTED, job))
        tell(event(Told.JOB_COMPLETED, "b"))
        tell(event(Told.JOB_RETRIED, "a"))
    assert capsys.readouterr().err.splitlines() == ["worker_started None", "job_completed b", "job_retried a"]


def test_slow_job_has_a_beginning(capsys: pytest.CaptureFixture[str]):
    """A job that runs on has a line about its beginning too, without anything else happening."""
    from support import eventually

    written = ""

    def begun() -> bool:
        nonlocal written
        written += capsys.readouterr().err
        return "job_started a" in written

    with log.Log(told_line, quiet=False, patience=0.05) as tell:
        tell(event(Told.JOB_STARTED, "a"))
        eventually(begun)
        tell(event(Told.JOB_COMPLETED, "a"))
    assert (written + capsys.readouterr().err).splitlines() == ["job_started a", "job_completed a"]


@pytest.mark.usefixtures("here")
def test_worker_off_a_terminal(call: Callable[..., Result], here: Path):
    """In a file the log has one line per job, and no line that is redrawn."""
    (here / "mod.py").write_text("from jobctl import processor\n@processor('a')\ndef a(job): ...\n")
    for _ in range(3):
        call("start", "a")
    result = call("worker", "--processors", "mod.py", "--drain", "--name", "w1")
    assert [re.split(r" {1,}", line)[3] for line in result.err.splitlines()] == [
        "started",
        *["completed"] * 3,
        "stopped",
    ]
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
    assert shown.getvalue() == "one\n2 running · 1 done · 1 to be retried"
    live.write()
    assert shown.getvalue() == "one\n2 running · 1 done · 1 to be retried"  # nothing changed: nothing is redrawn
    live.count([event(Told.JOB_COMPLETED, "2")])
    live.write()
    assert shown.getvalue().endswith("retried\r\x1b[2K1 running · 2 done · 1 to be retried")
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
