"""JSON to the type that a handler's annotation names, and back.

A codec is picked by the type: plain JSON values, a dataclass, a pydantic model or a msgspec struct.
pydantic and msgspec are never imported here first: a class of theirs can only exist when they are.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import re
import sys
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Protocol
from uuid import UUID

from jobctl.errors import InvalidDataError, ProcessorError


class Codec(Protocol):
    """Between JSON text and the values that a handler works with.

    Both directions raise InvalidDataError, with a text that begins after "the input …".
    """

    def decode(self, text: str) -> Any:
        """The value that the text stands for."""

    def encode(self, value: Any) -> str:
        """The text that stands for the value, if the value is one that the type allows."""


MAX_DEPTH = 200
"""Levels of nesting that are accepted: what is stored must be readable, whoever reads it and however deep in calls."""

_NESTING = re.compile(r'"(?:[^"\\]|\\.)*"|([\[{])|[\]}]')


def _depth(text: str) -> int:
    """How many levels JSON text is nested."""
    deepest = depth = 0
    for match in _NESTING.finditer(text):
        if match[1]:
            depth += 1
            deepest = max(deepest, depth)
        elif match[0][0] != '"':
            depth -= 1
    return deepest


_DECODER = json.JSONDecoder()


def decode_json(text: str) -> Any:
    """Plain JSON values from text that encode_json made."""
    try:
        value, end = _DECODER.raw_decode(text)  # without a look for white space: a third of the time
    except json.JSONDecodeError:
        end = -1
    return value if end == len(text) else json.loads(text)


def encode_json(value: Any) -> str:
    """JSON text of plain values, dataclasses, pydantic models, msgspec structs, times, UUIDs and enums.

    Raises:
        InvalidDataError: The value has no JSON form.
    """
    if value is None:
        return "null"
    try:
        text = _ENCODER.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidDataError(f"is not JSON: {error}") from error
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise InvalidDataError(f"is not JSON that can be kept: it is nested deeper than {MAX_DEPTH} levels")
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:  # a lone surrogate is allowed in JSON, but only in its escaped form
            return json.dumps(json.loads(text))
    return text


def parse_json(text: str) -> Any:
    """Plain JSON values from text that somebody wrote.

    Raises:
        InvalidDataError: The text is not JSON; NaN and Infinity are not.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InvalidDataError(f"is not JSON: {error.msg} ({where})") from error
    except (ValueError, RecursionError) as error:
        raise InvalidDataError(f"is not JSON: {error}") from error


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")


