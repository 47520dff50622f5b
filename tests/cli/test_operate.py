"""``retry``, ``cancel``, ``restart``, ``pause``, ``resume``, ``paused`` and ``history`` on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support import Result

MISSING = "01a20b07-7164-7b4f-b861-8b723d4d825d"

HANDLERS = """
from jobctl import Job, fail, processor

@processor("bad")
def bad(job: Job): fail("no luck")

@processor("poor")
def poor(job: Job): raise ValueError("no money")
"""


@pytest.fixture
def failed(call: Callable[..., Result], here: Path) -> str:
    """A chain whose handler gave up."""
    (here / "handlers.py").write_text(HANDLERS)
    id_ = call("start", "bad", "--input", "[1]").out.strip()
    assert call("worker", "--processors", "handlers.py", "--drain", "--quiet").code == 0
    return id_


def test_retry(call: Callable[..., Result], failed: str):
    """The job's id is printed, what was done is told, and the job is ready with its error; once more is refused."""
    assert call("list").lines[0].split("\t")[2] == "failed"
    result = call("retry", failed, "--actor", "ann", "--note", "now")
    assert (result.code, result.out, result.err) == (0, f"{failed}\n", f"bad {failed} gets another round\n")
    shown = call("show", failed, "--json").json
    assert (shown["chain"]["status"], shown["chain"]["attempt"], shown["chain"]["last_error"]) == (
        "ready",
        0,
        "no luck",
    )
    assert [each["error"] for each in shown["errors"]] == ["no luck"]
    again = call("retry", failed, "--json")
    assert (again.code, again.out) == (4, "")
    error = json.loads(again.err)["error"]
    assert error.pop("database").startswith("sqlite:")
    assert error == {
        "id": failed,
        "status": "ready",
        "code": 4,
        "kind": "not_failed",
        "message": f"the job {failed} of 'bad' is ready: only failed jobs can be retried",
    }
    assert call("retry", MISSING).code == 3


def test_max_attempts(call: Callable[..., Result], failed: str):
    """The worker's number of attempts holds for processors that say nothing."""
    poor = call("start", "poor").out.strip()
    call("worker", "--processors", "handlers.py", "--drain", "--quiet", "--max-attempts", "1")
    (job,) = call("jobs", "--chain", poor, "--json").json["items"]
    assert (job["status"], job["attempt"]) == ("failed", 1)
    assert call("worker", "--processors", "handlers.py", "--drain", "--max-attempts", "0").code == 2


def test_cancel(call: Callable[..., Result], failed: str):
    """The chains' ids are printed; what waits for them is refused, unless --cascade takes it along."""
    waits = call("start", "b", "--blocked-by", failed).out.strip()
    refused = call("cancel", failed)
    assert (refused.code, refused.out) == (4, "")
    assert waits in refused.err
    result = call("cancel", failed, "--cascade", "--reason", "not wanted")
    assert (result.code, result.out, result.err) == (0, f"{failed}\n{waits}\n", "cancelled 2 chains\n")
    shown = call("show", failed)
    assert "cancelled by hand, " in shown.out
    assert ": not wanted\n" in shown.out
    assert call("wait", waits).code == 8
    again = call("cancel", failed)
    assert (again.code, again.err) == (4, f"jobctl: the chain {failed} is cancelled: it is closed\n")
    other = call("start", "a").out.strip()
    (item,) = call("cancel", other, "--json").json["items"]
    assert (item["id"], item["status"]) == (other, "cancelled")


def test_restart(call: Callable[..., Result], failed: str):
    """The new chain's id is printed; its histories name the other, and show draws it."""
    new = call("restart", failed, "--actor", "ann", "--note", "again").out.strip()
    assert call("show", new, "--json").json["chain"]["input"] == [1]
    assert f" by ann (as {new}): again\n" in call("show", failed).out
    assert f" by ann (from {failed}): again\n" in call("show", new).out
    other = call("restart", failed, "--from", failed, "--input", "{}", "--after", "1h", "--json").json
    assert (other["input"], other["status"], other["type"]) == ({}, "scheduled", "bad")
    for arguments, code in (([MISSING], 3), ([failed, "--from", MISSING], 3), ([failed, "--input", "{"], 5)):
        assert call("restart", *arguments).code == code


