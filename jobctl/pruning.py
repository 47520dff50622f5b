"""Deleting what is over and old: a little at a time, so that the database stays free for the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, Executable

from jobctl.acts import Hand, change
from jobctl.awaited import awaited_by, without_awaited
from jobctl.deleting import remove
from jobctl.model import ChainDetail
from jobctl.retention import STATUSES, RetentionPolicy
from jobctl.storage import detailing, editing
from jobctl.storage import pruning as sql
from jobctl.storage.decoding import detail_of
from jobctl.storage.parameters import id_rows
from jobctl.storage.store import Store

MOST_AT_ONCE = 500
"""How many chains a transaction deletes at the most."""

FEWEST_AT_ONCE = 10
"""How many it deletes however long that takes."""

WANTED_SECONDS = 0.2
"""How long a transaction should take: after longer ones fewer chains are deleted at once."""

PAUSE_SHARE = 1.0
"""How long nothing is done after a transaction, as a part of the time that it took."""

LONGEST_PAUSE = 5.0
"""Seconds that a pause lasts at the most."""

ASK_SECONDS = 0.05
"""How often, during a pause, the caller is asked whether to go on."""

Export = Callable[[Sequence[ChainDetail], Connection], None]


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was deleted so far.

    Attributes:
        completed: Completed chains.
        cancelled: Cancelled ones.
        failed: Failed ones.
        history: Acts by hand on chains that are gone.
        kept: Chains old enough, but that open ones wait for.
        complete: Whether nothing is left that the policy lets go; else it was stopped or limited.
    """

    completed: int = 0
    cancelled: int = 0
    failed: int = 0
    history: int = 0
    kept: int = 0
    complete: bool = True

    @property
    def chains(self) -> int:
        """How many chains that were."""
        return self.completed + self.cancelled + self.failed


@dataclass(frozen=True, slots=True)
class Pruning:
    """What to prune, and how.

    Attributes:
        policy: How long what is kept.
        only: Chains of these types alone; empty: of all.
        limit: At most so many chains.
        export: Is given what is deleted, and the transaction, before it is.
        dry_run: Roll all of it back, and export nothing.
        on_batch: Is told of what was deleted so far.
        cancelled: Is asked between two transactions; once true, no other begins.
        hand: Who does it.
    """

    policy: RetentionPolicy
    only: Sequence[str]
    limit: int | None
    export: Export | None
    dry_run: bool
    on_batch: Callable[[Pruned], None]
    cancelled: Callable[[], bool]
    hand: Hand


def prune(store: Store, wanted: Pruning) -> Pruned:
    """Delete what is over and old enough; see ``Client.prune``."""
    return _Run(store, wanted).all()


