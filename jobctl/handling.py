"""Running a handler, and what its end means for the job.

However a handler ends, one place turns that into an outcome: ``Handling._outcome`` for what it returned and
``Handling._failure`` for what it raised. A plain attempt's outcome goes to the worker, which settles many at
once; an attempt with a completing transaction settles itself in it.
"""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Coroutine
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple, TypeVar

from jobctl.answers import CommandFailedError, Continuation, GivenUp, Rescheduled
from jobctl.attempt import Attempt
from jobctl.errors import InvalidDataError
from jobctl.middlewares import around_attempt, around_phase
from jobctl.model import Backoff, Job, Schedule, Status, describe_error
from jobctl.naming import check_type_name
from jobctl.processors import AnyProcessor
from jobctl.registry import Registry
from jobctl.signatures import Mode
from jobctl.starting import successor_of
from jobctl.storage.records import Complete, Continue, Outcome, Postpone, Retry, Settled

Result = TypeVar("Result")

SOON = Schedule.of("1s")
"""When an attempt is made again that the database, not its handler, ended."""


class Ended(NamedTuple):
    """How a handler ended.

    Attributes:
        outcome: What becomes of the job; None when the attempt was lost.
        settled: What the attempt's own transaction did, if it committed the outcome itself.
    """

    outcome: Outcome | None
    settled: Settled | None = None


LOST = Ended(None)


class Handling:
    """Runs attempts with the processors of a registry."""

    def __init__(self, registry: Registry, backoff: Backoff, max_attempts: int | None = None) -> None:
        self._registry = registry
        self._backoff = backoff
        self._max_attempts = max_attempts

    def sync(self, attempt: Attempt) -> Ended:
        """Run a function's attempt on this thread."""
        known = self._registry[attempt.held.type_name]
        try:
            job = self._job(attempt, known)
            if known.middleware:
                with _around(attempt, known, job):
                    value = _call(attempt, known, job)
            else:
                value = _call(attempt, known, job)
            outcome = self._outcome(attempt, known, value)
        except BaseException as error:  # noqa: BLE001 - whatever a handler raises ends its attempt, not the worker
            attempt.roll_back()
            return Ended(self._failure(attempt, known, error))
        return self._finish(attempt, known, outcome)

    async def coroutine(self, attempt: Attempt) -> Ended:
        """Run a coroutine function's attempt on this event loop; its phases run on a thread of their own."""
        known = self._registry[attempt.held.type_name]
        try:
            try:
                job = self._job(attempt, known)
                with _around(attempt, known, job):
                    if known.mode is Mode.STAGED:
                        value = await known.handler(job, attempt)
                    else:
                        value = await known.handler(job)
                outcome = self._outcome(attempt, known, value)
            except BaseException as error:  # noqa: BLE001 - as above; a cancelled attempt is a lost one
                if known.mode is Mode.STAGED:
                    await _to_the_end(attempt.lane().run(attempt.roll_back))
                return Ended(self._failure(attempt, known, error))
            if attempt.completing:
                return await _to_the_end(attempt.lane().run(self._finish, attempt, known, outcome))
            return LOST if attempt.lost else Ended(outcome)
        finally:
            attempt.close_lane()

    def _finish(self, attempt: Attempt, known: AnyProcessor, outcome: Outcome) -> Ended:
        """Settle in the completing transaction, if there is one."""
        if not attempt.completing:
            return LOST if attempt.lost else Ended(outcome)
        try:
            return Ended(outcome, attempt.settle(outcome))
        except BaseException as error:  # noqa: BLE001 - as above
            return Ended(self._failure(attempt, known, error))

    def _job(self, attempt: Attempt, known: AnyProcessor) -> Job[Any]:
        row = attempt.row
        most = self._most_attempts(known)
        if most is not None and row.attempt > most:  # the last one was never heard of again: its worker died
            raise GivenUp(f"the attempts are used up, {most} of {most}; the last: {row.last_error}")
        try:
            value = known.input_codec.decode(row.input)
        except InvalidDataError as error:
            raise InvalidDataError(f"the input of '{known.name}' {error}") from error
        if attempt.blockers:
            self._registry.check_blockers(known.name, [each.type_name for each in attempt.blockers])
        return Job(
            id=row.id,
            chain_id=row.chain_id,
            chain_type=row.chain_type,
            chain_index=row.chain_index,
            type_name=row.type_name,
            status=Status.RUNNING,
            priority=row.priority,
            input=value,
            output=None,
            created_at=row.created_at,
            scheduled_at=row.scheduled_at,
            attempt=row.attempt,
            worker=row.worker,
            leased_until=row.leased_until,
            last_error=row.last_error,
            blocker_ids=tuple(each.id for each in attempt.blockers),
            blockers=attempt.blockers,
        )

    def _outcome(self, attempt: Attempt, known: AnyProcessor, value: Any) -> Outcome:
        """What a handler's answer means."""
        if not isinstance(value, Continuation):
            return Complete(self._registry.encode_output(known.name, value))
        name = value.type_name
        check_type_name(name, InvalidDataError)
        self._registry.check_continuation(known.name, name)
        text = self._registry.encode_continuation(name, value.input)
        return Continue(successor_of(attempt.row, value, text))

    def _failure(self, attempt: Attempt, known: AnyProcessor, error: BaseException) -> Outcome | None:
        """What a handler's error means; None: the attempt was lost, and nothing is to be written."""
        match error:
            case _ if attempt.lost is not None:
                return None
            case Rescheduled(schedule=schedule):
                return Postpone(schedule)
            case GivenUp():
                return Retry(self._scrubbed(attempt, describe_error(error, render=_reason)), None)
            case _ if error is attempt.interrupted_by:  # the database failed, not the handler
                return Postpone(SOON)
        return self._failed(attempt, known, error)

    def _scrubbed(self, attempt: Attempt, text: str) -> str:
        """An error without what is sensitive in what the handler was given."""
        sensitive = self._registry.sensitive
        if not sensitive:
            return text
        row = attempt.row
        given = [(json.loads(row.input), (row.type_name, row.chain_type))]
        for each in attempt.blockers:
            given += [(value, (each.type_name, each.job_type)) for value in (each.input, each.output)]
        return sensitive.scrubbed(text, *given)

    def _failed(self, attempt: Attempt, known: AnyProcessor, error: BaseException) -> Outcome:
        """What a failed attempt means; a command's error is its text alone."""
        if not isinstance(error, CommandFailedError):
            text = describe_error(error, render=lambda error: self._scrubbed(attempt, _traceback(error)))
            return self.retry(attempt, known, text)
        outcome = self.retry(attempt, known, describe_error(error, render=str))
        if error.again and outcome.delay is None:  # its last one, and it is not to count
            return Postpone(Schedule(after=timedelta(seconds=self._delay(attempt, known))))
        return outcome

    def retry(self, attempt: Attempt, known: AnyProcessor, error: str) -> Retry:
        """Another attempt after the backoff, or none when they are used up."""
        error = self._scrubbed(attempt, error)
        number, most = attempt.held.attempt, self._most_attempts(known)
        if most is not None and number >= most:
            return Retry(error, None)
        return Retry(error, self._delay(attempt, known))

    def _delay(self, attempt: Attempt, known: AnyProcessor) -> float:
        return (known.backoff or self._backoff).delay(attempt.held.attempt)

    def _most_attempts(self, known: AnyProcessor) -> int | None:
        return known.max_attempts if known.max_attempts is not None else self._max_attempts


