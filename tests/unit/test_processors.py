"""The decorator: which signatures are which mode, which are none, and what a handler may answer."""

from __future__ import annotations

import dataclasses
import inspect
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import pytest

from jobctl import Backoff, Continuation, Job, continue_with, processor, reschedule
from jobctl.answers import Rescheduled
from jobctl.codecs import PLAIN
from jobctl.errors import InvalidDataError, ProcessorError, UsageError
from jobctl.model import Schedule
from jobctl.naming import check_type_name
from jobctl.processors import Defaults, seconds_of
from jobctl.signatures import Mode

if TYPE_CHECKING:
    from only_for_type_checkers import Attempt, Connection, Out


@dataclasses.dataclass
class Request:
    id: int


# --- modes -----------------------------------------------------------------------------------------------------------


def plain(job): ...
def plain_annotated(job: Job) -> dict: ...
def plain_typed(job: Job[Request]) -> Request: ...
def plain_any_name(request): ...
def plain_positional_only(job, /): ...
def atomic(job, conn): ...
def atomic_annotated(job: Job[dict], conn: Connection) -> None: ...
def staged(job, attempt): ...
def staged_annotated(job: Job[Any], attempt: Attempt) -> Continuation: ...
async def async_plain(job: Job): ...
async def async_staged(job: Job, attempt: Attempt): ...