class _Run:
    """One run of pruning."""

    def __init__(self, store: Store, wanted: Pruning) -> None:
        self._store = store
        self._wanted = wanted
        self._done = Pruned()
        self._size = MOST_AT_ONCE
        with store.transaction(read_only=True) as conn:
            self._now: datetime = conn.execute(sql.NOW).scalar_one()

    def all(self) -> Pruned:
        """Prune chains, then the history of those that are gone."""
        if not (self._chains() and self._history()):
            self._done = replace(self._done, complete=False)
        return self._done

    def _chains(self) -> bool:
        """Prune chains; false when it was stopped, or the limit was reached."""
        found: list[str] = []
        for chain_id in self._candidates():
            found.append(chain_id)
            if len(found) >= self._room():
                if not self._batch(found):
                    return False
                found = []
        return self._batch(found) if found else True

    def _room(self) -> int:
        """How many chains the next transaction may delete."""
        if self._wanted.limit is None:
            return self._size
        return min(self._size, self._wanted.limit - self._done.chains)

    def _batch(self, found: Sequence[str]) -> bool:
        """Delete these chains in a transaction, and pause; false when that was the last."""
        if self._wanted.cancelled():
            return False
        began = time.monotonic()
        with self._transaction() as conn:
            self._delete(conn, found)
        self._ended(time.monotonic() - began)
        return not self._wanted.cancelled() and self._room() > 0

    def _delete(self, conn: Connection, found: Sequence[str]) -> None:
        store, done = self._store, self._done
        store.lock(conn, found)
        store.run(conn, editing.LOCK_ROOTS, {"ids": id_rows(found)})
        going = {each.chain_id: each for each in sql.ends(conn, found) if self._is_old(each)}
        old = len(going)
        going = {id_: going[id_] for id_ in without_awaited(awaited_by(store, conn, going), going)}
        numbers = {status: sum(each.status == status for each in going.values()) for status in STATUSES}
        if going:
            if self._wanted.export is not None and not self._wanted.dry_run:
                self._wanted.export([detail_of(each) for each in detailing.details(conn, going)], conn)
            remove(store, conn, going)
            store.record(conn, [self._wanted.hand.act("prune", None, None, change(None, numbers, None))])
        self._done = replace(
            done,
            **{status: getattr(done, status) + number for status, number in numbers.items()},
            kept=done.kept + old - len(going),
        )

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """A transaction, rolled back in a dry run."""
        before = self._done
        try:
            with self._store.transaction() as conn:
                yield conn
                if self._wanted.dry_run:
                    conn.rollback()
        except BaseException:
            self._done = before
            raise

    def _ended(self, seconds: float) -> None:
        """Tell of what was done, and leave the database to the others for about as long as it took."""
        share = WANTED_SECONDS / max(seconds, 0.001)
        self._size = max(FEWEST_AT_ONCE, min(MOST_AT_ONCE, round(self._size * min(share, 2.0))))
        self._wanted.on_batch(self._done)
        until = time.monotonic() + min(seconds * PAUSE_SHARE, LONGEST_PAUSE)
        while (left := until - time.monotonic()) > 0 and not self._wanted.cancelled():
            time.sleep(min(left, ASK_SECONDS))

    # --- which ---------------------------------------------------------------------------------------------------

    def _before(self, status: str, type_name: str) -> datetime | None:
        """Before which instant chains of this kind must have ended to go; None: they stay."""
        if self._wanted.only and type_name not in self._wanted.only:
            return None
        seconds = self._wanted.policy.of(type_name).seconds(status)
        return None if seconds is None else _ago(self._now, seconds)

    def _is_old(self, end: sql.End) -> bool:
        if end.status not in STATUSES:  # retried or deleted meanwhile
            return False
        before = self._before(end.status, end.type_name)
        return before is not None and end.at < before

    def _candidates(self) -> Iterator[str]:
        """The chains that may go; failed ones first, for which others may have been kept."""
        policy = self._wanted.policy
        for status, statement in (("failed", sql.FAILED), ("cancelled", sql.CANCELLED)):
            if policy.may_delete(status):
                yield from self._walk_ids(statement)
        if policy.may_delete("completed"):
            for type_name in self._types():
                before = self._before("completed", type_name)
                if before is not None:
                    yield from self._walk_type(type_name, before)

    def _types(self) -> Sequence[str]:
        if self._wanted.only:
            return self._wanted.only
        with self._store.transaction(read_only=True) as conn:
            return list(conn.execute(sql.TYPES).scalars())

    def _walk_ids(self, statement: Executable) -> Iterator[str]:
        """Chains with one status that are old enough, in the order of their ids."""
        after_id = sql.FIRST[1]
        while not self._wanted.cancelled():
            with self._store.transaction(read_only=True) as conn:
                found = [sql.End(*row) for row in conn.execute(statement, {"after_id": after_id})]
            for each in found:
                if self._is_old(each):
                    yield each.chain_id
            if len(found) < sql.WALKED_AT_ONCE:
                return
            after_id = found[-1].chain_id

    def _walk_type(self, type_name: str, before: datetime) -> Iterator[str]:
        """Completed chains of a type that are old enough, in the order in which they were started."""
        after_at, after_id = sql.FIRST
        while not self._wanted.cancelled():
            asked = {"type_name": type_name, "after_at": after_at, "after_id": after_id, "before": before}
            with self._store.transaction(read_only=True) as conn:
                found = conn.execute(sql.COMPLETED, asked).all()
            yield from (row.id for row in found if row.old)
            if len(found) < sql.WALKED_AT_ONCE or found[-1].created_at >= before:
                return
            after_at, after_id = found[-1].created_at, found[-1].id

    # --- history -------------------------------------------------------------------------------------------------

    def _history(self) -> bool:
        """Prune the history of chains that are gone; false when it was stopped."""
        seconds = self._wanted.policy.history_seconds
        if seconds is None:
            return True
        before, after = _ago(self._now, seconds), 0
        while not self._wanted.cancelled():
            began = time.monotonic()
            with self._transaction() as conn:
                upto, earliest = conn.execute(sql.ACTS, {"after": after}).one()
                if upto is None or earliest >= before:
                    return True
                gone = conn.execute(sql.DELETE_ACTS, {"after": after, "upto": upto, "before": before}).rowcount
                self._done = replace(self._done, history=self._done.history + gone)
            after = upto
            self._ended(time.monotonic() - began)
        return False


def _ago(now: datetime, seconds: float) -> datetime:
    return now - timedelta(seconds=seconds)
