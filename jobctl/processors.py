"""Processors: what handles a job type, and what a handler may answer."""

from __future__ import annotations

import enum
import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Concatenate, Generic, NoReturn, TypeVar

from jobctl.codecs import PLAIN, Codec, codec_for
from jobctl.errors import ProcessorError
from jobctl.middlewares import Middleware, check_middleware
from jobctl.model import Backoff, Job, Schedule
from jobctl.sensitive import check_paths

In = TypeVar("In")
Out = TypeVar("Out")

DEFAULT_BACKOFF = Backoff()


class Mode(enum.Enum):
    """How a handler meets the database, told by its signature."""

    PLAIN = "plain"  # f(job): no transaction while it runs
    ATOMIC = "atomic"  # f(job, conn): the body is the completing transaction
    STAGED = "staged"  # f(job, attempt): it says when


@dataclass(frozen=True, slots=True)
class Continuation:
    """What a handler returns to hand over to a successor. Made by continue_with."""

    type_name: str
    input: Any
    schedule: Schedule
    blocked_by: tuple[str, ...] = ()
    priority: int | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Takes:
    """In a declaration, instead of names: every type whose handler takes this input.

    Attributes:
        input: The ``In`` of its ``Job[In]``, exactly.
    """

    input: Any

    def __str__(self) -> str:
        return f"whatever takes {getattr(self.input, '__name__', self.input)}"


class Rescheduled(BaseException):
    """Raised by reschedule: the attempt ends, and the job is due at another time."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self.schedule = schedule


class GivenUp(BaseException):
    """Raised by fail: no further attempt would help, and the job waits for a person."""


class CommandFailedError(Exception):
    """Raised by a handler whose work failed outside of Python: its text, without a traceback, is the attempt's error.

    Attributes:
        again: Another attempt is asked for: this one does not use them up.
    """

    def __init__(self, message: str, *, again: bool = False) -> None:
        super().__init__(message)
        self.again = again


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
        where = _where(name, handler)
        mode, input_type, input_codec, output_codec = _read_signature(name, handler, where)
        return Processor(
            name=name,
            handler=handler,
            mode=mode,
            is_async=inspect.iscoroutinefunction(handler),
            input_type=input_type,
            input_codec=input_codec,
            output_codec=output_codec,
            entry=entry,
            continues=_declared(continues),
            blockers=_declared(blockers),
            lease=seconds_of(lease),
            backoff=backoff,
            max_attempts=max_attempts,
            middleware=around,
            where=where,
            sensitive=hidden,
            aliases=names[1:],
        )

    return decorate


def _check_names(name: str, aliases: Sequence[str]) -> tuple[str, ...]:
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


def continue_with(
    successor: str | AnyProcessor,
    input: Any = None,  # noqa: A002 - the field's name everywhere
    *,
    after: timedelta | str | None = None,
    at: datetime | None = None,
    blocked_by: Sequence[str] = (),
    priority: int | None = None,
    id: str | None = None,  # noqa: A002 - as above
) -> Continuation:
    """What a handler returns to hand over to the next job of its chain.

    Args:
        successor: The processor or its type.
        input: Its input.
        after: A delay before it is due.
        at: The time it is due.
        blocked_by: Ids of the chains that must complete first.
        priority: Its priority; None: that of the job before it.
        id: An id of the caller's own, a UUID.
    """
    return Continuation(type_name_of(successor), input, Schedule.of(after, at), tuple(blocked_by), priority, id)


def reschedule(*, after: timedelta | str | None = None, at: datetime | None = None) -> NoReturn:
    """End this attempt and run the job again later: no error, no backoff, no attempt charged.

    What the handler wrote in the completing transaction is rolled back.
    """
    raise Rescheduled(Schedule.of(after, at))


def fail(why: str) -> NoReturn:
    """Give up for good: the job is `failed` at once, however many attempts it had left, and waits for a person.

    What the handler wrote in the completing transaction is rolled back. Within an ``except`` block, the error that is
    handled there is kept too.

    Args:
        why: What a person is told.
    """
    raise GivenUp(why)


def type_name_of(processor_or_name: str | AnyProcessor) -> str:
    """The type's name, whichever way it was named."""
    return processor_or_name if isinstance(processor_or_name, str) else processor_or_name.name


_NAME = re.compile(r"[^\s,\x00]{1,200}")


