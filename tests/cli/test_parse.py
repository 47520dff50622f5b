"""What is written on a command line, read."""

from __future__ import annotations

import contextlib
import io
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jobctl.cli import parse
from jobctl.errors import InvalidDataError, UsageError
from jobctl.model import Status


def test_json_literal():
    """A JSON argument is any JSON value, null too."""
    for text, value in (('{"a": [1, 2.5, "é"]}', {"a": [1, 2.5, "é"]}), ("null", None), ("-5", -5), ('"x"', "x")):
        assert parse.json_argument("--input", text) == value


def test_json_from_file_and_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """@file and - read UTF-8, with a byte order mark too."""
    file = tmp_path / "in.json"
    file.write_bytes('\ufeff{"ä": 1}\n'.encode())
    assert parse.json_argument("--input", f"@{file}") == {"ä": 1}
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"[1]")))
    assert parse.json_argument("--input", "-") == [1]


@pytest.mark.parametrize("text", ["", "{", "{a: 1}", "NaN", "Infinity", "1e999x", "[" * 100_000, "1" * 5000, "'a'"])
def test_malformed_json(text: str):
    """What is not JSON is refused with the option's name and exit code 5."""
    with pytest.raises(InvalidDataError, match=r"^--output is not JSON: ") as caught:
        parse.json_argument("--output", text)
    assert caught.value.exit_code == 5


def test_file_that_is_no_json(tmp_path: Path):
    """A file that is missing is wrong usage; one that holds something else is wrong data, and both are named."""
    with pytest.raises(UsageError, match=r"--input: the file .*nope cannot be read: No such file"):
        parse.json_argument("--input", f"@{tmp_path / 'nope'}")
    with pytest.raises(UsageError, match="Is a directory"):
        parse.json_argument("--input", f"@{tmp_path}")
    file = tmp_path / "latin"
    file.write_bytes(b'"\xe9"')
    with pytest.raises(InvalidDataError, match=r"--input \(.*latin\) is not JSON: it is not UTF-8"):
        parse.json_argument("--input", f"@{file}")


def test_stdin_closed(monkeypatch: pytest.MonkeyPatch):
    """Reading a closed stdin is wrong usage, not a crash."""
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UsageError, match="closed"):
        parse.json_argument("--input", "-")


def test_set():
    """key=value is a text however it looks, key:=json a value; the first = divides."""
    given = ["a=1", "b:=1", "c=x=y", "d=", "e:=null", "f:g=h", "url=http://x/?a=b"]
    assert parse.set_arguments(given) == {
        "a": "1",
        "b": 1,
        "c": "x=y",
        "d": "",
        "e": None,
        "f:g": "h",
        "url": "http://x/?a=b",
    }


@pytest.mark.parametrize("pair", ["a", "=1", ":=1", ""])
def test_set_not_a_pair(pair: str):
    """A pair without a key or without = is refused."""
    with pytest.raises(UsageError, match="is not a pair"):
        parse.set_arguments([pair])


def test_set_twice_or_not_json():
    """A key given twice is refused, and so is a value that is no JSON."""
    with pytest.raises(UsageError, match="twice"):
        parse.set_arguments(["a=1", "a:=2"])
    with pytest.raises(InvalidDataError, match="--set a:= is not JSON"):
        parse.set_arguments(["a:=x"])


def test_input_xor_set():
    """--input and --set exclude each other; neither means null."""
    assert parse.input_argument(None, []) is None
    assert parse.input_argument(None, ["a=b"]) == {"a": "b"}
    with pytest.raises(UsageError, match="exclude"):
        parse.input_argument("1", ["a=b"])


def test_time_with_zone_is_silent():
    """A time with a zone is that instant, and nothing is said."""
    said: list[str] = []
    assert parse.instant("--at", "2030-01-31T17:00:00.5+01:00", said.append) == datetime(
        2030, 1, 31, 16, 0, 0, 500_000, UTC
    )
    assert parse.instant("--at", "2030-01-31T17:00Z", said.append) == datetime(2030, 1, 31, 17, tzinfo=UTC)
    assert said == []


@pytest.mark.usefixtures("here")
def test_time_without_zone_is_local():
    """A time without a zone is local, a date alone its midnight, and which instant that is, is said."""
    said: list[str] = []
    assert parse.instant("--at", "2030-01-31T17:00", said.append) == datetime(2030, 1, 31, 15, tzinfo=UTC)
    assert parse.instant("--at", "2030-01-31", said.append) == datetime(2030, 1, 30, 22, tzinfo=UTC)
    assert said == [
        "--at 2030-01-31T17:00 is local time (UTC+02:00): 2030-01-31T15:00:00Z",
        "--at 2030-01-31 is local time (UTC+02:00): 2030-01-30T22:00:00Z",
    ]


@pytest.mark.parametrize("text", ["", "x", "17:00", "2030-02-30", "2030-01-31T25:00", "1700000000.5", "99999-01-01"])
def test_not_a_time(text: str):
    """What is not a time is refused with an example of one."""
    with pytest.raises(UsageError, match="is not a time: write 2026"):
        parse.instant("--at", text, print)


@pytest.mark.parametrize("text", ["0001-01-01", "9999-12-31T23:59:59-23:00"])
def test_time_that_no_calendar_has(text: str):
    """A time whose instant in UTC cannot be written is refused or read, never a crash."""
    with contextlib.suppress(UsageError):
        parse.instant("--at", text, lambda _: None)


def test_schedule():
    """--after is a duration and --at a time, and they exclude each other."""
    assert parse.schedule("2h30m", None, print) == {"after": timedelta(hours=2.5), "at": None}
    with pytest.raises(UsageError, match="--after and --at exclude each other"):
        parse.schedule("1s", "2030-01-01", print)
    with pytest.raises(UsageError, match="--after: '5' is not a duration"):
        parse.schedule("5", None, print)


def test_ago():
    """--since takes a time, or a duration that means so long ago."""
    found = parse.ago("--since", "2h", print)
    assert found is not None
    assert abs(datetime.now(UTC) - timedelta(hours=2) - found) < timedelta(seconds=5)
    assert parse.ago("--since", "2030-01-31T17:00Z", print) == datetime(2030, 1, 31, 17, tzinfo=UTC)
    assert parse.ago("--since", None, print) is None
    with pytest.raises(UsageError, match="--since"):
        parse.ago("--since", "yesterday", print)


def test_numbers():
    """A number that is none, or out of its range, is refused with the option's name."""
    assert parse.whole("--limit", "7", range(1, 1001)) == 7
    for text, what in (("x", "whole number"), ("1.5", "whole number"), ("0", "out of range: 1 to 1000")):
        with pytest.raises(UsageError, match=f"--limit: .*{what}"):
            parse.whole("--limit", text, range(1, 1001))


def test_statuses():
    """--status takes several, repeated or with commas, each once; an empty one does not mean all."""
    assert parse.statuses(["ready,failed", "READY"]) == (Status.READY, Status.FAILED)
    assert parse.statuses(None) == ()
    with pytest.raises(UsageError, match="there is no 'fail'; did you mean 'failed'"):
        parse.statuses(["fail"])
    with pytest.raises(UsageError, match="--status is empty"):
        parse.statuses([""])
