"""``start --batch`` and keys on the command line."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from support import Result

from jobctl.cli import batch


def types(call: Callable[..., Result]) -> list[str]:
    """The types of all chains, oldest first."""
    return [line.split("\t")[1] for line in call("list", "--order", "oldest").lines]


def write(here: Path, *lines: object) -> Path:
    """A file of these lines; what is no text is written as JSON."""
    path = here / "chains.jsonl"
    path.write_text("".join(f"{each if isinstance(each, str) else json.dumps(each)}\n" for each in lines))
    return path


def test_ids_in_order(call: Callable[..., Result], here: Path):
    """A chain starts for each line, its id printed in the order of the lines; empty lines are passed over."""
    wanted = "01a20b07-7164-7b4f-b861-8b723d4d825d"
    path = write(here, {"type": "a", "input": {"n": 1}}, "", {"type": "b", "id": wanted, "priority": 3, "after": "1h"})
    result = call("start", "--batch", path)
    assert (result.code, result.err, len(result.lines)) == (0, "", 2)
    assert result.lines[1] == wanted
    shown = [call("show", each, "--json").json["chain"] for each in result.lines]
    assert [each["input"] for each in shown] == [{"n": 1}, None]
    assert [each["status"] for each in shown] == ["ready", "scheduled"]
    assert shown[1]["priority"] == 3


def test_options_fill_in(call: Callable[..., Result], here: Path):
    """What a line leaves out is as TYPE and the options say."""
    path = write(here, {}, {"type": "b", "priority": 1, "input": 2, "at": "1999-01-01T00:00:00Z"})
    result = call("start", "a", "--batch", path, "--priority", 7, "--input", "5", "--after", "1h", "--json")
    assert result.code == 0
    first, second = (json.loads(line) for line in result.lines)
    assert (first["type"], first["priority"], first["input"], first["status"]) == ("a", 7, 5, "scheduled")
    assert (second["type"], second["priority"], second["input"], second["status"]) == ("b", 1, 2, "ready")


def test_stdin(call: Callable[..., Result], monkeypatch: pytest.MonkeyPatch):
    """A dash reads stdin."""
    lines = io.BytesIO(b'{"type": "a"}\n{"type": "b"}')
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=lines, isatty=lambda: False))
    assert len(call("start", "--batch", "-").lines) == 2
    assert types(call) == ["a", "b"]


BAD = [
    ("{", "is not JSON"),
    ("[1]", "is not an object"),
    ({"tpye": "a"}, "there is no field 'tpye'"),
    ({"input": 1}, "it has no 'type'"),
    ({"type": 5}, "'type' is a text, not 5"),
    ({"type": "a b"}, "is not a type name"),
    ({"type": "a", "after": "soon"}, "is not a duration"),
    ({"type": "a", "after": 5}, "'after' is a text"),
    ({"type": "a", "at": "soon"}, "'at': 'soon' is not a time"),
    ({"type": "a", "at": "2030-01-01", "after": "1s"}, "not both"),
    ({"type": "a", "priority": "high"}, "'priority' is a whole number"),
    ({"type": "a", "priority": 5000}, "out of range"),
    ({"type": "a", "blocked_by": "x"}, "'blocked_by' is a list"),
    ({"type": "a", "blocked_by": ["x"]}, "is not an id"),
    ({"type": "a", "key": ""}, "is not a key"),
    ({"type": "a", "key": "k", "key_exclude": "x"}, "'key_exclude' is a list"),
    ({"type": "a", "key": "k", "key_scope": "all"}, "scope"),
]


@pytest.mark.parametrize(("line", "about"), BAD)
def test_bad_line(call: Callable[..., Result], here: Path, line: object, about: str):
    """A bad line is named with its number, and nothing of its batch is started."""
    result = call("start", "--batch", write(here, {"type": "a"}, line, {"type": "c"}))
    assert (result.code, result.out) == (5, "")
    assert len(result.err.splitlines()) == 1
    assert "line 2: " in result.err
    assert about in result.err
    assert types(call) == []


def test_keep_going(call: Callable[..., Result], here: Path):
    """With --keep-going bad lines are told and skipped, and the exit code is 5 at the end."""
    missing = "01a20b07-7164-7b4f-b861-8b723d4d825d"
    path = write(here, {"type": "a"}, "{", {"type": "b"}, {"type": "c", "blocked_by": [missing]}, {"type": "d"})
    result = call("start", "--batch", path, "--keep-going")
    assert (result.code, len(result.lines)) == (5, 3)
    told = result.err.splitlines()
    assert told[0].startswith("skipped line 2: ")
    assert told[1].startswith("skipped line 4: ")
    assert told[2] == "jobctl: 2 lines were skipped"
    assert types(call) == ["a", "b", "d"]


def test_batches_before_stay(call: Callable[..., Result], here: Path, monkeypatch: pytest.MonkeyPatch):
    """What was started before the batch of a refused line stays, and its ids were printed."""
    monkeypatch.setattr(batch, "LINES_PER_BATCH", 2)
    path = write(here, {"type": "a"}, {"type": "b"}, {"type": "c"}, {"type": "d", "blocked_by": ["0" * 32]})
    result = call("start", "--batch", path)
    assert (result.code, len(result.lines)) == (3, 2)
    assert "lines 3 to 4, of which none is started" in result.err
    assert types(call) == ["a", "b"]


@pytest.mark.parametrize(
    "wrong",
    [
        ["--batch", "nothing.jsonl"],
        ["--batch", "-", "--wait"],
        ["--batch", "-", "--key", "k"],
        ["--batch", "-", "--id", "01a20b07-7164-7b4f-b861-8b723d4d825d"],
        ["a", "--keep-going"],
        ["a", "--key-scope", "any"],
        ["a", "--key", "k", "--key-scope", "all"],
        ["a", "--key", "k", "--key-window", "soon"],
        ["a", "--key", "k", "--key-conflict", "ask"],
        ["a", "--key", ""],
        [],
    ],
)
def test_wrong_calls(call: Callable[..., Result], wrong: list[str]):
    """A call that makes no sense is exit code 2 with one line, and starts nothing."""
    result = call("start", *wrong)
    assert (result.code, result.out, len(result.err.splitlines())) == (2, "", 1)
    assert types(call) == []


def test_key(call: Callable[..., Result]):
    """With a taken key the chain's id is printed, exit 0, and stderr says that nothing is started."""
    first = call("start", "a", "--key", "may").out
    again = call("start", "a", "--key", "may")
    assert (again.code, again.out) == (0, first)
    assert again.err == f"nothing is started: the chain {first.strip()} has the key 'may'\n"
    assert call("start", "a", "--key", "may", "--json").json["deduplicated"] is True
    assert types(call) == ["a"]


