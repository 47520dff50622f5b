"""Leases: one thread renews all that a worker holds, and tells attempts that they lost their job."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Protocol, TypeVar

from jobctl.errors import TryAgainError
from jobctl.model import LostReason
from jobctl.storage.decoding import lost_reason
from jobctl.storage.records import Held
from jobctl.storage.store import Store

RENEWALS_PER_LEASE = 3
"""A lease survives two renewals that did not come through."""

SHORTEST_CHECK = 0.05
"""Seconds between two checks that something merely hinted at: a busy SQLite file changes all the time."""

AGAIN_SECONDS = 0.01
"""When to try again what others have locked at the moment."""

CLOSE_SECONDS = 1.0
"""How long closing waits for what goes on at that moment."""


_log = logging.getLogger(__name__)


class Holder(Protocol):
    """What holds a lease: an attempt."""

    held: Held
    renewed_at: float

    def lose(self, reason: LostReason) -> None:
        """Told once, when the job is not its any more."""


AnyHolder = TypeVar("AnyHolder", bound=Holder)


class LeaseKeeper:
    """Renews the leases of a worker's attempts on one timer.

    An attempt is lost when the database says that its job is settled, gone or another's; or when its lease ran
    out before the database could be reached again.
    """

    def __init__(self, store: Store, seconds: Mapping[str, float]) -> None:
        """Make a keeper.

        Args:
            store: The database.
            seconds: How long a lease holds, by type.
        """
        self._store = store
        self._seconds = seconds
        self._every = min(seconds.values()) / RENEWALS_PER_LEASE
        self._holders: dict[str, Holder] = {}
        self._doubted: set[str] = set()
        self._guard = threading.Lock()
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._asking = False  # the database, for renewals
        self._thread = threading.Thread(target=self._keep, name="jobctl-leases", daemon=True)
        self._clock = threading.Thread(target=self._watch_the_clock, name="jobctl-leases-clock", daemon=True)

    def start(self) -> None:
        """Begin renewing."""
        self._thread.start()
        self._clock.start()

    def close(self) -> None:
        """Stop renewing; what is held runs out by itself."""
        self._closing.set()
        self._wake.set()
        self._thread.join(CLOSE_SECONDS)  # so that the caller can close the store's connections

    def add(self, holders: Iterable[Holder]) -> None:
        """Renew these leases, which were taken just now."""
        now = time.monotonic()
        replaced: list[Holder] = []
        with self._guard:
            for holder in holders:
                holder.renewed_at = now
                if before := self._holders.get(holder.held.id):
                    replaced.append(before)
                self._holders[holder.held.id] = holder
        for before in replaced:  # its lease ran out, and it was not told yet
            before.lose(LostReason.TAKEN_BY_ANOTHER_WORKER)

    def remove(self, held: Iterable[Held]) -> None:
        """Leave these leases alone: their jobs are settled, given back or lost."""
        with self._guard:
            for each in held:
                holder = self._holders.get(each.id)
                if holder is not None and holder.held.lease == each.lease:  # it may have been claimed anew
                    del self._holders[each.id]

    def release(self, holders: Iterable[AnyHolder], deadline: float) -> tuple[list[AnyHolder], list[AnyHolder]]:
        """Give jobs back as if they had never been claimed, those that somebody has locked again until the deadline.

        Returns:
            Those that were given back, and those that are held still; the others were lost.
        """
        released: list[AnyHolder] = []
        left = {holder.held.id: holder for holder in holders}
        everything = list(left.values())
        while left:
            try:
                with self._store.work() as conn:
                    free = self._store.release(conn, [holder.held for holder in left.values()])
                    states = self._store.states(conn, left.keys() - free)
            except TryAgainError:
                pass
            else:
                released += [left[id_] for id_ in free]
                left = {id_: left[id_] for id_, (_, lease) in states.items() if lease == left[id_].held.lease}
            if time.monotonic() >= deadline:
                break
            if left:
                time.sleep(AGAIN_SECONDS)
        self.remove(holder.held for holder in everything if holder.held.id not in left)
        return released, list(left.values())

    def leases(self) -> set[str]:
        """The leases that are held now."""
        with self._guard:
            return {holder.held.lease for holder in self._holders.values() if holder.held.lease is not None}

    def doubt(self, job_ids: Iterable[str] | None = None) -> None:
        """Look soon whether these jobs are still held, or all of them: somebody said otherwise."""
        with self._guard:
            mine = self._holders.keys() if job_ids is None else self._holders.keys() & set(job_ids)
            self._doubted |= mine
            doubted = bool(self._doubted)
        if doubted:
            self._wake.set()

    def _keep(self) -> None:
        next_renewal = time.monotonic() + self._every
        while not self._closing.is_set():
            self._wake.wait(max(0.0, next_renewal - time.monotonic()))
            self._wake.clear()
            if self._closing.is_set():
                return
            with self._guard:
                doubted, self._doubted = self._doubted, set()
            if doubted:
                self._check(doubted)
                self._closing.wait(SHORTEST_CHECK)
            if time.monotonic() >= next_renewal:
                self._renew()
                next_renewal = time.monotonic() + self._every

    def _check(self, job_ids: set[str]) -> None:
        """Tell the attempts among these that lost their job."""
        with self._guard:
            mine = {id_: self._holders[id_] for id_ in job_ids if id_ in self._holders}
        if not mine:
            return
        try:
            with self._store.work(read_only=True) as conn:
                states = self._store.states(conn, mine)
        except Exception as error:  # noqa: BLE001 - as above
            if not isinstance(error, TryAgainError):
                _log.exception("leases could not be looked at")
            return  # the next renewal will tell
        for id_, holder in mine.items():
            state = states.get(id_)
            if state is None or state[1] != holder.held.lease:
                self._lose(holder, lost_reason(state))

    def _renew(self) -> None:
        """Renew all leases; tell the attempts whose jobs are not theirs any more."""
        with self._guard:
            mine = dict(self._holders)
        if not mine:
            return
        asked_at = time.monotonic()
        self._asking = True
        try:
            with self._store.work() as conn:
                kept = self._store.renew(conn, [holder.held for holder in mine.values()], self._seconds)
        except Exception as error:  # noqa: BLE001 - whatever it is, the others must not run out unnoticed
            if not isinstance(error, TryAgainError):
                _log.exception("leases could not be renewed")
            self._give_up_on_expired(mine)
            return
        finally:
            self._asking = False
        for id_ in kept:
            mine[id_].renewed_at = asked_at
        self._check(mine.keys() - kept)

    def _watch_the_clock(self) -> None:
        """Give up on what has run out while a renewal gets no answer: a server that hangs raises no error.

        Where one alone can write, a renewal may wait for that one; meanwhile nobody takes a job either.
        """
        while self._store.many_writers and not self._closing.wait(self._every):
            if self._asking:
                with self._guard:
                    mine = dict(self._holders)
                self._give_up_on_expired(mine)

    def _give_up_on_expired(self, mine: Mapping[str, Holder]) -> None:
        """While the database is away: an attempt whose lease has run out may be another worker's by now."""
        now = time.monotonic()
        for holder in mine.values():
            if now - holder.renewed_at > self._seconds[holder.held.type_name]:
                self._lose(holder, LostReason.ERROR)

    def _lose(self, holder: Holder, reason: LostReason) -> None:
        self.remove([holder.held])
        holder.lose(reason)