def _call(attempt: Attempt, known: AnyProcessor, job: Job[Any]) -> Any:
    """Call a function as its mode says."""
    match known.mode:
        case Mode.PLAIN:
            return known.handler(job)
        case Mode.STAGED:
            return known.handler(job, attempt)
        case Mode.ATOMIC:
            with attempt.complete() as conn:
                return known.handler(job, conn)


def _around(attempt: Attempt, known: AnyProcessor, job: Job[Any]) -> AbstractContextManager[None]:
    """The processor's middleware around the attempt, and around its phases when they come."""
    if not known.middleware:
        return nullcontext()
    attempt.around = partial(around_phase, known.middleware, job)
    return around_attempt(known.middleware, job)


async def _to_the_end(work: Coroutine[Any, Any, Result]) -> Result:
    """Await something that cancelling must not leave half done."""
    task = asyncio.ensure_future(work)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    return task.result()


def _reason(error: BaseException) -> str:
    """Why a handler gave up, after the error that made it do so, if there was one."""
    before = error.__cause__ or error.__context__
    return str(error) if before is None else f"{_traceback(before)}\n{error}"


def _traceback(error: BaseException) -> str:
    """Text and traceback, from the handler's own frame on."""
    told = traceback.TracebackException.from_exception(error)
    while told.stack and told.stack[0].filename == __file__:
        del told.stack[0]
    return "".join(told.format())
