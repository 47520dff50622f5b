"""The live view: what it shows, its keys on a real terminal, and the terminal as it was before."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from rich.console import Console
from support import PATIENCE, Result, eventually, jobctl_command
from working import claim, settle, with_outcome

from jobctl import Client
from jobctl.cli.board import HELP, PLAIN_SPARKS, SPARKS, Board, Seen, sparkline
from jobctl.cli.keys import names_of
from jobctl.cli.kinds import share
from jobctl.cli.top import Feed, Look
from jobctl.durations import Durations
from jobctl.errors import DatabaseUnavailableError
from jobctl.ids import new_id
from jobctl.stats import Worked
from jobctl.storage import tallying
from jobctl.storage.records import Retry
from jobctl.storage.tables import worker

SCREEN_ON, SCREEN_OFF = "\x1b[?1049h", "\x1b[?1049l"
CURSOR_OFF, CURSOR_ON = "\x1b[?25l", "\x1b[?25h"
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
ROWS = 24


@pytest.fixture
def filled(sqlite_url: str) -> Client:
    """A database in which something runs, something failed, and workers have done something."""
    client = Client(sqlite_url)
    store = client.store
    for number in range(30):
        client.start("resize", number)
    client.start("await-approval", after="2h")
    rows = claim(store, "resize", worker="w1", limit=12)
    settle(
        store,
        *(with_outcome(row, Retry(f"Traceback\nValueError: \x1b[2Jnumber {row.input}", None)) for row in rows[6:]),
    )
    with store.transaction() as conn:
        at = tallying.clock(store, conn).replace(second=0, microsecond=0)
        done = {
            at - timedelta(minutes=ago): {"resize": Worked(60 * ago, 0, 0, ago, 0, 9.0, Durations({0.1: ago}))}
            for ago in (1, 2, 3)
        }
        tallying.write(store, conn, new_id(), done)
        for name, ago in (("w1", 0), ("w2", 9)):
            conn.execute(
                sa.insert(worker).values(
                    id=new_id(),
                    name=name,
                    host="h",
                    pid=7,
                    version="1",
                    types="[]",
                    concurrency=10,
                    running=6,
                    stopping=0,
                    started_at=at,
                    seen_at=datetime.now(UTC) - timedelta(minutes=ago),
                    beat_seconds=5.0,
                )
            )
    yield client
    client.close()


# --- without a terminal ----------------------------------------------------------------------------------------------


def test_text(filled: Client, sqlite_url: str, call: Callable[..., Result]):
    """In a pipe it is printed once, whole and without any control character."""
    result = call("top", "--database", sqlite_url)
    assert (result.code, result.err) == (0, "")
    assert "\x1b" not in result.out
    assert max(map(len, result.lines)) <= 120
    assert result.lines[0].startswith(f"jobctl top  {filled.store.label}")
    assert result.lines[1] == "1 worker 6/10 slots, 1 silent  ready 18  scheduled 1  running 6  failed 6"
    assert "█" in result.lines[2]
    assert "TYPES (2)" in result.out
    assert "RUNNING (6)" in result.out
    assert "FAILED ATTEMPTS (6)" in result.out
    assert "ValueError: \\x1b[2Jnumber 11" in result.out
    assert re.search(r"^w2 +6/10 +silent for 9m", result.out, re.MULTILINE)


def test_looks(filled: Client, sqlite_url: str, call: Callable[..., Result]):
    """With --iterations it is printed as often as asked for; with --json each look is a document on its line."""
    text = call("top", "--iterations", "2", "--every", "100ms", "--database", sqlite_url)
    assert [line for line in text.lines if line.startswith("jobctl top")] == [
        line for line in text.out.split("\n") if line.startswith("jobctl top")
    ]
    assert sum(line.startswith("jobctl top") for line in text.lines) == 2
    documents = call("top", "--iterations", "3", "--every", "100ms", "--json", "--database", sqlite_url).lines
    assert len(documents) == 3
    for each in map(json.loads, documents):
        assert len(each["running"]) == len(each["failures"]) == 6
        assert [(worker["name"], worker["alive"]) for worker in each["workers"]] == [("w1", True), ("w2", False)]
        assert sum(minute["settled"] for minute in each["minutes"]) == 360
        assert [each["type"] for each in each["types"]] == ["await-approval", "resize"]


def test_nothing(call: Callable[..., Result]):
    """Of an empty database it says so."""
    assert "nothing is open" in call("top").out


@pytest.mark.parametrize(
    "args", [["--every", "10ms"], ["--every", "often"], ["--iterations", "0"], ["--iterations", "x"]]
)
def test_refused(args: list[str], call: Callable[..., Result]):
    """What cannot be is a usage error."""
    assert call("top", *args).code == 2


class Away:
    """Looks at a database that is away at times."""

    opened = None

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self.away = True

    def read(self) -> Seen:
        if self.away:
            raise DatabaseUnavailableError("the database is not available")
        return self._seen


def test_a_database_that_goes_away(filled: Client):
    """While the database is away what was seen last is shown, with its age and the reason; then it goes on by itself."""
    seen = Look(filled, 20).read()
    look = Away(seen)
    feed = Feed(look, seen, 0.01, None, lambda: None)
    eventually(lambda: feed.seen.trouble)
    later = seen.stats.at + timedelta(minutes=2)
    lines = [str(each) for each in Board().everything(feed.seen, 80, later)]
    assert lines[2] == "as of 2m ago: the database is not available"
    look.away = False
    eventually(lambda: feed.seen is seen)
    feed.left = 0


def test_an_error_ends_it(filled: Client):
    """What is no passing trouble is not hidden."""
    seen = Look(filled, 20).read()
    feed = Feed(None, seen, 0.01, None, lambda: None)
    eventually(lambda: feed.failure)
    assert isinstance(feed.failure, AttributeError)


# --- parts -----------------------------------------------------------------------------------------------------------


def test_sparkline():
    """The largest count has the highest character, something is never drawn like nothing, and nothing is flat."""
    assert sparkline([0, 1, 50, 100]) == "▁▂▅█"
    assert sparkline([0, 0]) == "▁▁"
    assert sparkline([]) == ""
    assert sparkline([0, 1], PLAIN_SPARKS) == "_#"
    assert len(SPARKS) == len(PLAIN_SPARKS)


def test_share():
    """Tables share the lines there are: none has more than it wants, and small ones are whole first."""
    assert share(100, [3, 5]) == [3, 5]
    assert share(6, [10, 1, 10]) == [3, 1, 2]
    assert share(0, [1]) == share(-3, [1]) == [0]
    assert share(5, []) == []


def test_small_screens(filled: Client):
    """On a small screen the most important tables are shown, each with a row at least, and no line too many."""
    seen = Look(filled, 20).read()
    for rows in range(3, 40):
        console = Console(width=60, height=rows, file=io.StringIO(), force_terminal=True, color_system=None)
        console.print(Board().draw(seen, console, datetime.now(UTC)), end="")
        lines = ESCAPE.sub("", console.file.getvalue()).split("\n")
        assert len(lines) <= max(rows, 5)
        tables = [line for line in lines if re.match(r"(TYPES|RUNNING|FAILED ATTEMPTS|WORKERS) \(", line)]
        assert len(tables) == min(4, (max(0, rows - 4)) // 3) or rows < 7, (rows, lines)


def test_names_of_keys():
    """Keys have names, several at once too; those that are not known have none."""
    assert names_of("j\x1b[A\x1bOB\r\x1b[5~G") == ["j", "up", "down", "enter", "pageup", "G"]
    assert names_of("\x1b") == ["esc"]
    assert names_of("\x1b[15~\x1b[1;5C") == []


# --- on a terminal ---------------------------------------------------------------------------------------------------


class Terminal:
    """The command on a terminal: what is pressed and what is shown."""

    def __init__(self, environment: dict[str, str], *args: str, columns: int = 80) -> None:
        self._ours, self.theirs = pty.openpty()
        self.resize(columns)
        self.before = termios.tcgetattr(self.theirs)
        self.process = subprocess.Popen(
            # to open a terminal in a new session makes it that session's
            ["sh", "-c", 'exec "$0" "$@" < "$TTY"', *jobctl_command("top", *args)],
            stdin=subprocess.DEVNULL,
            stdout=self.theirs,
            stderr=self.theirs,
            env={"TERM": "xterm-256color", "LANG": "C.UTF-8", "TTY": os.ttyname(self.theirs), **environment},
            start_new_session=True,
        )
        self.text = ""

    def resize(self, columns: int, rows: int = ROWS) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def read(self, seconds: float = 0.05) -> str:
        """All that it has written."""
        while select.select([self._ours], [], [], seconds)[0]:
            try:
                piece = os.read(self._ours, 65536)
            except OSError:
                break
            self.text += piece.decode()
        return self.text

    def until(self, words: str) -> list[str]:
        """Wait for a screen with these words; returns its lines."""

        def shown() -> list[str]:
            self.read()
            screens = self.text.split("\x1b[H")
            # the last one may not be whole yet, but if nothing more comes
            for each in reversed(screens):
                text = ESCAPE.sub("", each)
                if words in text:
                    return text.replace("\r", "").split("\n")
            return []

        try:
            return eventually(shown, what=words)
        finally:
            self.text = ""

    def end(self) -> int:
        """Wait until it ends; returns its exit code."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < deadline:
            self.read()
        self.read()
        return self.process.wait(1)

    @property
    def restored(self) -> bool:
        """Whether the terminal is as it was: its settings, the screen and the cursor."""
        text = self.text
        screen = text.rindex(SCREEN_OFF) > text.rfind(SCREEN_ON)
        cursor = text.rindex(CURSOR_ON) > text.rfind(CURSOR_OFF)
        return screen and cursor and termios.tcgetattr(self.theirs) == self.before

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._ours)
        os.close(self.theirs)


