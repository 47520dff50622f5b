"""Between JSON and the type that a handler's annotation names."""

from __future__ import annotations

import dataclasses
import enum
import json
import typing
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import msgspec
import pydantic
import pytest

from jobctl.codecs import MAX_DEPTH, PLAIN, codec_for, decode_json, encode_json, parse_json
from jobctl.errors import InvalidDataError, ProcessorError


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Address:
    street: str
    number: int | None = None


@dataclasses.dataclass
class Order:
    id: str
    address: Address
    colour: Colour
    due: datetime
    amount: Decimal
    key: UUID
    day: date
    lines: list[Address] = dataclasses.field(default_factory=list)
    by_name: dict[str, Address] = dataclasses.field(default_factory=dict)
    weight: float | None = None


ORDER = {
    "id": "o1",
    "address": {"street": "Main"},
    "colour": "blue",
    "due": "2030-01-02T03:04:05+00:00",
    "amount": "12.30",
    "key": "01890a5d-ac96-774b-bcce-b302099a8057",
    "day": "2030-01-02",
    "lines": [{"street": "Side", "number": 7}],
    "by_name": {"x": {"street": "Other"}},
    "weight": 2,
}


class Person(pydantic.BaseModel):
    name: str
    age: int = pydantic.Field(ge=0, alias="years")


class Point(msgspec.Struct):
    x: int
    y: int = 0


@dataclasses.dataclass
class TreeOfDataclass:
    child: TreeOfDataclass | None = None


class TreeOfPydantic(pydantic.BaseModel):
    child: TreeOfPydantic | None = None


class TreeOfMsgspec(msgspec.Struct):
    child: TreeOfMsgspec | None = None


class Movie(typing.TypedDict):
    title: str


# --- text ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -1.5,
        "",
        "naïve – 日本 🎉",
        "a\x00b",
        "\ud800",
        "mixed é \udfff",
        [],
        {},
        {"b": 1, "a": {"nested": [1, None, {"x": "y"}]}},
        10**40,
        2**63,
        1e300,
        {"": 0},
    ],
)
def test_json_values_survive(value):
    """A plain JSON value comes back as it was, and its text can be stored as UTF-8."""
    text = encode_json(value)
    text.encode("utf-8")
    assert decode_json(text) == value
    assert type(decode_json(text)) is type(value)


def test_order_of_keys_survives():
    """An object's keys come back in the order given."""
    assert list(decode_json(encode_json({"z": 1, "a": 2, "m": 3}))) == ["z", "a", "m"]


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), -float("inf"), {"deep": [float("nan")]}, object(), {1, 2}, b"bytes", {(1, 2): 3}],
)
def test_what_has_no_json_form_is_refused(value):
    """A value without a JSON form is refused: NaN and the infinities, sets, bytes, odd keys, any object."""
    with pytest.raises(InvalidDataError, match=r"^is not JSON: "):
        encode_json(value)


def test_circle_is_refused():
    """A value that holds itself is refused."""
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(InvalidDataError, match=r"^is not JSON: "):
        encode_json(circle)


def nested(levels):
    value: Any = "[{not counted"
    for level in range(levels):
        value = {"]": value} if level % 2 else [value]
    return value


@pytest.mark.parametrize("levels", [MAX_DEPTH + 1, 200_000])
def test_too_deep_a_value_is_refused(levels):
    """A value nested too deep is refused and not a crash, before it is stored and nobody can read it."""
    value = nested(levels)
    with pytest.raises(InvalidDataError, match=r"^is not JSON"):
        encode_json(value)
    while isinstance(value, dict | list):  # let go of it level by level
        value = value["]"] if isinstance(value, dict) else value[0]


def test_deep_value_is_accepted():
    """A value is accepted to the documented depth; brackets within strings and side by side do not count."""
    value = [nested(MAX_DEPTH - 1), *["[" * 500], *[[] for _ in range(500)]]
    assert decode_json(encode_json(value)) == value


def test_too_deep_a_text_is_refused():
    """A text nested too deep for the parser is refused, not a crash."""
    with pytest.raises(InvalidDataError, match=r"^is not JSON: "):
        parse_json("[" * 200_000 + "]" * 200_000)


@pytest.mark.parametrize(
    "text", ["", "{", "{'a': 1}", "NaN", "[Infinity]", "-Infinity", "1 2", "\ufeff{}", "nul", "9" * 5000]
)
def test_what_is_no_json_is_refused(text):
    """Text that is not JSON is refused in one line, NaN and numbers too long to read among it."""
    with pytest.raises(InvalidDataError, match=r"^is not JSON: ") as refused:
        parse_json(text)
    assert "\n" not in str(refused.value)


