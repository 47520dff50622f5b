"""A terminal's keys, one by one as they are pressed; and the terminal as it was before, whatever happens."""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import termios
import tty
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

from jobctl.cli.run import is_terminal

REST_WITHIN: Final = 0.05
"""Seconds within which the rest of a key comes that sends several characters: without it, it was Escape itself."""

_NAMES: Final = {
    "\x1b": "esc",
    "\r": "enter",
    "\n": "enter",
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1bOA": "up",
    "\x1bOB": "down",
    "\x1b[5~": "pageup",
    "\x1b[6~": "pagedown",
    "\x1b[H": "home",
    "\x1b[F": "end",
    "\x1bOH": "home",
    "\x1bOF": "end",
    "\x1b[1~": "home",
    "\x1b[4~": "end",
}

_KEY: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z~]|\x1bO[A-Za-z]|.", re.DOTALL)


def names_of(text: str) -> list[str]:
    """The names of the keys that send this; a character is its own name, an unknown key has none."""
    found = (_NAMES.get(each, each) for each in _KEY.findall(text))
    return [each for each in found if not each.startswith("\x1b")]


class Keys:
    """Reads keys from stdin, if it is a terminal, without waiting for the end of a line and without showing them."""

    def __init__(self) -> None:
        self._terminal = sys.stdin.fileno() if is_terminal(sys.stdin) else None
        self._before: list[Any] | None = None
        self._woken, self._waker = os.pipe()
        self._wakeup_before = -1

    def __enter__(self) -> Self:
        os.set_blocking(self._waker, False)
        self._wakeup_before = signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        self.take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.give_back()
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._waker)
        os.close(self._woken)

    def take(self) -> None:
        """Have the terminal give keys as they are pressed."""
        if self._terminal is not None:
            self._before = termios.tcgetattr(self._terminal)
            tty.setcbreak(self._terminal)

    def give_back(self) -> None:
        """Make the terminal what it was before."""
        if self._terminal is not None and self._before is not None:
            with suppress(termios.error):  # it is gone
                termios.tcsetattr(self._terminal, termios.TCSADRAIN, self._before)
            self._before = None

    def wake(self) -> None:
        """End a wait, from another thread."""
        with suppress(OSError):  # it is full, or closed already
            os.write(self._waker, b"\0")

    def wait(self, seconds: float) -> list[str]:
        """The keys that are pressed within so many seconds; less when something else woke it, a signal too."""
        sources = [self._woken] if self._terminal is None else [self._woken, self._terminal]
        ready, _, _ = select.select(sources, [], [], max(0.0, seconds))
        if self._woken in ready:
            os.read(self._woken, 4096)
        return self._read() if self._terminal in ready else []

    def _read(self) -> list[str]:
        terminal = self._terminal
        assert terminal is not None  # noqa: S101 - it was ready
        text = os.read(terminal, 1024)
        if text.endswith(b"\x1b") and select.select([terminal], [], [], REST_WITHIN)[0]:
            text += os.read(terminal, 1024)
        if not text:  # the terminal is gone: nobody will press a key again
            self._terminal = None
        return names_of(text.decode("utf-8", "replace"))