def test_pause(call: Callable[..., Result]):
    """Types, chains and all are paused and resumed; lists, show and paused tell; twice is once."""
    first, second = (call("start", name).out.strip() for name in ("a", "b"))
    result = call("pause", second, "--type", "a,x", "--note", "down", "--actor", "ann")
    assert (result.code, result.out) == (0, "")
    assert result.err == (
        f"the type a is paused\nthe type x is paused\nthe chain {second} is paused\n"
        "there is no job of the type x yet: is that its name?\n"
    )
    assert [line.split("\t")[-1] for line in call("list").lines] == ["chain", "type"]
    assert [line.split("\t")[-1] for line in call("jobs").lines] == ["chain", "type"]
    assert [each["paused"] for each in call("list", "--json").json["items"]] == ["chain", "type"]
    assert f"a {first} ready, its type is paused, " in call("show", first).out
    assert f"b {second} ready, paused, " in call("show", second).out
    lines = [line.split("\t") for line in call("paused").lines]
    assert [(what, name, by, note) for what, name, _, by, note in lines] == [
        ("type", "a", "ann", "down"),
        ("type", "x", "ann", "down"),
        ("chain", second, "ann", "down"),
    ]
    assert call("pause", "--all", "--json").json["items"][0]["what"] == "all"
    assert call("pause", "--all").err == "all types are paused\n"
    result = call("resume", second, "--all")
    assert result.err == (
        f"all types are resumed\nthe chain {second} is resumed\nstill paused: 2; see 'jobctl paused'\n"
    )
    assert call("resume", "--all").err.startswith("nothing of it was paused\n")
    assert [each["name"] for each in call("resume", "--type", "a", "--type", "x", "--json").json["items"]] == ["a", "x"]
    assert call("paused", "--json").json == {"items": [], "cursor": None}


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_pause_nothing(call: Callable[..., Result], command: str):
    """What is to be paused must be said; an empty name is not all."""
    said = "jobctl: say what: ids of chains, --type TYPE, or --all\n"
    assert (call(command).code, call(command).err) == (2, said)
    assert call(command, "--type", "").code == 2
    assert call(command, MISSING).code == 3


def test_history(call: Callable[..., Result]):
    """Acts are listed newest first, of a chain or of all, also of a deleted one; fields as documented."""
    chain = call("start", "a", "--after", "1h").out.strip()
    call("trigger", chain, "--actor", "ann", "--note", "now")
    call("pause", "--type", "a", "--actor", "bob")
    call("delete", chain, "--actor", "cyd")
    lines = [line.split("\t") for line in call("history").lines]
    assert [line[1:3] for line in lines] == [["delete", "cyd"], ["pause", "bob"], ["trigger", "ann"]]
    assert {len(line) for line in lines} == {9}
    assert lines[0][4:] == [chain, chain, "a", "ready → gone", "-"]
    assert lines[1][4:] == ["-", "-", "a", "-", "-"]
    assert lines[2][7].startswith("scheduled → ready, due 20")
    assert lines[2][8] == "now"
    of_chain = call("history", chain, "--order", "oldest", "--jsonl")
    assert [json.loads(line)["action"] for line in of_chain.lines] == ["trigger", "delete"]
    page = call("history", "--limit", "1", "--json").json
    rest = call("history", "--cursor", page["cursor"], "--json").json
    assert [each["action"] for each in (*page["items"], *rest["items"])] == ["delete", "pause", "trigger"]
    assert call("history", "--limit", "1").err == f"there are more: --cursor {page['cursor']}\n"
    assert call("history", MISSING).code == 3
    assert call("history", "--json", "--jsonl").code == 2


def test_show_has_the_gist(call: Callable[..., Result]):
    """Show draws the latest acts that settled nothing, and how many there were before; who settled stands at the job."""
    chain = call("start", "a").out.strip()
    for number in range(7):
        call("reschedule", chain, "--priority", number + 1, "--actor", "ann", "--note", f"n{number}")
    call("complete", chain, "--actor", "bob")
    lines = call("show", chain).lines
    assert lines[-7:-5] == ["└── by hand", "    ├── 2 earlier acts"]
    assert lines[-1].startswith("    └── reschedule ")
    assert lines[-1].endswith(" by ann (priority 6 → 7): n6")
    assert "completed by hand, bob" in lines[1]


def test_required_note(call: Callable[..., Result], here: Path):
    """With require_note in the configuration, acts by hand without a note are exit code 2, and change nothing."""
    chain = call("start", "a", "--after", "1h").out.strip()
    (here / "jobctl.toml").write_text("require_note = true")
    for words in (
        ["complete", chain],
        ["complete", chain, "--continue", "b"],
        ["trigger", chain],
        ["reschedule", chain, "--after", "1s"],
        ["retry", chain],
        ["cancel", chain],
        ["restart", chain],
        ["pause", chain],
        ["resume", "--all"],
        ["delete", chain, "--note", " "],
    ):
        result = call(*words)
        assert (result.code, result.out) == (2, ""), words
        assert result.err == "jobctl: what is done by hand needs a note here: say why, with note=… or --note TEXT\n"
    assert call("history").out == ""
    assert call("show", chain, "--json").json["chain"]["status"] == "scheduled"
    assert call("start", "a").code == 0
    assert call("trigger", chain, "--note", "asked for").code == 0
