"""What scripts rely on: ids that feed other commands, fields, waiting for many, and silence."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable, Mapping

import pytest
from support import COMMANDS, Result, jobctl_command

from jobctl import Client

MISSING = "01a20b07-7164-7b4f-b861-8b723d4d825d"


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a text on stdin."""
    return lambda text: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def start(call: Callable[..., Result], *args: str) -> str:
    return call("start", "a", *args).out.strip()


# --- ids -----------------------------------------------------------------------------------------------------------


def test_ids_alone(call: Callable[..., Result]):
    """`list --ids` and `jobs --ids` print ids, one per line, and nothing else."""
    first, second = start(call), start(call)
    successor = call("complete", second, "--continue", "b").out.strip()
    assert call("list", "--ids", "--order", "oldest").out == f"{first}\n{second}\n"
    assert call("jobs", "--ids", "--chain", second, "--order", "oldest").out == f"{second}\n{successor}\n"
    assert call("list", "--ids", "--status", "failed").out == ""
    assert call("list", "--ids", "--json").code == 2


def test_wait_for_ids_from_stdin(call: Callable[..., Result], stdin: Callable[[str], None]):
    """`-` reads ids from stdin, the first field of each line: what `list` prints is understood with and without --ids."""
    chains = [start(call) for _ in range(3)]
    for each in chains:
        call("complete", each, "--output", "1")
    for listed in (call("list", "--ids").out, call("list").out, f"\n  {chains[0]}\r\n{chains[1]} x\n{chains[2]}"):
        stdin(listed)
        result = call("wait", "-")
        assert result.code == 0
        assert {json.loads(line)["id"] for line in result.lines} == set(chains)
    stdin(chains[0])
    one = call("wait", "-")
    assert json.loads(one.out) == {"id": chains[0], "type": "a", "status": "completed", "output": 1}
    stdin(f"{chains[0]}\n")
    assert len(call("wait", chains[1], "-", chains[0]).lines) == 2


def test_bad_ids_from_stdin(call: Callable[..., Result], stdin: Callable[[str], None], monkeypatch):
    """A line of stdin that has no id is named; a stdin that is closed is told; no ids at all are none to wait for."""
    stdin(f"{start(call)}\nnonsense\n")
    result = call("wait", "-")
    assert (result.code, result.out) == (2, "")
    assert "line 2 of stdin: 'nonsense' is not an id" in result.err
    stdin("")
    assert call("wait", "-") == Result(0, "", "")
    monkeypatch.setattr(sys, "stdin", None)
    assert "which is closed" in call("wait", "-").err


def test_wait_for_any(call: Callable[..., Result]):
    """--any waits for the first alone, and ends as that one."""
    open_, done, cancelled = start(call), start(call), start(call)
    call("complete", done, "--output", '"x"')
    result = call("wait", "--any", open_, done)
    assert (result.code, json.loads(result.out)["id"]) == (0, done)
    assert call("wait", "--any", open_, cancelled, "--timeout", "0s").code == 124
    assert call("wait", "--any", done).out == '"x"\n'
    assert call("wait", open_, done, "--timeout", "0s").code == 124
    document = call("wait", "--any", open_, done, "--json").json
    assert [each["id"] for each in document["items"]] == [done]


# --- fields --------------------------------------------------------------------------------------------------------


@pytest.fixture
def chain(call: Callable[..., Result]) -> str:
    """A chain of two jobs with an output."""
    found = start(call, "--input", '{"list": [1, {"x": null}], "name": "ä\\nb"}')
    call("complete", found, "--continue", "b", "--input", '"in"')
    call("complete", found, "--output", '{"requestId": "r1", "n": 2.50, "ok": true, "none": null}')
    return found


@pytest.mark.parametrize(
    ("path", "printed"),
    [
        ("output.requestId", "r1"),
        ("output.n", "2.5"),
        ("output.ok", "true"),
        ("output.none", "null"),
        ("output", '{"requestId": "r1", "n": 2.5, "ok": true, "none": null}'),
        ("status", "completed"),
        ("key", "null"),
        ("input.list.0", "1"),
        ("input.list.-1.x", "null"),
        ("input.name", "ä\nb"),
        ("jobs.1.type", "b"),
        ("jobs.-1.input", "in"),
        ("history.0.action", "continue"),
        ("chain.type", "a"),
        ("errors", "[]"),
    ],
)
def test_field(call: Callable[..., Result], chain: str, path: str, printed: str):
    """A field that is a text is printed as it is, anything else as JSON."""
    assert call("show", chain, "--field", path) == Result(0, f"{printed}\n", "")