@pytest.mark.parametrize(
    ("handler", "mode", "is_async"),
    [
        (plain, Mode.PLAIN, False),
        (plain_annotated, Mode.PLAIN, False),
        (plain_typed, Mode.PLAIN, False),
        (plain_any_name, Mode.PLAIN, False),
        (plain_positional_only, Mode.PLAIN, False),
        (atomic, Mode.ATOMIC, False),
        (atomic_annotated, Mode.ATOMIC, False),
        (staged, Mode.STAGED, False),
        (staged_annotated, Mode.STAGED, False),
        (async_plain, Mode.PLAIN, True),
        (async_staged, Mode.STAGED, True),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_signature_picks_the_mode(handler, mode, is_async):
    """The parameters say the mode, whatever is annotated; types for type checkers alone are fine for the second."""
    made = processor("a")(handler)
    assert (made.mode, made.is_async) == (mode, is_async)
    assert made.handler is handler
    line = handler.__code__.co_firstlineno
    assert made.where == f"{__file__}:{line}"


def no_parameter(): ...
def three(job, attempt, conn): ...
def unknown_second(job, other): ...
def star(*jobs): ...
def star_star(**jobs): ...
def star_after(job, *rest): ...
def keyword_only(job, *, conn): ...
def with_default(job=None): ...
def second_with_default(job, conn=None): ...
def generator(job):
    yield


async def async_generator(job):
    yield


async def async_atomic(job, conn): ...
def not_a_job(job: dict): ...
def not_a_job_generic(job: list[int]): ...
def unreadable(job: Job[Out]): ...
def unreadable_syntax(job: "Job["): ...  # noqa: F722 - that is what is refused
def no_codec(job: Job[bytes]): ...
def output_without_codec(job) -> bytes: ...


@pytest.mark.parametrize(
    ("handler", "about"),
    [
        (no_parameter, r"the signature \(\): use f\(job\)"),
        (three, r"the signature \(job, attempt, conn\): use f\(job\)"),
        (unknown_second, r"the signature \(job, other\)"),
        (star, r"the signature \(\*jobs\)"),
        (star_star, r"the signature \(\*\*jobs\)"),
        (star_after, r"the signature \(job, \*rest\)"),
        (keyword_only, r"the signature \(job, \*, conn\)"),
        (with_default, r"the signature \(job=None\)"),
        (second_with_default, r"the signature \(job, conn=None\)"),
        (generator, "is a generator"),
        (async_generator, "is a generator"),
        (async_atomic, "is async and takes conn, which would keep a transaction open"),
        (not_a_job, r"its first parameter is annotated 'dict': use Job or Job\[In\]"),
        (not_a_job_generic, r"its first parameter is annotated 'list\[int\]'"),
        (unreadable, r"'Job\[Out\]' cannot be read: .*; import the type at run time"),
        (unreadable_syntax, "cannot be read"),
        (no_codec, "is not a type that JSON can be turned into"),
        (output_without_codec, "is not a type that JSON can be turned into"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_illegal_signature_is_refused(handler, about):
    """Any other signature is refused in one line that names the type, the handler's file and line, and the cure."""
    with pytest.raises(ProcessorError, match=about) as refused:
        processor("some-type")(handler)
    where = f"{__file__}:{handler.__code__.co_firstlineno}"
    assert f"the handler of 'some-type' ({where})" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 2


class Callable_:  # noqa: N801 - one of the odd things that somebody may decorate
    def __call__(self, job): ...


@pytest.mark.parametrize(
    "handler", [Callable_(), Callable_, len, 3, None], ids=["object", "class", "builtin", "3", "None"]
)
def test_what_is_no_function_is_refused(handler):
    """What is no function is refused as such, not with some error from inside."""
    with pytest.raises(ProcessorError, match="'some-type'"):
        processor("some-type")(handler)


def test_calling_a_processor_calls_its_handler():
    """A processor can be called like the function it was made of, as a test of a handler does."""

    @processor("double")
    def double(job):
        return job * 2

    assert double(21) == 42


def test_wrapped_handler_is_itself():
    """A handler under a decorator that keeps its signature is taken by it, and found where it was written."""
    import functools

    def decorated(function):
        @functools.wraps(function)
        def inner(*args):
            return function(*args)

        return inner

    made = processor("a")(decorated(atomic_annotated))
    assert made.mode is Mode.ATOMIC
    assert made.where == f"{__file__}:{atomic_annotated.__code__.co_firstlineno}"
    with pytest.raises(InvalidDataError):
        made.input_codec.decode("[]")


# --- codecs ----------------------------------------------------------------------------------------------------------


def returns_nothing(job) -> None: ...
def returns_continuation(job) -> Continuation: ...
def returns_never(job) -> NoReturn: ...
def returns_either(job) -> dict | Continuation: ...
def returns_optional(job) -> Request | None: ...
def returns_unreadable(job) -> Out: ...
def returns_model(job) -> Request: ...
def returns_literal(job) -> Literal["done"]: ...


def test_input_codec_is_that_of_the_annotation():
    """Job[In] decides what the input must be; Job and no annotation take all."""
    assert processor("a")(plain_typed).input_codec.decode('{"id": 1}') == Request(1)
    assert processor("a")(plain_annotated).input_codec is PLAIN
    assert processor("a")(plain).input_codec is PLAIN
    with pytest.raises(InvalidDataError, match="must be an object"):
        processor("a")(atomic_annotated).input_codec.decode("[]")


def test_output_codec_is_that_of_the_return_annotation():
    """The return annotation decides what the output must be, continuations apart."""
    assert processor("a")(returns_nothing).output_codec.encode(None) == "null"
    with pytest.raises(InvalidDataError, match="must be null"):
        processor("a")(returns_nothing).output_codec.encode(1)
    with pytest.raises(InvalidDataError, match="must be an object, not a string"):
        processor("a")(returns_either).output_codec.encode("x")
    with pytest.raises(InvalidDataError, match="does not fit Request"):
        processor("a")(returns_model).output_codec.encode({})
    with pytest.raises(InvalidDataError, match="must be a string"):
        processor("a")(returns_literal).output_codec.encode(1)


@pytest.mark.parametrize("handler", [returns_continuation, returns_never, returns_optional, returns_unreadable, plain])
def test_output_is_plain_where_nothing_can_be_asked_for(handler):
    """Where the annotation says nothing that can be checked, any JSON value is an output."""
    assert processor("a")(handler).output_codec is PLAIN


# --- options ---------------------------------------------------------------------------------------------------------


def test_options_are_kept():
    """Every option of the decorator is on the processor, types by name and durations in seconds."""
    other = processor("other")(plain)
    backoff = Backoff(1, 2, 3)
    made = processor(
        "a", entry=False, continues=(other, "x"), blockers=[other], lease="2m", backoff=backoff, max_attempts=5
    )(plain)
    assert made.name == "a"
    assert made.entry is False
    assert made.continues == ("other", "x")
    assert made.blockers == ("other",)
    assert (made.lease, made.backoff, made.max_attempts) == (120.0, backoff, 5)


def test_options_left_out():
    """Left out, nothing is restricted and the worker's values hold."""
    made = processor("a")(plain)
    assert (made.entry, made.continues, made.blockers) == (True, None, None)
    assert (made.lease, made.backoff, made.max_attempts) == (None, None, None)
    assert processor("a", continues=())(plain).continues == ()


def test_without_a_name():
    """A decorator that was written without the name says how to write it."""
    with pytest.raises(ProcessorError, match=r"needs the name of its type: @processor\('some-type'\)"):

        @processor
        def handler(job: Job) -> None:
            """Do nothing."""


@pytest.mark.parametrize("name", ["", "a b", "a,b", "a\tb", "a\nb", "a\x00b", "x" * 201])
def test_type_name_that_could_not_be_listed_is_refused(name):
    """A type's name has no white space and no comma, and an end."""
    with pytest.raises(ProcessorError, match="is not a type name"):
        processor(name)
    with pytest.raises(UsageError, match="is not a type name"):
        check_type_name(name, UsageError)


@pytest.mark.parametrize("name", ["a", "release.await-approval", "ns:x/y@1", "größe", "x" * 200])
def test_type_name(name):
    """Any other text is a name."""
    assert processor(name)(plain).name == name


@pytest.mark.parametrize(
    "make", [lambda backoff: processor("a", backoff=backoff), lambda backoff: Defaults(backoff=backoff)]
)
def test_backoff_is_one(make):
    """A backoff of another kind is refused when it is declared, not when the first attempt fails."""
    with pytest.raises(ProcessorError, match="backoff must be a Backoff, such as .*, not '10s'"):
        make("10s")


@pytest.mark.parametrize("number", [0, -1])
def test_max_attempts_is_at_least_one(number):
    """A processor that may not even try once is refused."""
    with pytest.raises(ProcessorError, match=f"'a': max_attempts must be 1 or more, not {number}"):
        processor("a", max_attempts=number)
    with pytest.raises(ProcessorError, match=f"the module's defaults: max_attempts must be 1 or more, not {number}"):
        Defaults(max_attempts=number)


@pytest.mark.parametrize(
    ("value", "seconds"), [(None, None), (30, 30), (0.5, 0.5), ("1m30s", 90), (timedelta(minutes=1), 60)]
)
def test_durations_of_options(value, seconds):
    """A duration may be given as seconds, a timedelta or a text."""
    assert seconds_of(value) == seconds


# --- answers ---------------------------------------------------------------------------------------------------------


def test_continue_with():
    """A continuation names the type, its input, when it is due and what it waits for."""
    successor = processor("next")(plain)
    assert continue_with(successor) == Continuation("next", None, Schedule(), ())
    assert continue_with("next", {"x": 1}, after="1h", blocked_by=["c"]) == Continuation(
        "next", {"x": 1}, Schedule(after=timedelta(hours=1)), ("c",)
    )
    instant = datetime(2030, 1, 1, tzinfo=UTC)
    assert continue_with("next", at=instant).schedule == Schedule(at=instant)
    with pytest.raises(UsageError, match="not both"):
        continue_with("next", after="1h", at=instant)


def test_reschedule_cannot_be_caught_by_accident():
    """Reschedule leaves the handler past ``except Exception`` and carries the time."""
    with pytest.raises(Rescheduled) as raised:
        try:
            reschedule(after="5m")
        except Exception:  # noqa: BLE001 - what a handler may do
            pytest.fail("caught")
    assert raised.value.schedule == Schedule(after=timedelta(minutes=5))
    with pytest.raises(UsageError, match="no zone"):
        reschedule(at=datetime(2030, 1, 1))  # noqa: DTZ001 - that is what is refused


def test_every_parameter_of_the_decorator_is_documented():
    """The decorator's docstring speaks of each of its parameters."""
    text = inspect.getdoc(processor) or ""
    assert all(f"{name}:" in text for name in inspect.signature(processor).parameters)