@pytest.fixture
def on_screen(environment: dict[str, str], filled: Client, sqlite_url: str) -> Iterator[Callable[..., Terminal]]:
    """Starts ``top`` on a terminal."""
    started: list[Terminal] = []

    def start(*args: str, columns: int = 80) -> Terminal:
        started.append(Terminal(environment, *args, "--every", "100ms", "--database", sqlite_url, columns=columns))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.mark.parametrize("columns", [80, 140])
def test_screen_fits(on_screen: Callable[..., Terminal], columns: int):
    """The screen is as large as the terminal, whatever there is to show, and ends with the keys; nothing moves the cursor."""
    terminal = on_screen(columns=columns)
    lines = terminal.until("q quit")
    assert len(lines) == ROWS
    assert max(map(len, lines)) <= columns
    assert lines[0].startswith("jobctl top  sqlite://")
    assert lines[-1].startswith("j k move")
    text = "\n".join(lines)
    for words in ("TYPES (2)", "RUNNING (", "FAILED ATTEMPTS (", "WORKERS (2)", "resize", "w1"):
        assert words in text
    terminal.press("q")
    assert terminal.end() == 0
    assert terminal.restored


def test_keys(on_screen: Callable[..., Terminal], filled: Client):
    """Types are sorted, a chain is opened and left, help is shown and hidden, and what changes is shown by itself."""
    terminal = on_screen()
    terminal.until("RATE▼")
    terminal.press("s")
    terminal.until("ERRORS▼")
    terminal.press("r")
    terminal.until("ERRORS▲")
    terminal.press("?")
    terminal.until(HELP[0][1])
    terminal.press("\x1b")
    terminal.until("RUNNING (")
    first = filled.activity().running[0]
    terminal.press("\r")
    terminal.until(f"resize {first.chain_id} running")
    with filled.settle(first.chain_id) as step:
        step.complete("by hand")
    terminal.until(f"resize {first.chain_id} completed")
    terminal.press("\x1b")
    terminal.until("OF 5)")
    failure = filled.activity().failures[-1]
    terminal.press("G")
    terminal.press("\r")
    terminal.until(f"resize {failure.chain_id} failed")
    filled.delete([failure.chain_id])
    terminal.until("was deleted")
    terminal.press("\x1b\x1b[A\r")
    terminal.until(f"{filled.activity().failures[-2].chain_id} failed")
    terminal.press("q")
    assert terminal.end() == 0


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGQUIT, 131)]
)
def test_signals_leave_the_terminal_as_it_was(on_screen: Callable[..., Terminal], number: int, code: int):
    """Whatever signal ends it, the terminal is as before."""
    terminal = on_screen()
    terminal.until("q quit")
    assert termios.tcgetattr(terminal.theirs) != terminal.before
    terminal.process.send_signal(number)
    assert terminal.end() == code
    assert terminal.restored


