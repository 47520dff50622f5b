"""What a child that a handler forks must not take along: it would be heard in this process's place."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress

HELD_BACK = (signal.SIGTERM, signal.SIGINT)
"""Signals that a child hears only once it has let go of what is this process's."""

_calls: list[Callable[[], object]] = []
_masks = threading.local()


def in_forked_children(call: Callable[[], object]) -> Callable[[], None]:
    """Have each child of this process that is forked without a new program call this first.

    Args:
        call: What closes, there, the ends of pipes that tell others of this process's end, and the like.

    Returns:
        What ends that.
    """
    _calls.append(call)

    def end() -> None:
        with suppress(ValueError):  # it was called, in a child
            _calls.remove(call)

    return end


def _before() -> None:
    if _calls:
        _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD_BACK)


def _after() -> None:
    before = getattr(_masks, "before", None)
    if before is not None:
        _masks.before = None
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _after_in_child() -> None:
    calls, _calls[:] = list(_calls), []
    for call in calls:
        call()
    _after()


os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after_in_child)