def test_refusal_says_where():
    """A refusal of a text says the line and the column."""
    with pytest.raises(InvalidDataError, match=r"line 2, column 8"):
        parse_json('{"a": 1,\n "b":  }')


def test_number_too_long_to_write_is_refused():
    """A whole number with more digits than Python writes is refused, not a crash."""
    with pytest.raises(InvalidDataError, match=r"^is not JSON: "):
        encode_json(10**5000)


def test_models_have_json_forms():
    """Dataclasses, pydantic models, msgspec structs, times, UUIDs, decimals and enums can be inputs and outputs."""
    value = {
        "dataclass": Address("Main", 1),
        "pydantic": Person(name="Ann", years=3),
        "msgspec": Point(1, 2),
        "time": datetime(2030, 1, 1, tzinfo=UTC),
        "day": date(2030, 1, 1),
        "uuid": UUID(ORDER["key"]),
        "decimal": Decimal("1.10"),
        "enum": Colour.RED,
        "tuple": (1, 2),
    }
    assert decode_json(encode_json(value)) == {
        "dataclass": {"street": "Main", "number": 1},
        "pydantic": {"name": "Ann", "years": 3},
        "msgspec": {"x": 1, "y": 2},
        "time": "2030-01-01T00:00:00+00:00",
        "day": "2030-01-01",
        "uuid": ORDER["key"],
        "decimal": "1.10",
        "enum": "red",
        "tuple": [1, 2],
    }


def test_class_is_not_a_value():
    """A dataclass itself, instead of an instance of it, has no JSON form."""
    with pytest.raises(InvalidDataError, match="a type has no JSON form"):
        encode_json(Address)


# --- plain types -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [
        (dict, {"a": 1}, [1]),
        (dict[str, Any], {}, None),
        (list, [1], {"a": 1}),
        (list[int], [], "x"),
        (str, "x", 1),
        (int, 3, "3"),
        (int, 3, 3.5),
        (int, 3, True),
        (float, 3, "x"),
        (float, 3.5, True),
        (bool, True, 1),
        (None, None, {}),
        (dict | None, None, 1),
        (typing.Optional[str], "x", 1),  # noqa: UP045 - both spellings are in use
        (int | str, "x", None),
        (Literal["a", "b"], "a", 1),
        (Movie, {"title": "x"}, "x"),
    ],
)
def test_plain_types_check_the_top(annotation, good, bad):
    """A plain annotation is checked at the top of the value, in both directions, and says what it wants."""
    codec = codec_for(annotation)
    assert codec.decode(codec.encode(good)) == good
    with pytest.raises(InvalidDataError, match=r"^must be .+, not "):
        codec.encode(bad)
    with pytest.raises(InvalidDataError, match=r"^must be .+, not "):
        codec.decode(json.dumps(bad))


@pytest.mark.parametrize("annotation", [Any, object])
def test_anything_goes_where_anything_is_asked_for(annotation):
    """Any takes every JSON value."""
    codec = codec_for(annotation)
    assert codec.decode(codec.encode([1, {"x": None}])) == [1, {"x": None}]


@pytest.mark.parametrize("annotation", [set, bytes, tuple, complex, Colour, dict | bytes, "text", 3, type])
def test_types_without_codec_are_refused(annotation):
    """A type that JSON cannot be turned into is the module's error, and says what may be used."""
    with pytest.raises(ProcessorError, match="is not a type that JSON can be turned into: use plain JSON types"):
        codec_for(annotation)


# --- dataclasses -----------------------------------------------------------------------------------------------------


def test_dataclass_is_read_with_all_within():
    """Nested dataclasses, lists and dicts of them, optionals, enums, times, decimals and UUIDs are read."""
    order = codec_for(Order).decode(json.dumps(ORDER))
    assert order == Order(
        id="o1",
        address=Address("Main", None),
        colour=Colour.BLUE,
        due=datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC),
        amount=Decimal("12.30"),
        key=UUID(ORDER["key"]),
        day=date(2030, 1, 2),
        lines=[Address("Side", 7)],
        by_name={"x": Address("Other")},
        weight=2,
    )


def test_dataclass_comes_back():
    """What the codec writes it reads as an equal value."""
    codec = codec_for(Order)
    order = codec.decode(json.dumps(ORDER))
    assert codec.decode(codec.encode(order)) == order