def check_type_name(name: str, error: Callable[[str], Exception]) -> None:
    """Refuse names that could not be listed on a command line."""
    if not _NAME.fullmatch(name):
        raise error(f"{name!r} is not a type name: 1 to 200 characters, without white space or commas")


def _where(name: str, handler: Callable[..., Any]) -> str:
    code = getattr(inspect.unwrap(handler), "__code__", None)
    if code is None:
        raise ProcessorError(f"the handler of '{name}' is {handler!r}: it must be a function")
    return f"{code.co_filename}:{code.co_firstlineno}"


def seconds_of(value: timedelta | str | float | None) -> float | None:
    """Seconds, whichever way the duration was given."""
    if isinstance(value, str):
        value = Schedule.of(value).after
    return value.total_seconds() if isinstance(value, timedelta) else value


_MODES_HELP = "use f(job), f(job, conn) or f(job, attempt), or async f(job) or f(job, attempt)"


def _read_signature(name: str, handler: Callable[..., Any], where: str) -> tuple[Mode, Any, Codec, Codec]:
    parameters = list(inspect.signature(handler).parameters.values())
    positional = [each for each in parameters if each.kind in {each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD}]
    second = positional[1].name if len(positional) == 2 else None
    mode = {None: Mode.PLAIN, "conn": Mode.ATOMIC, "attempt": Mode.STAGED}.get(second)
    if len(positional) not in {1, 2}:
        mode = None
    if mode is None or len(positional) != len(parameters) or any(each.default is not each.empty for each in positional):
        raise ProcessorError(
            f"the handler of '{name}' ({where}) has the signature {inspect.signature(handler)}: {_MODES_HELP}"
        )
    if inspect.isgeneratorfunction(handler) or inspect.isasyncgenfunction(handler):
        raise ProcessorError(f"the handler of '{name}' ({where}) is a generator: {_MODES_HELP}")
    if mode is Mode.ATOMIC and inspect.iscoroutinefunction(handler):
        raise ProcessorError(
            f"the handler of '{name}' ({where}) is async and takes conn, which would keep a transaction open "
            f"while it awaits: {_MODES_HELP}"
        )
    try:
        input_type = _input_type(handler, positional[0])
        input_codec = codec_for(input_type)
        output_codec = _output_codec(handler)
    except ProcessorError as error:
        raise ProcessorError(f"the handler of '{name}' ({where}): {error}") from error
    return mode, input_type, input_codec, output_codec


def _resolve(handler: Callable[..., Any], annotation: Any) -> Any:
    """The annotation as an object, on its own: those of other parameters may be for type checkers alone."""
    holder = types.SimpleNamespace(__annotations__={"it": annotation})
    scope = getattr(inspect.unwrap(handler), "__globals__", {})
    return typing.get_type_hints(holder, globalns=scope)["it"]


def _input_type(handler: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    if parameter.annotation is parameter.empty:
        return Any
    try:
        annotation = _resolve(handler, parameter.annotation)
    except (NameError, TypeError, SyntaxError) as error:
        raise ProcessorError(
            f"its annotation {parameter.annotation!r} cannot be read: {error}; import the type at run time"
        ) from error
    if annotation is Job:
        return Any
    if typing.get_origin(annotation) is not Job:
        raise ProcessorError(f"its first parameter is annotated {parameter.annotation!r}: use Job or Job[In]")
    return typing.get_args(annotation)[0]


def _output_codec(handler: Callable[..., Any]) -> Codec:
    """The codec of the return annotation; plain where it names several types, or none that can be read."""
    raw = inspect.signature(handler).return_annotation
    if raw is inspect.Signature.empty:
        return PLAIN
    try:
        annotation = _resolve(handler, raw)
    except (NameError, TypeError, SyntaxError):
        return PLAIN  # a name for type checkers alone: JSON is all that can be asked for
    if typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        members = [each for each in typing.get_args(annotation) if each is not Continuation]
        annotation = functools.reduce(lambda left, right: left | right, members)
    if annotation in {Continuation, NoReturn, typing.Never}:
        return PLAIN
    if annotation is types.NoneType:
        return codec_for(None)
    try:
        return codec_for(annotation)
    except ProcessorError:
        if typing.get_origin(annotation) in {typing.Union, types.UnionType}:
            return PLAIN
        raise
