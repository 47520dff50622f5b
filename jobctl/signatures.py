"""Reading a handler's signature: how it meets the database, what it takes, what it returns."""

from __future__ import annotations

import enum
import functools
import inspect
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from jobctl.answers import Continuation
from jobctl.codecs import PLAIN, Codec, codec_for
from jobctl.errors import ProcessorError
from jobctl.model import Job

_MODES_HELP = "use f(job), f(job, conn) or f(job, attempt), or async f(job) or f(job, attempt)"


class Mode(enum.Enum):
    """How a handler meets the database, told by its signature."""

    PLAIN = "plain"  # f(job): no transaction while it runs
    ATOMIC = "atomic"  # f(job, conn): the body is the completing transaction
    STAGED = "staged"  # f(job, attempt): it says when


@dataclass(frozen=True, slots=True)
class Signature:
    """What a handler's signature says.

    Attributes:
        mode: How it meets the database.
        is_async: Whether it is a coroutine function.
        input_type: What it takes, the ``In`` of its ``Job[In]``; Any where it does not say.
        input_codec: From JSON to that.
        output_codec: From what it returns to JSON.
        where: File and line of the handler.
    """

    mode: Mode
    is_async: bool
    input_type: Any
    input_codec: Codec
    output_codec: Codec
    where: str


def read_signature(name: str, handler: Callable[..., Any]) -> Signature:
    """What the signature of a type's handler says.

    Raises:
        ProcessorError: It is none that a handler may have.
    """
    where = _where(name, handler)
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
    is_async = inspect.iscoroutinefunction(handler)
    if mode is Mode.ATOMIC and is_async:
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
    return Signature(mode, is_async, input_type, input_codec, output_codec, where)


def _where(name: str, handler: Callable[..., Any]) -> str:
    code = getattr(inspect.unwrap(handler), "__code__", None)
    if code is None:
        raise ProcessorError(f"the handler of '{name}' is {handler!r}: it must be a function")
    return f"{code.co_filename}:{code.co_firstlineno}"


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