@pytest.mark.parametrize(
    ("change", "about"),
    [
        ({"address": {"street": 7}}, "address.street"),
        ({"colour": "green"}, "green"),
        ({"due": "tomorrow"}, "tomorrow"),
        ({"due": 7}, "Order"),
        ({"amount": "x"}, "Order"),
        ({"key": "x"}, "Order"),
        ({"extra": 1}, "extra"),
        ({"lines": [{"number": 7}]}, "street"),
        ({"id": None}, "id"),
    ],
)
def test_wrong_dataclass_is_refused(change, about):
    """A value that does not fit is refused with the class's name and the place, unknown keys included."""
    with pytest.raises(InvalidDataError, match=r"^does not fit Order: ") as refused:
        codec_for(Order).decode(json.dumps({**ORDER, **change}))
    assert about in str(refused.value)


def test_missing_field_is_refused():
    """A field without default that is missing is named."""
    with pytest.raises(InvalidDataError, match="street"):
        codec_for(Address).decode("{}")


@pytest.mark.parametrize("text", ["[]", "null", '"x"', "3"])
def test_dataclass_is_an_object(text):
    """A dataclass is read from an object alone."""
    with pytest.raises(InvalidDataError, match="must be an object for Address"):
        codec_for(Address).decode(text)


# --- models of others ------------------------------------------------------------------------------------------------


def test_pydantic_model():
    """A pydantic model is read and written with its aliases; a wrong value is refused with the place."""
    codec = codec_for(Person)
    assert codec.decode('{"name": "Ann", "years": 3}') == Person(name="Ann", years=3)
    assert json.loads(codec.encode(Person(name="Ann", years=3))) == {"name": "Ann", "years": 3}
    with pytest.raises(InvalidDataError, match=r"^does not fit Person: years: .*greater than or equal to 0"):
        codec.decode('{"name": "Ann", "years": -1}')
    with pytest.raises(InvalidDataError, match=r"^does not fit Person: value: "):
        codec.decode("[]")


def test_msgspec_struct():
    """A msgspec struct is read and written; a wrong value is refused with the place."""
    codec = codec_for(Point)
    assert codec.decode('{"x": 1}') == Point(1, 0)
    assert json.loads(codec.encode(Point(1, 2))) == {"x": 1, "y": 2}
    with pytest.raises(InvalidDataError, match=r"^does not fit Point: .*\$\.x"):
        codec.decode('{"x": "one"}')


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (Address, {"street": "Main", "number": 1}, {"street": 1}),
        (Person, {"name": "Ann", "years": 3}, {"name": "Ann"}),
        (Point, {"x": 1}, {"y": 1}),
    ],
)
def test_plain_values_pass_for_models(kind, good, bad):
    """Where a model is asked for, plain values that would make one are taken, others refused."""
    codec = codec_for(kind)
    assert json.loads(codec.encode(good)) == good
    with pytest.raises(InvalidDataError, match=f"^does not fit {kind.__name__}"):
        codec.encode(bad)
    with pytest.raises(InvalidDataError):
        codec.encode(None)


@pytest.mark.parametrize("kind", [Address, Person, Point])
def test_surrogates_are_refused_by_models_in_words(kind):
    """A text that a model's own parser cannot read, as of a lone surrogate, is invalid data and not a crash."""
    field = {"Address": "number", "Person": "years", "Point": "x"}[kind.__name__]
    text = encode_json({"street": "x", "name": "x", field: "\ud800"})
    with pytest.raises(InvalidDataError, match=f"^does not fit {kind.__name__}: "):
        codec_for(kind).decode(text)


@pytest.mark.parametrize("kind", [TreeOfPydantic, TreeOfMsgspec])
def test_depth_is_refused_by_models_in_words(kind):
    """A value that is nested deeper than a model's own parser goes is invalid data and not a crash."""
    text = '{"child":' * 100_000 + "null" + "}" * 100_000
    with pytest.raises(InvalidDataError, match=r"^does not fit Tree"):
        codec_for(kind).decode(text)


def test_dataclass_is_read_as_deep_as_is_accepted():
    """Whatever depth is accepted can be read as a dataclass, too."""
    tree = codec_for(TreeOfDataclass).decode('{"child":' * MAX_DEPTH + "null" + "}" * MAX_DEPTH)
    for _ in range(MAX_DEPTH):
        assert isinstance(tree, TreeOfDataclass)
        tree = tree.child
    assert tree is None


def test_plain_codec_takes_all():
    """The codec of handlers without annotation takes every JSON value."""
    assert PLAIN.decode(PLAIN.encode({"a": [None]})) == {"a": [None]}
