"""Processors: what handles a job type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Concatenate, Generic, TypeVar

from jobctl.codecs import Codec
from jobctl.errors import ProcessorError
from jobctl.middlewares import Middleware, check_middleware
from jobctl.model import Backoff, Job, Schedule
from jobctl.naming import check_type_name, type_name_of
from jobctl.sensitive import check_paths

if TYPE_CHECKING:
    from jobctl.signatures import Mode

In = TypeVar("In")
Out = TypeVar("Out")

DEFAULT_BACKOFF = Backoff()


@dataclass(frozen=True, slots=True)
class Takes:
    """In a declaration, instead of names: every type whose handler takes this input.

    Attributes:
        input: The ``In`` of its ``Job[In]``, exactly.
    """

    input: Any

    def __str__(self) -> str:
        return f"whatever takes {getattr(self.input, '__name__', self.input)}"


@dataclass(frozen=True)
class Processor(Generic[In, Out]):
    """The handler of one job type, as the decorator returns it. Calling it calls the handler.

    Attributes:
        name: The type.
        handler: The function.
        mode: How it meets the database.
        is_async: Whether it is a coroutine function.
        input_type: What the handler takes, the ``In`` of its ``Job[In]``; Any where it does not say.
        input_codec: From JSON to that.
        output_codec: From what it returns to JSON.
        entry: Whether a chain may start with it; else it is reachable by continuation alone.
        continues: What may follow, by name or by input; None: anything.
        blockers: The types of the chains it waits for, likewise; None: any.
        lease: Seconds; None: the worker's.
        backoff: None: the default.
        max_attempts: After so many failed attempts it is `failed`; None: the worker's, else never.
        middleware: What is done around its attempts, the outermost first.
        sensitive: Paths of what is never shown of its inputs and outputs.
        where: File and line of the handler.
        aliases: Former names of the type, whose jobs it handles too; such a job's ``type_name`` stays what it is.
    """

    name: str
    handler: Callable[..., Any]
    mode: Mode
    is_async: bool
    input_type: Any
    input_codec: Codec
    output_codec: Codec
    entry: bool
    continues: tuple[str | Takes, ...] | None
    blockers: tuple[str | Takes, ...] | None
    lease: float | None
    backoff: Backoff | None
    max_attempts: int | None
    middleware: tuple[Middleware, ...]
    where: str
    sensitive: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All names of the type, the present one first."""
        return (self.name, *self.aliases)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the handler, as a test of it does."""
        return self.handler(*args, **kwargs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """A module's defaults for its processors: any value of this class in the module's namespace."""

    lease: timedelta | str | float | None = None
    backoff: Backoff | None = None
    max_attempts: int | None = None
    middleware: Sequence[Middleware] = ()
    sensitive: Sequence[str] = ()

    def __post_init__(self) -> None:
        check_middleware("the module's defaults", self.middleware)
        _check_backoff("the module's defaults", self.backoff)
        _check_max_attempts("the module's defaults", self.max_attempts)
        check_paths("the module's defaults", self.sensitive, ProcessorError)


AnyProcessor = Processor[Any, Any]

Handler = Callable[Concatenate[Job[Any], ...], Any]
"""What the decorator takes, as far as types can tell: the names of the parameters that follow pick the mode."""


def processor(
    name: str,
    *,
    aliases: Sequence[str] = (),
    entry: bool = True,
    continues: Sequence[str | AnyProcessor | Takes] | None = None,
    blockers: Sequence[str | AnyProcessor | Takes] | None = None,
    lease: timedelta | str | float | None = None,
    backoff: Backoff | None = None,
    max_attempts: int | None = None,
    middleware: Sequence[Middleware] = (),
    sensitive: Sequence[str] = (),
) -> Callable[[Handler], AnyProcessor]:
    """Make a function the handler of a job type; its signature picks the mode.

    Example:
        ::

            @processor("resize", max_attempts=5)
            def resize(job: Job[Image]) -> dict:
                return {"width": shrink(job.input.path)}

    Args:
        name: The job type, without white space or commas.
        aliases: Former names of the type. Jobs that wait under one of them are claimed and handled too, chains may
            still start with it, and its inputs are checked; ``job.type_name`` stays the name that the job has.
        entry: False: reachable by continuation alone.
        continues: Which types may follow it: names, processors, or ``Takes(Order)`` for all that take an Order.
        blockers: Of which types the chains are that it waits for, likewise.
        lease: How long an attempt holds the job unless renewed; seconds, a timedelta or ``30s``.
        backoff: How long a failed attempt waits for the next.
        max_attempts: After so many it is `failed` and waits for a person.
        middleware: What is done around its attempts, inside that of the module's defaults.
        sensitive: Paths, such as ``card`` or ``auth.token``, of what is never shown of its inputs and outputs, nor in
            errors; the module's defaults have more.

    Raises:
        ProcessorError: The name, an option or the signature is not usable.
    """
    _check_max_attempts(f"'{name}'", max_attempts)
    names = _check_names(name, aliases)
    _check_backoff(f"'{name}'", backoff)
    around = check_middleware(f"'{name}'", middleware)
    hidden = check_paths(f"'{name}'", sensitive, ProcessorError)

    def decorate(handler: Handler) -> AnyProcessor:
        from jobctl.signatures import read_signature  # noqa: PLC0415 - only programs that have handlers pay for it

        signature = read_signature(name, handler)
        return Processor(
            name=name,
            handler=handler,
            mode=signature.mode,
            is_async=signature.is_async,
            input_type=signature.input_type,
            input_codec=signature.input_codec,
            output_codec=signature.output_codec,
            entry=entry,
            continues=_declared(continues),
            blockers=_declared(blockers),
            lease=seconds_of(lease),
            backoff=backoff,
            max_attempts=max_attempts,
            middleware=around,
            where=signature.where,
            sensitive=hidden,
            aliases=names[1:],
        )

    return decorate


def _check_names(name: str, aliases: Sequence[str]) -> tuple[str, ...]:
    if not isinstance(name, str):
        raise ProcessorError("a processor needs the name of its type: @processor('some-type')")
    check_type_name(name, ProcessorError)
    if isinstance(aliases, str):
        raise ProcessorError(f"'{name}': aliases must be several names, such as aliases=('{aliases}',)")
    names = (name, *aliases)
    for each in names:
        check_type_name(each, ProcessorError)
        if names.count(each) > 1:
            raise ProcessorError(f"'{name}': '{each}' is named twice: aliases are the other names of the type")
    return names


def _declared(references: Sequence[str | AnyProcessor | Takes] | None) -> tuple[str | Takes, ...] | None:
    if references is None:
        return None
    return tuple(each if isinstance(each, Takes) else type_name_of(each) for each in references)


def _check_backoff(whose: str, backoff: object) -> None:
    if not isinstance(backoff, Backoff | None):
        raise ProcessorError(f"{whose}: backoff must be a Backoff, such as Backoff(initial=10.0), not {backoff!r}")


def _check_max_attempts(whose: str, number: int | None) -> None:
    if number is not None and number < 1:
        raise ProcessorError(f"{whose}: max_attempts must be 1 or more, not {number}")


def seconds_of(value: timedelta | str | float | None) -> float | None:
    """Seconds, whichever way the duration was given."""
    if isinstance(value, str):
        value = Schedule.of(value).after
    return value.total_seconds() if isinstance(value, timedelta) else value
