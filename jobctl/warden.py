"""Ends the commands of a worker that died, even of one that was killed.

A worker runs this file as a process of its own, and tells it on a pipe which process groups begin and end: lines of
``+GROUP`` and ``-GROUP``. However the worker ends, the pipe ends too, and then the groups that are left are ended.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable

GRACE_SECONDS = 5.0
"""How long a group may take to end after SIGTERM; what is left then is killed."""

LOOK_SECONDS = 0.02


def send(group: int, number: int) -> bool:
    """Send a signal to all processes of a group, 0 to none of them; returns whether there are any."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # some took another user's rights: they are there, and not ours to end
        return True
    return True


def end(groups: Iterable[int]) -> None:
    """End groups: SIGTERM, and after the grace SIGKILL."""
    left = {group for group in groups if send(group, signal.SIGTERM)}
    deadline = time.monotonic() + GRACE_SECONDS
    while left and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
        left = {group for group in left if send(group, 0)}
    for group in left:
        send(group, signal.SIGKILL)


def main() -> None:
    """Read which groups there are until the pipe ends."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a whole service is stopped by them: what is to be ended comes after it
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line.startswith("+"):
            groups.add(group)
        else:
            groups.discard(group)
    end(groups)


if __name__ == "__main__":
    main()
