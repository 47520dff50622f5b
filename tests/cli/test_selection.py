"""Acts on many chains: ids from stdin, filters, dry runs, asking, and stopping midway."""

from __future__ import annotations

import io
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from support import Result, eventually, wait_until_blocked

from jobctl import Client, NewChain, Status
from jobctl.cli import selection

Call = Callable[..., Result]


@pytest.fixture
def three(call: Call) -> list[str]:
    """Chains that are due in an hour, the oldest first."""
    return [call("start", "a", "--after", "1h").out.strip() for _ in range(3)]


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has stdin hold a text."""

    def hold(text: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    return hold


def statuses(call: Call) -> list[str]:
    return [each["status"] for each in call("list", "--order", "oldest", "--json").json["items"]]


# --- ids -------------------------------------------------------------------------------------------------------------


def test_ids_from_stdin(call: Call, three: list[str], stdin: Callable[[str], None]):
    """A - reads ids from stdin, as list prints them or one on a line; each counts once, in the order given."""
    listed = call("list", "--order", "oldest").out
    stdin(f"\ufeff{listed}\n  {three[0]}\n")
    result = call("trigger", "-", three[2], "--note", "all")
    assert (result.code, result.lines) == (0, three)
    assert result.err.splitlines() == [f"triggered a {each}" for each in three]
    stdin("")
    empty = call("trigger", "-")
    assert (empty.code, empty.out, empty.err) == (0, "", "no ids are given\n")
    stdin("\n")
    assert call("trigger", "-", "--fail-empty").code == 3


def test_wrong_line_of_stdin(call: Call, three: list[str], stdin: Callable[[str], None]):
    """A line that is no id is named, and nothing is done."""
    stdin(f"{three[0]}\nID\n")
    result = call("trigger", "-")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("jobctl: line 2 of stdin: 'ID' is not an id")
    assert statuses(call) == ["scheduled"] * 3


def test_many_ids(call: Call, three: list[str], monkeypatch: pytest.MonkeyPatch):
    """More ids than a batch holds are done batch by batch: one that is refused undoes its own batch alone, and is told."""
    monkeypatch.setattr(selection, "BATCH", 2)
    four = [*three, call("start", "a").out.strip()]
    call("complete", four[3])
    result = call("trigger", *four)
    assert (result.code, result.lines) == (4, four[:2])
    assert result.err == f"jobctl: triggered 2 jobs, but then: the chain {four[3]} is completed: it is closed\n"
    assert statuses(call) == ["ready", "ready", "scheduled", "completed"]
    document = call("trigger", *four, "--json")
    assert [each["id"] for each in document.json["items"]] == four[:2]
    assert json.loads(document.err)["error"]["kind"] == "already_settled"
    summed = call("trigger", *three)
    assert (summed.lines, summed.err) == (three, "triggered 3 jobs\n")


# --- filters ---------------------------------------------------------------------------------------------------------


def test_filter_is_refused_without_yes(call: Call, three: list[str]):
    """Where there is nobody to ask, a filter takes --yes; without, nothing is done, and the count is told."""
    refused = call("trigger", "--type", "a")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == "jobctl: 3 chains match: give --yes to trigger them, or --dry-run to try\n"
    assert statuses(call) == ["scheduled"] * 3
    done = call("trigger", "--type", "a", "--yes")
    assert (done.code, done.lines, done.err) == (0, three, "triggered 3 jobs\n")


def test_filters(call: Call, three: list[str]):
    """A filter restricts as it does for list, and to what the act is about; the newest are deleted first."""
    call("start", "b", "--after", "1h")
    closed = call("start", "a").out.strip()
    call("complete", closed)
    for options in (["--type", "c"], ["--since", "2099-01-01T00:00Z"], ["--until", "1h"], ["--chain-type", "c"]):
        assert call("trigger", *options, "--yes").err == "nothing matches\n"
    moved = call("reschedule", "--chain-type", "a", "--after", "2h", "--limit", "2", "--yes", "--json").json
    assert [each["id"] for each in moved["items"]] == three[:2]
    assert (moved["passed_over"], moved["dry_run"]) == ([], False)
    assert call("delete", "--type", "a", "--yes").lines == [closed, *reversed(three)]
    assert statuses(call) == ["scheduled"]


def test_all(call: Call, three: list[str]):
    """Without any restriction --all must be said; it is no companion of a filter, and ids are none either."""
    for arguments, message in (
        ([], "say which to delete: ids, - for ids from stdin, a filter such as --type TYPE, or --all"),
        (["--yes"], "say which to delete"),
        (["--limit", "1", "--yes"], "say which to delete"),
        (["--all", "--type", "a"], "--all is for no filter at all"),
        ([three[0], "--type", "a"], "ids and filters exclude each other"),
        ([three[0], "--all"], "ids and filters exclude each other"),
    ):
        refused = call("delete", *arguments)
        assert refused.code == 2
        assert message in refused.err
    assert len(call("delete", "--all", "--yes").lines) == 3


def test_statuses_of_an_act(call: Call, three: list[str]):
    """A status that an act is not about is refused with those that it is about."""
    refused = call("trigger", "--status", "failed", "--yes")
    assert refused.code == 2
    assert refused.err == "jobctl: --status: trigger is for scheduled or ready chains, not for failed ones\n"


def test_nothing_matches(call: Call, three: list[str]):
    """Nothing matching is told, and is exit code 0, or 3 when that is asked for; the document is printed either way."""
    for command in (["trigger"], ["reschedule", "--after", "1s"], ["delete"], ["retry"], ["cancel"]):
        nothing = call(*command, "--type", "z")
        assert (nothing.code, nothing.out, nothing.err) == (0, "", "nothing matches\n")
        failed = call(*command, "--type", "z", "--fail-empty", "--json")
        assert (failed.code, list(failed.json.values())) == (3, [[], [], False])


def test_delete_what_is_awaited(call: Call, three: list[str]):
    """A filter deletes what it can; what open chains wait for stays, is exit code 4, and is named."""
    waiting = call("start", "b", "--blocked-by", three[1]).out.strip()
    result = call("delete", "--type", "a", "--yes", "--json")
    assert result.code == 4
    assert result.json == {"deleted": [three[2], three[0]], "passed_over": [three[1]], "dry_run": False}
    assert f"open chains wait for {three[1]}: delete those too, or first" in result.err
    assert call("delete", "--all", "--yes").lines == [waiting, three[1]]


def test_production(call: Call, three: list[str], here: Path, stdin: Callable[[str], None]):
    """In a profile of production a filter, and ids from stdin, take the profile's name; ids as arguments do not."""
    (here / "jobctl.toml").write_text("[profiles.prod]\nproduction = true\n")
    for which in (["--all", "--yes"], ["-"]):
        stdin(three[0])
        refused = call("trigger", *which, "--profile", "prod")
        assert (refused.code, refused.out) == (2, "")
        assert "confirm with --confirm prod" in refused.err
        stdin(three[0])
        assert call("trigger", *which, "--profile", "prod", "--dry-run").code == 0
        stdin(three[0])
        assert call("trigger", *which, "--profile", "prod", "--confirm", "prod").lines[0] == three[0]
    assert call("trigger", three[0], "--profile", "prod").code == 0