def _jsonable(value: Any) -> Any:
    """What stands for a value that the json module does not know."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if _is_pydantic(type(value)):
        return value.model_dump(mode="json", by_alias=True)
    if _is_msgspec(type(value)):
        return sys.modules["msgspec"].to_builtins(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, UUID | Decimal):
        return str(value)
    if isinstance(value, enum.Enum):
        return value.value
    raise TypeError(f"a {type(value).__name__} has no JSON form")


_ENCODER = json.JSONEncoder(
    allow_nan=False, ensure_ascii=False, separators=(",", ":"), default=_jsonable, check_circular=True
)


def codec_for(annotation: Any) -> Codec:
    """The codec for a type.

    Raises:
        ProcessorError: No codec knows the type.
    """
    if annotation is Any or annotation is object:
        return PLAIN
    if isinstance(annotation, type) and typing.get_origin(annotation) is None:
        if _is_pydantic(annotation):
            return _PydanticCodec(annotation)
        if _is_msgspec(annotation):
            return _MsgspecCodec(annotation)
        if dataclasses.is_dataclass(annotation):
            return _DataclassCodec(annotation)
        if typing.is_typeddict(annotation):
            return _PlainCodec((dict,))
    outer = _plain_types(annotation)
    if outer is None:
        raise ProcessorError(
            f"{annotation!r} is not a type that JSON can be turned into: "
            "use plain JSON types, a dataclass, a pydantic model or a msgspec struct"
        )
    return _PlainCodec(outer)


def _plain_types(annotation: Any) -> tuple[type, ...] | None:
    """The Python types of a JSON value that the annotation allows at its top, or None if it is not plain."""
    origin = typing.get_origin(annotation)
    if origin is typing.Union or origin is types.UnionType:
        members = [_plain_types(member) for member in typing.get_args(annotation)]
        if any(member is None for member in members):
            return None
        return tuple(kind for member in members if member is not None for kind in member)
    if origin is typing.Literal:
        return tuple({type(value) for value in typing.get_args(annotation)})
    if annotation is None or annotation is type(None):
        return (type(None),)
    plain = origin or annotation
    if plain is float:
        return (int, float)
    return (plain,) if plain in {dict, list, str, int, bool} else None


def _is_pydantic(kind: type) -> bool:
    module = sys.modules.get("pydantic")
    return module is not None and issubclass(kind, module.BaseModel)


def _is_msgspec(kind: type) -> bool:
    module = sys.modules.get("msgspec")
    return module is not None and issubclass(kind, module.Struct)


_JSON_NAMES = {
    dict: "an object",
    list: "an array",
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


@dataclass(frozen=True, slots=True)
class _PlainCodec:
    """Plain JSON values; with ``allowed``, only those of these types at the top."""

    allowed: tuple[type, ...] = ()

    def decode(self, text: str) -> Any:
        value = decode_json(text)
        self._check(value)
        return value

    def encode(self, value: Any) -> str:
        text = encode_json(value)
        if self.allowed:
            self._check(decode_json(text))
        return text

    def _check(self, value: Any) -> None:
        if self.allowed and type(value) not in self.allowed:
            wanted = " or ".join(_JSON_NAMES[kind] for kind in self.allowed)
            raise InvalidDataError(f"must be {wanted}, not {_JSON_NAMES[type(value)]}")


PLAIN: Codec = _PlainCodec()


class _ModelCodec:
    """What the codecs of model classes share: a value that is not of the class must pass as one."""

    def __init__(self, kind: type[Any]) -> None:
        self.kind = kind

    def decode(self, text: str) -> Any:
        raise NotImplementedError

    def encode(self, value: Any) -> str:
        text = encode_json(value)
        if not isinstance(value, self.kind):
            self.decode(text)
        return text


class _DataclassCodec(_ModelCodec):
    def decode(self, text: str) -> Any:
        import dacite  # noqa: PLC0415 - only programs that use dataclasses pay for it

        value = json.loads(text)
        if not isinstance(value, dict):
            raise InvalidDataError(f"must be an object for {self.kind.__name__}")
        hooks: dict[Any, Callable[[Any], Any]] = {
            datetime: datetime.fromisoformat,
            date: date.fromisoformat,
            UUID: UUID,
            Decimal: Decimal,
        }
        config = dacite.Config(strict=True, type_hooks=hooks, cast=[enum.Enum])
        try:
            return dacite.from_dict(self.kind, value, config)
        except dacite.DaciteError as error:
            raise InvalidDataError(f"does not fit {self.kind.__name__}: {error}") from error
        except (TypeError, ValueError, ArithmeticError, RecursionError) as error:
            raise InvalidDataError(f"does not fit {self.kind.__name__}: {error}") from error


class _PydanticCodec(_ModelCodec):
    def decode(self, text: str) -> Any:
        from pydantic import ValidationError  # noqa: PLC0415 - optional, and here it is loaded already

        try:
            return self.kind.model_validate_json(text)
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(str(part) for part in problem['loc']) or 'value'}: {problem['msg']}"
                for problem in error.errors(include_url=False)
            )
            raise InvalidDataError(f"does not fit {self.kind.__name__}: {problems}") from error


class _MsgspecCodec(_ModelCodec):
    def decode(self, text: str) -> Any:
        import msgspec  # noqa: PLC0415 - optional, and here it is loaded already

        try:
            return msgspec.json.decode(text, type=self.kind)
        except (msgspec.DecodeError, RecursionError) as error:  # its own parser is stricter about text and depth
            raise InvalidDataError(f"does not fit {self.kind.__name__}: {error}") from error