def test_key_that_excludes(call: Callable[..., Result], here: Path):
    """A chain that is excluded has the key for nobody: by option, for all lines of a batch, or by a line's own."""
    first = call("start", "a", "--key", "k").out.strip()
    second = call("start", "a", "--key", "k", "--key-exclude", first).out.strip()
    assert call("start", "a", "--key", "k", "--key-exclude", second).out.strip() == first
    (here / "lines").write_text(json.dumps({"type": "a", "key": "k", "key_exclude": [second]}) + '\n{"key": "k"}\n')
    assert call("start", "a", "--batch", "lines", "--key-exclude", first).lines == [first, second]


def test_key_that_fails(call: Callable[..., Result]):
    """With --key-conflict fail a taken key is exit code 4, and stdout is empty."""
    first = call("start", "a", "--key", "may").out.strip()
    call("complete", first)
    refused = call("start", "a", "--key", "may", "--key-scope", "any", "--key-window", "1h", "--key-conflict", "fail")
    assert (refused.code, refused.out) == (4, "")
    assert first in refused.err
    assert types(call) == ["a"]


def test_wait_for_the_one_that_has_the_key(call: Callable[..., Result]):
    """--wait waits for the chain that has the key, and prints its output."""
    first = call("start", "a", "--key", "may").out.strip()
    call("complete", first, "--output", "7")
    waited = call("start", "a", "--key", "may", "--key-scope", "any", "--wait")
    assert (waited.code, waited.out) == (0, "7\n")