def test_cancel_what_is_awaited(call: Call, three: list[str]):
    """A filter cancels what it can, and only what is open; what open chains wait for stays, and is exit code 4."""
    call("complete", three[2])
    waiting = call("start", "b", "--blocked-by", three[1]).out.strip()
    result = call("cancel", "--type", "a", "--yes", "--json")
    assert (result.code, [each["id"] for each in result.json["items"]]) == (4, [three[0]])
    assert result.json["passed_over"] == [three[1]]
    assert f"open chains wait for {three[1]}: cancel those too, or first" in result.err
    assert call("cancel", "--all", "--yes").lines == [waiting, three[1]]
    assert call("retry", "--all", "--yes").err == "nothing matches\n"


# --- dry runs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        ["start", "a", "--key", "k"],
        ["start", "a", "--batch", "lines.jsonl"],
        ["complete", "ID", "--output", "1"],
        ["complete", "ID", "--continue", "b", "--after", "1h"],
        ["trigger", "ID"],
        ["trigger", "--all"],
        ["reschedule", "ID", "--after", "3h"],
        ["reschedule", "--type", "a", "--priority", "7"],
        ["delete", "ID"],
        ["delete", "--all"],
        ["cancel", "ID"],
        ["cancel", "--all"],
        ["restart", "ID"],
        ["pause", "ID"],
        ["pause", "--type", "a"],
    ],
)
def test_dry_run(call: Call, three: list[str], here: Path, command: list[str]):
    """A dry run prints what would be printed, is marked on stderr and in the document, and changes nothing."""
    (here / "lines.jsonl").write_text('{"key": "x"}\n{"key": "x"}\n{}\n')
    command = [three[0] if each == "ID" else each for each in command]
    before = [call("show", each, "--json").json for each in three]
    shown = call("list").out
    tried = call(*command, "--dry-run")
    assert (tried.code, tried.err.splitlines()[-1]) == (0, "dry run: nothing was changed")
    assert all(line.startswith("dry run: ") for line in tried.err.splitlines())
    document = call(*command, "--dry-run", "--json")
    assert all(json.loads(line)["dry_run"] is True for line in document.lines)
    assert document.lines
    assert [call("show", each, "--json").json for each in three] == before
    assert call("list").out == shown
    done = call(*command, "--yes") if command[0] != "pause" and {"--all", "--type"} & set(command) else call(*command)
    assert len(tried.lines) == len(done.lines)
    assert len(tried.err.splitlines()) == len(done.err.splitlines()) + 1