def test_fields(call: Callable[..., Result], chain: str):
    """Several fields are a line each, in the order asked for."""
    assert call("show", chain, "--field", "status", "--field", "output.requestId").out == "completed\nr1\n"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("output.requestID", "did you mean 'requestId'?"),
        ("output.x", "'output' has requestId, n, ok, none"),
        ("output.n.x", "'output.n' is 2.5"),
        ("input.list.2", "'input.list' is a list of 2"),
        ("input.list.x", "'input.list' is a list of 2"),
        ("statsu", "did you mean 'status'?"),
        ("", "it has id, type"),
    ],
)
def test_missing_field(call: Callable[..., Result], chain: str, path: str, said: str):
    """A field that is not there is exit code 3, and nothing is printed, nor are those that are there."""
    result = call("show", chain, "--field", "status", "--field", path)
    assert (result.code, result.out) == (3, "")
    assert said in result.err


def test_field_alone(call: Callable[..., Result], chain: str):
    """--field prints no document and does not watch."""
    for other in ("--json", "--watch"):
        assert call("show", chain, "--field", "id", other).code == 2


# --- a key of time -------------------------------------------------------------------------------------------------


def test_key_slot(call: Callable[..., Result]):
    """Of two starts in one slot the second prints the same id, and says that the chain exists."""
    first = call("start", "report", "--input", "1", "--key-slot", "1d")
    second = call("start", "report", "--input", "1", "--key-slot", "1d")
    assert (second.code, second.out, first.err) == (0, first.out, "")
    assert second.err.startswith(f"nothing is started: the chain {first.out.strip()} has the key '20")
    assert call("start", "report", "--input", "2", "--key-slot", "1d").out != first.out
    failed = call("start", "report", "--input", "1", "--key-slot", "1d", "--key-conflict", "fail")
    assert (failed.code, failed.out) == (4, "")
    for wrong in (("--key", "k"), ("--key-scope", "any"), ("--key-window", "1h"), ("--key-exclude", MISSING)):
        assert call("start", "report", "--key-slot", "1d", *wrong).code == 2
    assert "--key-slot: '0s' is too short" in call("start", "report", "--key-slot", "0s").err


def test_key_slot_of_batch(call: Callable[..., Result], stdin: Callable[[str], None]):
    """With --batch each line is one chain per slot; a line may have a slot, or a key, of its own."""
    stdin('{"input": 1}\n{"input": 1, "key_slot": "1d"}\n{"input": 2}\n{"input": 1, "key": "k"}\n{"input": 1}\n')
    ids = call("start", "report", "--batch", "-", "--key-slot", "1h").lines
    assert ids[0] == ids[4]
    assert len(set(ids)) == 4


# --- silence -------------------------------------------------------------------------------------------------------


def test_quiet(call: Callable[..., Result]):
    """With --quiet every command that ends well says nothing on stderr."""
    names = {each.name for each in COMMANDS}
    chain = start(call)
    lines = [
        ("start", "a", "--quiet"),
        ("start", "a", "--at", "2030-01-01T00:00", "--quiet"),
        ("start", "a", "--key-slot", "1d", "--quiet"),
        ("start", "a", "--key-slot", "1d", "--quiet"),
        ("list", "--limit", "1", "--quiet"),
        ("jobs", "--limit", "1", "--quiet"),
        ("show", chain, "--quiet"),
        ("complete", chain, "--continue", "b", "--after", "1h", "--quiet"),
        ("reschedule", chain, "--after", "2h", "--quiet"),
        ("trigger", chain, "--quiet"),
        ("complete", chain, "--quiet"),
        ("wait", chain, "--quiet"),
        ("delete", chain, "--quiet"),
        ("migrate", "--quiet"),
        ("config", "--quiet"),
        ("schema", "--quiet"),
    ]
    for line in lines:
        assert line[0] in names
        result = call(*line)
        assert (result.code, result.err, result.place) == (0, "", ""), line


@pytest.mark.parametrize("command", ["list", "jobs", "show", "schema", "config"])
def test_broken_pipe(
    command: str, sqlite_url: str, open_client: Callable[[str], Client], environment: Mapping[str, str]
):
    """A reader that goes away is no error: not a word, and the exit code of a tool that SIGPIPE ended."""
    client = open_client(sqlite_url)
    with client.store.transaction() as conn:
        ids = [client.start("a", "x" * 2000, conn=conn).id for _ in range(60)]
    more = {"show": [ids[0]], "list": ["--jsonl"], "jobs": ["--json"]}.get(command, [])
    process = subprocess.Popen(
        jobctl_command(command, *more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**environment, "JOBCTL_DATABASE": sqlite_url},
    )
    with process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141
