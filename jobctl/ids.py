"""Ids: UUIDs of version 7 (RFC 9562), so that rows made together lie together in an index."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Iterable, Iterator

from jobctl.errors import UsageError

_lock = threading.Lock()
_last = 0

_VARIANT = {f"{digit:x}": "89ab"[digit & 0b11] for digit in range(16)}
"""Of four random bits, two stay: the others say how the id is laid out."""


def new_id() -> str:
    """A new id as text; within a process each sorts after the one before."""
    (made,) = new_ids(1)
    return made


def new_ids(count: int) -> list[str]:
    """So many of them. To draw them one by one takes three times as long.

    48 bits of milliseconds and 12 bits of their fraction are the time, 62 bits are random.
    """
    global _last  # noqa: PLW0603 - ids of one process must grow, whichever thread asks
    now = time.time_ns() * 4096 // 1_000_000
    with _lock:
        first = max(now, _last + 1)
        _last = first + count - 1
    made, noise = [], os.urandom(8 * count).hex()
    for place in range(count):
        when, rest = f"{first + place:015x}", noise[16 * place : 16 * (place + 1)]
        made.append(f"{when[:8]}-{when[8:12]}-7{when[12:]}-{_VARIANT[rest[0]]}{rest[1:4]}-{rest[4:]}")
    return made


def fresh_ids(count: int) -> Iterator[str]:
    """So many, drawn some at a time: whoever needs the first waits for few."""
    for drawn in range(0, count, 64):
        yield from new_ids(min(64, count - drawn))


def require_id(text: str) -> str:
    """The id in its one spelling.

    Raises:
        UsageError: The text is not an id.
    """
    try:
        return str(uuid.UUID(text.strip()))
    except ValueError:
        raise UsageError(f"{text!r} is not an id: ids are UUIDs such as 01890a5d-ac96-774b-bcce-b302099a8057") from None


def batches(ids: Iterable[str], most: int = 500) -> Iterator[tuple[str, ...]]:
    """Ids in as few batches as it takes, all about as large: to act on many, a transaction each.

    Args:
        ids: All of them; they are counted first.
        most: How many a batch may have.
    """
    every = tuple(ids)
    count = -(-len(every) // most)
    for place in range(count):
        yield every[len(every) * place // count : len(every) * (place + 1) // count]


def unique_ids(ids: Iterable[str]) -> tuple[str, ...]:
    """The ids in their one spelling and the order given, each once.

    Raises:
        UsageError: One of the texts is not an id.
    """
    return tuple(dict.fromkeys(map(require_id, ids)))
