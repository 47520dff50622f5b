"""Middleware: what is done around attempts, the same for many processors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

from jobctl.errors import ProcessorError
from jobctl.model import Job

Added = Iterator[Mapping[str, Any] | None]
AroundAttempt = Callable[[Job[Any]], Added]
AroundPhase = Callable[[Job[Any], Any], Added]


class Middleware:
    """Something to be done around attempts: up to the ``yield`` before, afterwards after. Made by ``middleware``.

    What is yielded, a mapping, is added to ``job.context`` for the handler and for middleware further in. An error of
    the handler is raised at the ``yield``; it must be raised again, or another.

    Example:
        ::

            @middleware
            def timing(job):
                since = time.perf_counter()
                yield {"since": since}
                print(job.type_name, time.perf_counter() - since)

            @timing.complete
            def audit(job, conn):
                yield
                conn.execute(insert(audited).values(job=job.id))

            defaults = Defaults(middleware=[timing])
    """

    def __init__(self, around: AroundAttempt) -> None:
        self.name: str = around.__name__
        self.around = around
        self.around_phase: dict[str, AroundPhase] = {}

    def prepare(self, around: AroundPhase) -> AroundPhase:
        """Decorates what is done around the prepare block, in its transaction: it gets the job and the connection."""
        self.around_phase["prepare"] = around
        return around

    def complete(self, around: AroundPhase) -> AroundPhase:
        """Decorates what is done around the completing block, in its transaction."""
        self.around_phase["complete"] = around
        return around


def middleware(around: AroundAttempt) -> Middleware:
    """Make a generator function, which gets the job and yields once, a middleware around whole attempts."""
    return Middleware(around)


def check_middleware(whose: str, given: Sequence[Middleware]) -> tuple[Middleware, ...]:
    """Refuse what is no middleware.

    Raises:
        ProcessorError: It is not.
    """
    for each in given:
        if not isinstance(each, Middleware):
            raise ProcessorError(f"{whose}: {each!r} is no middleware: decorate a generator function with @middleware")
    return tuple(given)


class Around(Protocol):
    """Enters the middleware of a phase of an attempt."""

    def __call__(self, phase: str, conn: Any) -> ExitStack:
        """The middleware that was entered, to be left after the phase."""


@contextmanager
def around_attempt(chain: Sequence[Middleware], job: Job[Any]) -> Iterator[None]:
    """Enter the middleware of an attempt, the first one outermost; what it adds goes to the job's context.

    Raises:
        ProcessorError: One has swallowed an error.
    """
    failed: BaseException | None = None
    with ExitStack() as stack:
        for each in chain:
            _enter(stack, each, job, each.around, (job,))
        try:
            yield
        except BaseException as error:
            failed = error
            raise
    if failed is not None:
        raise ProcessorError("a middleware has swallowed the error of the handler: raise it again") from failed


def around_phase(chain: Sequence[Middleware], job: Job[Any], phase: str, conn: Any) -> ExitStack:
    """Enter the middleware of a phase, the first one outermost; leave it by what is returned."""
    with ExitStack() as stack:
        for each in chain:
            around = each.around_phase.get(phase)
            if around is not None:
                _enter(stack, each, job, around, (job, conn))
        return stack.pop_all()


def _enter(
    stack: ExitStack, each: Middleware, job: Job[Any], around: Callable[..., Added], arguments: tuple[Any, ...]
) -> None:
    added = stack.enter_context(contextmanager(around)(*arguments))
    if added is None:
        return
    if not isinstance(added, Mapping):
        raise ProcessorError(f"the middleware '{each.name}' yielded {added!r}: yield a mapping, or nothing")
    job.context.update(added)