def test_dry_run_of_lines_that_refer_to_each_other(call: Call, here: Path, monkeypatch: pytest.MonkeyPatch):
    """Lines of a batch may wait for those of earlier batches in a dry run too."""
    monkeypatch.setattr("jobctl.cli.batch.LINES_PER_BATCH", 1)
    first = "3f0e8a52-6f0a-4c55-9a0e-0d4f8a6c1b7e"
    (here / "lines.jsonl").write_text(f'{{"type": "a", "id": "{first}"}}\n{{"type": "b", "blocked_by": ["{first}"]}}\n')
    tried = call("start", "--batch", "lines.jsonl", "--dry-run", "--json")
    assert [json.loads(line)["status"] for line in tried.lines] == ["ready", "blocked"]
    assert call("list").out == ""


def test_dry_run_of_deleting_in_batches(call: Call, three: list[str], monkeypatch: pytest.MonkeyPatch):
    """What an earlier batch of a dry run deleted waits for nothing any more in a later one."""
    monkeypatch.setattr(selection, "BATCH", 1)
    waiting = call("start", "b", "--blocked-by", three[0]).out.strip()
    assert call("delete", "--all", "--dry-run").lines == [waiting, *reversed(three)]


def test_dry_run_makes_no_file(call: Call, here: Path):
    """Where there is no SQLite file yet, a dry run makes none, and no folder."""
    url = f"sqlite:///{here / 'folder' / 'new.db'}"
    tried = call("start", "a", "--dry-run", "--database", url)
    assert (tried.code, len(tried.lines)) == (0, 1)
    assert call("trigger", "--all", "--dry-run", "--fail-empty", "--database", url).code == 3
    assert call("complete", tried.lines[0], "--dry-run", "--database", url).code == 3
    assert list(here.iterdir()) == []


def test_dry_run_and_wait(call: Call):
    """What is not started cannot be waited for."""
    assert call("start", "a", "--dry-run", "--wait").code == 2


# --- stopping --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signals", [1, 2])
def test_stopping_leaves_whole_batches(postgres_url: str, spawn, open_client, signals: int):
    """SIGINT lets the batch under way end, and no other begin; a second one undoes it. The rest is untouched."""
    client: Client = open_client(postgres_url)
    ids = sorted(each.id for each in client.start_many(NewChain("a", after="1h") for _ in range(1100)))
    lock = "SELECT FROM jobctl_current WHERE chain_id = %s FOR UPDATE"
    with psycopg.connect(postgres_url) as conn:
        conn.execute(lock, [ids[400]])  # in the second of three batches
        process = spawn("trigger", "--all", "--yes")
        wait_until_blocked(postgres_url)
        process.send(signal.SIGINT)
        if signals == 2:
            eventually(lambda: "once more" in process.err)
            process.send(signal.SIGINT).wait()
    result = process.wait()
    done = 733 if signals == 1 else 366
    assert (result.code, result.out.splitlines()) == (130, ids[:done])
    triggered = [client.get(each).status is Status.READY for each in (ids[0], ids[400], ids[800])]
    assert triggered == [True, signals == 1, False]
    assert result.err.splitlines()[-1] == f"stopped: {done} of 1,100 are triggered"
