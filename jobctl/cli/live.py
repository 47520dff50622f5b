"""The line under a worker's log on a terminal that says how it is going."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Iterable
from typing import Any, TextIO

from jobctl.events import Event, Told

_ENDS = {
    Told.JOB_COMPLETED: "done",
    Told.JOB_CONTINUED: "done",
    Told.JOB_RESCHEDULED: "put off",
    Told.JOB_RETRIED: "retried",
    Told.JOB_FAILED: "failed",
    Told.JOB_LOST: "lost",
    Told.JOB_RELEASED: "given back",
}
"""What an attempt's end is counted as."""

_ALWAYS = ("done",)
_COLORS = {"done": "32", "failed": "1;31", "retried": "33"}

_ERASE = "\r\x1b[2K"


class LiveLine:
    """Counts what happens, and redraws one line in place, below whatever else is written to the terminal.

    Nothing is drawn before the worker has started, nor after the line was closed.
    """

    def __init__(self, stream: TextIO, *, colored: bool) -> None:
        """Make a line; nothing is drawn before the first write.

        Args:
            stream: The terminal.
            colored: Whether it takes colour.
        """
        self._stream = stream
        self._colored = colored
        self._running: set[str] = set()
        self._ended: Counter[str] = Counter()
        self._drawn = ""
        self._unfinished = False
        self._lock = threading.RLock()

    def count(self, events: Iterable[Event]) -> None:
        """Count what happened."""
        for each in events:
            if each.job_id is None:
                continue
            if each.told is Told.JOB_STARTED:
                self._running.add(each.job_id)
            elif each.told in _ENDS:
                self._running.discard(each.job_id)
                self._ended[_ENDS[each.told]] += 1

    def write(self, text: str = "") -> None:
        """Write something above the line, and the line anew if it changed."""
        with self._lock:
            line = self._text()
            if not text and line == self._drawn:
                return
            erase = _ERASE if self._drawn else ""
            self._unfinished = not text.endswith("\n") if text else self._unfinished
            self._drawn = "" if self._unfinished else line  # a handler has not ended its line: nothing goes behind it
            self._stream.write(f"{erase}{text}{self._drawn}")
            self._stream.flush()

    def close(self) -> None:
        """Take the line away."""
        with self._lock:
            if self._drawn:
                self._stream.write(_ERASE)
                self._stream.flush()
            self._drawn = ""

    def _text(self) -> str:
        words = [f"{len(self._running)} running"]
        counts = [f"{number} {what}" for what, number in self._counted()]
        plain = " · ".join([*words, *counts])
        if len(plain) >= shutil.get_terminal_size().columns:
            return plain[: shutil.get_terminal_size().columns - 1]
        if not self._colored:
            return plain
        colored = [f"\x1b[{_COLORS.get(what, '2')}m{number} {what}\x1b[0m" for what, number in self._counted()]
        return " · ".join([f"\x1b[1m{words[0]}\x1b[0m", *colored])

    def _counted(self) -> list[tuple[str, int]]:
        order = dict.fromkeys(_ENDS.values())
        return [(what, self._ended[what]) for what in order if self._ended[what] or what in _ALWAYS]


class Above:
    """A stream of the same terminal, whose text goes above the line: what handlers print."""

    def __init__(self, stream: TextIO, line: LiveLine) -> None:
        self._stream = stream
        self._line = line

    def write(self, text: str) -> int:
        """Write the text."""
        if text:
            self._line.write(text)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
