"""Starting many chains from JSON lines."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from jobctl.asking import Key, NewChain, Slot
from jobctl.cli.documents import started_document
from jobctl.cli.run import Run
from jobctl.codecs import parse_json
from jobctl.errors import ConflictError, InvalidDataError, JobctlError, NotFoundError, UsageError
from jobctl.model import Chain

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from jobctl.client import Client

LINES_PER_BATCH = 1000
"""How many chains are started at once, all or none."""

KEY_FIELDS = {
    "key_scope": "scope",
    "key_window": "window",
    "key_exclude": "exclude",
    "key_conflict": "conflict",
}

SLOT = "key_slot"

FIELDS = {"type", *(each.name for each in fields(NewChain)[1:]), *KEY_FIELDS, SLOT}
"""What a line may have."""

TEXTS = ("type", "after", "at", "id", "key", "key_scope", "key_window", "key_conflict", SLOT)

IDS = ("blocked_by", "key_exclude")


class Line(NamedTuple):
    """A chain that a line of the file describes."""

    number: int
    chain: NewChain


def start_batch(
    run: Run,
    client: Client,
    file: str,
    defaults: Mapping[str, Any],
    *,
    keep_going: bool,
    json: bool,
    conn: Connection | None,
) -> None:
    """Start one chain for each line of a file, in batches, printing ids in order.

    With a connection all batches are in its transaction: a dry run, in which lines may refer to lines before them.

    Raises:
        InvalidDataError: A line is not acceptable: nothing of its batch is started, unless told to keep going; then
            at the end.
    """
    skipped = 0

    def skip(number: int, error: JobctlError) -> None:
        nonlocal skipped
        if not keep_going:
            raise InvalidDataError(f"line {number}: {error}") from error
        skipped += 1
        sys.stderr.write(f"skipped line {number}: {error}\n")

    with _opened(file) as stream:
        numbered = enumerate(stream, 1)
        while batch := list(itertools.islice(numbered, LINES_PER_BATCH)):
            lines = _read(batch, client, defaults, skip)
            for chain in _start(client, lines, keep_going, skip, conn):
                if json:
                    run.json(started_document(chain, dry_run=conn is not None))
                else:
                    run.out(chain.id)
            run.flush()
    if skipped:
        raise InvalidDataError(f"{skipped} line{'s were' if skipped > 1 else ' was'} skipped")


@contextlib.contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        if sys.stdin is None:
            raise UsageError("--batch - reads stdin, which is closed")
        yield sys.stdin.buffer
        return
    try:
        stream = Path(file).expanduser().open("rb")
    except OSError as error:
        raise UsageError(f"--batch: the file {file} cannot be read: {error.strerror}") from error
    with stream:
        yield stream


def _read(
    batch: Iterable[tuple[int, bytes]],
    client: Client,
    defaults: Mapping[str, Any],
    skip: Callable[[int, JobctlError], None],
) -> list[Line]:
    lines = []
    for number, raw in batch:
        if not raw.strip():
            continue
        try:
            chain = _chain(raw, defaults)
            client.check(chain)
        except JobctlError as error:
            skip(number, error)
        else:
            lines.append(Line(number, chain))
    return lines


def _start(
    client: Client,
    lines: list[Line],
    keep_going: bool,
    skip: Callable[[int, JobctlError], None],
    conn: Connection | None,
) -> Iterable[Chain]:
    """Start a batch; when the database refuses it and the rest shall go on, each chain by itself."""
    if not lines:
        return []
    try:
        return client.start_many((line.chain for line in lines), conn=conn)
    except (ConflictError, NotFoundError) as error:
        if not keep_going:
            error.args = (f"lines {lines[0].number} to {lines[-1].number}, of which none is started: {error}",)
            raise
    started: list[Chain] = []
    for line in lines:
        try:
            started += client.start_many([line.chain], conn=conn)
        except (ConflictError, NotFoundError) as error:
            skip(line.number, error)
    return started


def _chain(raw: bytes, defaults: Mapping[str, Any]) -> NewChain:
    """The chain that a line describes; what it leaves out is as the options say."""
    try:
        given = parse_json(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InvalidDataError("it is not JSON: it is not UTF-8 text") from error
    if not isinstance(given, dict):
        raise InvalidDataError('it is not an object: write {"type": "resize", "input": {"path": "a.png"}}')
    if unknown := sorted(given.keys() - FIELDS):
        raise InvalidDataError(f"there is no field '{unknown[0]}'; known: {', '.join(sorted(FIELDS))}")
    if {"after", "at"} & given.keys():
        defaults = {name: value for name, value in defaults.items() if name not in {"after", "at"}}
    merged = {**defaults, **{name: value for name, value in given.items() if value is not None}}
    _check_kinds(merged)
    if "type" not in merged:
        raise InvalidDataError("it has no 'type': write it, or give TYPE for all lines")
    chain = NewChain(
        merged["type"],
        given.get("input", defaults.get("input")),
        merged.get("after"),
        _instant(merged.get("at")),
        merged.get("blocked_by", ()),
        merged.get("priority", 0),
        merged.get("id"),
    )
    return replace(chain, key=_key(merged))


def _check_kinds(merged: Mapping[str, Any]) -> None:
    for name in TEXTS:
        if not isinstance(merged.get(name), str | timedelta | datetime | None):
            raise InvalidDataError(f"'{name}' is a text, not {merged[name]!r}")
    if not isinstance(merged.get("priority", 0), int):
        raise InvalidDataError(f"'priority' is a whole number, not {merged['priority']!r}")
    for name in IDS:
        ids = merged.get(name, [])
        if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids):
            raise InvalidDataError(f"'{name}' is a list of ids, not {ids!r}")


def _instant(at: str | datetime | None) -> datetime | None:
    if not isinstance(at, str):
        return at
    try:
        return datetime.fromisoformat(at).astimezone()
    except (ValueError, OverflowError):
        raise InvalidDataError(f"'at': '{at}' is not a time: write 2026-01-31T17:00:00Z") from None


def _key(merged: Mapping[str, Any]) -> Key | Slot | None:
    if SLOT in merged and "key" not in merged:
        return Slot(merged[SLOT], merged.get("key_conflict", "return"))
    more = {name: merged[field] for field, name in KEY_FIELDS.items() if field in merged}
    return Key(merged["key"], **more) if "key" in merged else None