def test_errors_leave_the_terminal_as_it_was(on_screen: Callable[..., Terminal], filled: Client):
    """An error that ends it is told in a line, on a terminal that is as before."""
    terminal = on_screen()
    terminal.until("q quit")
    with filled.store.transaction() as conn:
        conn.exec_driver_sql("ALTER TABLE jobctl_tally RENAME TO away")
    assert terminal.end() == 1
    assert terminal.restored
    assert "no such table" in terminal.text[terminal.text.rindex(SCREEN_OFF) :]


def test_stopped_and_continued(on_screen: Callable[..., Terminal]):
    """Ctrl-Z gives the terminal back while it is stopped; once it goes on, so does the screen."""
    terminal = on_screen()
    terminal.until("q quit")
    terminal.press("\x1a")
    eventually(lambda: terminal.read() and SCREEN_OFF in terminal.text)
    _, status = os.waitpid(terminal.process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    assert terminal.restored
    terminal.text = ""
    terminal.process.send_signal(signal.SIGCONT)
    terminal.until("q quit")
    terminal.press("q")
    assert terminal.end() == 0
    assert terminal.restored


def test_resized(on_screen: Callable[..., Terminal]):
    """A terminal that changes its size is drawn anew at once."""
    terminal = on_screen()
    terminal.until("q quit")
    terminal.resize(100, 12)
    eventually(lambda: len(terminal.until("q quit")) == 12)


def test_iterations_on_a_terminal(on_screen: Callable[..., Terminal]):
    """With --iterations it ends by itself."""
    terminal = on_screen("--iterations", "2")
    assert terminal.end() == 0
    assert terminal.restored


def test_dumb_terminal(environment: dict[str, str], sqlite_url: str):
    """A terminal that cannot do it gets text."""
    terminal = Terminal({**environment, "TERM": "dumb"}, "--database", sqlite_url)
    assert terminal.end() == 0
    assert "\x1b" not in terminal.text
    assert "jobctl top" in terminal.text
    terminal.close()


def test_a_database_that_is_not_there(environment: dict[str, str]):
    """Where there is nothing to look at, there is no screen either."""
    terminal = Terminal(environment, "--database", "postgresql://127.0.0.1:1/db")
    assert terminal.end() == 75
    assert SCREEN_ON not in terminal.text
    assert "is not available" in terminal.text
    terminal.close()
