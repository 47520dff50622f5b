"""What is never shown is found in values, and taken out of values and texts."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from jobctl import Defaults, processor
from jobctl.errors import InvalidDataError, ProcessorError
from jobctl.registry import Registry
from jobctl.sensitive import Sensitive

PAID = Sensitive({"charge": ["card", "auth.token", "items.secret", "*.pin"], "login": ["password"]})


def test_masked():
    """A path names a field, through lists too; what is not there, and null, stay as they are; nothing else changes."""
    value = {
        "card": "4111",
        "auth": {"token": ["a", "b"], "user": "ann"},
        "items": [{"secret": 1, "n": 2}, {"n": 3}],
        "x": {"pin": {"deep": True}},
        "password": "open",
    }
    assert PAID.masked(value, "charge") == {
        "card": "***",
        "auth": {"token": "***", "user": "ann"},
        "items": [{"secret": "***", "n": 2}, {"n": 3}],
        "x": {"pin": "***"},
        "password": "open",
    }
    assert value["card"] == "4111"
    assert PAID.masked({"card": None}, "charge") == {"card": None}
    assert PAID.masked(value, "charge", "login")["password"] == "***"
    for other in ("card", ["card"], 5, None, {"auth": "x"}):
        assert PAID.masked(other, "charge") == other
    assert PAID.masked(value, "report") is value


def test_nothing_known():
    """Where nobody knows what is sensitive, nothing is shown, but that there is something."""
    unknown = Sensitive({}, everything=True)
    assert unknown.masked({"a": 1}, "report") == "***"
    assert unknown.masked(None, "report") is None
    assert unknown.scrubbed("bad value: 12345", ({"a": 12345}, ["x"])) == "bad value: ***"


@dataclass
class Card:
    card: str


@pytest.mark.parametrize(
    ("value", "text", "scrubbed"),
    [
        ({"card": "4111-1111"}, "declined: 4111-1111!", "declined: ***!"),
        ({"card": 41111111}, "declined: 41111111", "declined: ***"),
        ({"card": "123"}, "123 is short", "123 is short"),
        ({"card": True}, "True", "True"),
        ({"card": {"number": ["abcd", "efgh"]}}, "abcd efgh number", "*** *** number"),
        ({"card": "a\n'b\u00e4"}, repr({"card": "a\n'b\u00e4"}), "{'card': \"***\"}"),
        (
            {"card": 'qu"o\u00e4'},
            '{"card": "qu\\"o\\u00e4"} {"card": "qu\\"o\u00e4"}',
            '{"card": "***"} {"card": "***"}',
        ),
        ({"card": "abcd", "auth": {"token": "abcdef"}}, "abcdef", "***"),
        (Card("4111-1111"), "Card(card='4111-1111')", "Card(card='***')"),
        ({"other": "4111-1111"}, "4111-1111", "4111-1111"),
    ],
)
def test_scrubbed(value: object, text: str, scrubbed: str):
    """A text loses each value in the ways in which texts have it, the longest first, but none that is short."""
    assert PAID.scrubbed(text, (value, ["charge"])) == scrubbed


def test_processors_say():
    """A processor's paths and those of its module's defaults count, and more may be added for any type."""

    @processor("charge", sensitive=("card",))
    def first(job): ...

    registry = Registry([first])
    assert registry.sensitive.masked({"card": 1, "x": 2}, "charge") == {"card": "***", "x": 2}
    registry.hide({"charge": ["x"], "other": ["y"]})
    assert registry.sensitive.masked({"card": 1, "x": 2}, "charge") == {"card": "***", "x": "***"}
    assert registry.sensitive.masked({"y": 1}, "other") == {"y": "***"}


@pytest.mark.parametrize("paths", ["card", [""], ["a..b"], [".a"], ("a.",)])
def test_bad_paths(paths: object):
    """What is no list of paths is refused where it is written."""
    with pytest.raises(ProcessorError, match="'charge': sensitive is a list of paths"):
        processor("charge", sensitive=paths)
    with pytest.raises(ProcessorError, match="the module's defaults: sensitive"):
        Defaults(sensitive=paths)


def test_refused_input():
    """What a codec says of a wrong input does not have the sensitive value."""

    @dataclass
    class Payment:
        card: int

    from jobctl import Job

    def charge(job): ...

    charge.__annotations__["job"] = Job[Payment]
    registry = Registry([processor("charge", sensitive=("card",))(charge)])
    with pytest.raises(InvalidDataError) as caught:
        registry.encode_input("charge", {"card": "4111-1111"})
    assert "4111" not in str(caught.value)
