"""Settling a chain's current job by hand, while it is locked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from jobctl.acts import Hand, changed
from jobctl.answers import continue_with
from jobctl.codecs import decode_json
from jobctl.errors import (
    AlreadySettledError,
    BlockedError,
    ConflictError,
    GuardError,
    UsageError,
)
from jobctl.inside import Inside
from jobctl.model import Job, Status
from jobctl.naming import check_type_name
from jobctl.processors import AnyProcessor
from jobctl.registry import Registry
from jobctl.starting import check_blockers, successor_of
from jobctl.storage import reading
from jobctl.storage.decoding import job_of
from jobctl.storage.records import LOST, Complete, Continue, Held, JobRow, Settlement
from jobctl.storage.store import Store


class Current:
    """A chain's current job, locked: to be completed or continued, once or in several steps.

    Attributes:
        job: The job.
    """

    def __init__(
        self,
        store: Store,
        conn: Connection,
        processors: Registry,
        row: JobRow,
        waits_for: tuple[str, ...],
        *,
        force: bool,
        hand: Hand,
        inside: Inside | None = None,
    ) -> None:
        self._store = store
        self._conn = conn
        self._processors = processors
        self._row = row
        self._force = force
        self._hand = hand
        self._inside = inside
        self._by_attempt: Mapping[str, Any] = {}
        self.job = job_of(row, {row.id: waits_for})

    def check(self, wanted: str, expect: str | None) -> None:
        """Refuse a job that is not the current one any more, a closed chain, and a step that is not the expected.

        From inside of an attempt, also a job that was taken from it.
        """
        job = self.job
        here = f"the chain {job.chain_id} is at '{job.type_name}' ({job.status})"
        if wanted not in {job.id, job.chain_id}:
            raise AlreadySettledError(
                f"the job {wanted} was settled before: {here}",
                id=wanted,
                chain_id=job.chain_id,
                status=job.status,
            )
        if expect is not None and expect != job.type_name:
            raise GuardError(
                f"the chain is not at '{expect}': {here}",
                chain_id=job.chain_id,
                expected=expect,
                current=job.type_name,
            )
        if job.status.closed:
            by = f"by {job.completed_by}" if job.completed_by else "by hand"
            raise AlreadySettledError(
                f"the chain {job.chain_id} is closed: its last job '{job.type_name}' was {job.status} {by}",
                id=job.id,
                chain_id=job.chain_id,
                status=job.status,
            )
        if self._inside is not None:
            self._by_attempt = self._inside.facts(self._row)

    @property
    def is_its_commands(self) -> bool:
        """Whether it is a command of the job's own attempt that settles it, and no person; known once checked."""
        return bool(self._by_attempt)

    def complete(self, output: Any = None) -> None:
        """End the chain with an output."""
        self._refuse_if_unsettleable()
        text = self._processors.encode_output(self.job.type_name, output)
        self._settle(Complete(text), "complete", self._row.id)
        self.job = replace(self.job, status=Status.COMPLETED, output=decode_json(text))

    def continue_with(
        self,
        successor: str | AnyProcessor,
        input: Any = None,  # noqa: A002 - the field's name everywhere
        *,
        after: timedelta | str | None = None,
        at: datetime | None = None,
        blocked_by: Sequence[str] = (),
        priority: int | None = None,
        id: str | None = None,  # noqa: A002 - as above
    ) -> Job[Any]:
        """Hand over to a successor, which is then the current job; the same as a handler's continue_with."""
        self._refuse_if_unsettleable()
        asked = continue_with(successor, input, after=after, at=at, blocked_by=blocked_by, priority=priority, id=id)
        name = asked.type_name
        check_type_name(name, UsageError)
        self._processors.check_continuation(self.job.type_name, name)
        next_job = successor_of(self._row, asked, self._processors.encode_input(name, input))
        check_blockers(self._conn, self._processors, next_job)
        self._row = self._settle(Continue(next_job), "continue", next_job.id)
        self.job = job_of(self._row, {next_job.id: next_job.blocked_by})
        return self.job

    def _refuse_if_unsettleable(self) -> None:
        if self.job.status.closed:
            raise ConflictError(f"the chain {self.job.chain_id} is closed: there is nothing left to settle")
        if self.job.status is Status.BLOCKED and not self._force:
            blockers = reading.chains(self._conn, self.job.blocker_ids)
            waits = [each for each in self.job.blocker_ids if blockers[each].status != Status.COMPLETED]
            raise BlockedError(
                f"the job {self.job.id} still waits for {', '.join(waits)}: settle it anyway with force",
                id=self.job.id,
                waits_for=waits,
            )

    def _settle(self, outcome: Complete | Continue, action: str, current_id: str) -> JobRow:
        """Settle the current job; returns the one that is then the chain's last."""
        before = self._row
        held = Held(before.id, before.chain_id, before.type_name, lease=None, worker=None, attempt=before.attempt)
        with self._conn.begin_nested():  # all or nothing: the caller may catch what this raises, and go on
            settled = self._store.settle(self._conn, [Settlement(held, outcome)])
            self._store.notify(self._conn, settled.told)
            now = reading.jobs(self._conn, [current_id])[current_id]
            details = {**changed(before, now), **self._by_attempt}
            self._store.record(self._conn, [self._hand.act(action, before.chain_id, before.id, details)])
        self._by_attempt = {}
        if before.lease is not None:
            self._store.notify(self._conn, {LOST: [before.id]})
        return now
