"""Helpers of the tests that are no fixtures."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import psycopg

from jobctl.cli.index import INDEX

COMMANDS = tuple(each.load() for each in INDEX)
"""The commands, in the order of the help."""

T = TypeVar("T")

PATIENCE = 20.0
"""Seconds after which something that must happen is taken not to: only ever waited out by a test that fails."""


def eventually(condition: Callable[[], T], *, within: float = PATIENCE, what: str = "") -> T:
    """What the condition returns, as soon as that is true; looks often instead of sleeping long."""
    deadline = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s: {what or condition}; last seen: {value!r}")
        time.sleep(0.005)


def wait_until_blocked(url: str, count: int = 1, *, by: int | None = None, within: float = PATIENCE) -> None:
    """Wait until so many backends of this database wait for a lock; ``by`` a backend's pid, wait for that one."""
    waiting = """
        SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock' AND cardinality(pg_blocking_pids(pid)) > 0
        AND (%(by)s::integer IS NULL OR %(by)s = ANY (pg_blocking_pids(pid)))
    """
    with psycopg.connect(url, autocommit=True) as conn:

        def enough() -> bool:
            row = conn.execute(waiting, {"by": by}).fetchone()
            return row is not None and row[0] >= count

        eventually(enough, within=within, what=f"{count} backends wait for a lock")


class InThread(Generic[T]):
    """A call that runs in a thread of its own; ``result`` waits for it and raises what it raised."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._value: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._value.append(self._call())
        except BaseException as error:  # noqa: BLE001 - raised again where the result is asked for
            self._error = error

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def result(self, within: float = PATIENCE) -> T:
        self._thread.join(within)
        if self._thread.is_alive():
            raise AssertionError(f"still running after {within:g} s")
        if self._error is not None:
            raise self._error
        return self._value[0]

    def error(self, within: float = PATIENCE) -> BaseException | None:
        self._thread.join(within)
        if self._thread.is_alive():
            raise AssertionError(f"still running after {within:g} s")
        return self._error


PLACE = re.compile(r"^on (?:sqlite|postgresql):.*\n", re.MULTILINE)
"""The line in which a command that changes data says on which database."""


@dataclass(frozen=True)
class Result:
    """What a command left behind; ``err`` without the line about the database, which is ``place``."""

    code: int
    out: str
    err: str
    place: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "place", "".join(PLACE.findall(self.err)))
        object.__setattr__(self, "err", PLACE.sub("", self.err))

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


class Running:
    """A process that runs on while the test goes on; its output goes to files, so that it never blocks."""

    def __init__(self, start: Callable[..., Any], files: Path) -> None:
        """Start it: ``start(stdin=…, stdout=…, stderr=…)`` returns what subprocess.Popen would."""
        self._out, self._err = files.with_suffix(".out"), files.with_suffix(".err")
        with self._out.open("wb") as out, self._err.open("wb") as err, Path(os.devnull).open("rb") as nothing:
            self._popen = start(stdin=nothing, stdout=out, stderr=err)
        self.pid = self._popen.pid

    @property
    def out(self) -> str:
        """What it wrote so far."""
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._popen.poll()

    def send(self, number: signal.Signals) -> Self:
        self._popen.send_signal(number)
        return self

    def wait(self, within: float = PATIENCE) -> Result:
        """Wait until it ends by itself."""
        try:
            self._popen.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {within:g} s:\n{self.out}\n{self.err}") from None
        return Result(self._popen.returncode, self.out, self.err)

    def stop(self, within: float = PATIENCE) -> Result:
        """Ask it to end, and wait until it has."""
        return self.send(signal.SIGTERM).wait(within)

    def kill(self) -> None:
        """End it and its children at once, as the loss of its machine would."""
        if self._popen.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()


def jobctl_command(*args: object) -> list[str]:
    """The command line that runs jobctl in this interpreter."""
    return [sys.executable, "-m", "jobctl", *map(str, args)]
