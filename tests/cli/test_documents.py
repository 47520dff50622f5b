"""docs/json.md is a contract."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from staff import hire
from support import COMMANDS, Result
from working import claim

from jobctl import errors
from jobctl.cli import documents, log, numbers
from jobctl.cli.main import kind_of
from jobctl.cli.worked import Worked
from jobctl.events import Event, Told
from jobctl.model import Act, AttemptError, Status
from jobctl.reasons import Reason
from jobctl.stats import Activity, Failure, Minute, Running, Stats, Working
from jobctl.storage.open import open_store

PAGE = Path(__file__).parents[2] / "docs" / "json.md"
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def contract() -> dict[str, list[list[str]]]:
    """The first column of each section's tables: heading to tables."""
    found: dict[str, list[list[str]]] = {}
    tables: list[list[str]] = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            tables = found.setdefault(line.lstrip("# "), [])
        elif re.fullmatch(r"\|[-|]+\|", line):
            tables.append([])
        elif (row := re.match(r"\| `(\w+)` \|", line)) is not None:
            tables[-1].append(row[1])
    return found


@pytest.fixture
def shown(call: Callable[..., Result]) -> dict:
    """A chain of two jobs that was started, settled by hand, and waits for another."""
    first = call("start", "first").out.strip()
    chain = call("start", "a", "--blocked-by", first, "--input", "1").out.strip()
    call("complete", chain, "--force", "--continue", "b", "--note", "why")
    return call("show", chain, "--json").json


def test_show(shown: dict, contract: dict):
    """`show --json` and what is in it have exactly the fields that are written down, in that order."""
    assert list(shown) == contract["Show"][0]
    assert list(shown["chain"]) == list(shown["blockers"][0]) == contract["Chain"][0]
    assert list(shown["jobs"][0]) == contract["Job"][0]
    assert list(shown["history"][0]) == contract["Act"][0]
    assert shown["jobs"][0]["completed_by"] is None
    details = shown["history"][0]["details"]
    assert details.keys() == {"type", "before", "after"}
    assert details["before"].keys() == details["after"].keys()


def test_records(contract: dict):
    """An attempt's error and an act have exactly the fields that are written down."""
    error = documents._error_document(AttemptError("j", 1, NOW, "w", "e"), None)
    act = documents.act_document(Act("c", "j", NOW, "complete", "a", "h", None, {}))
    assert list(error) == contract["Error of an attempt"][0]
    assert list(act) == contract["Act"][0]


@pytest.mark.parametrize(("command", "heading"), [("list", "Chain"), ("jobs", "Job")])
def test_lists(call: Callable[..., Result], contract: dict, command: str, heading: str):
    """A page and its items have exactly the fields that are written down; --jsonl prints the same items."""
    for _ in range(3):
        call("start", "a")
    page = call(command, "--json", "--limit", "2")
    assert list(page.json) == contract["List"][0]
    assert all(list(each) == contract[heading][0] for each in page.json["items"])
    lines = call(command, "--jsonl", "--limit", "2")
    assert [json.loads(line) for line in lines.lines] == page.json["items"]
    assert page.json["cursor"] in lines.err
    rest = call(command, "--json", "--cursor", page.json["cursor"]).json
    assert len(rest["items"]) == 1
    assert rest["cursor"] is None


def test_operating(call: Callable[..., Result], contract: dict):
    """The documents of pause, resume, paused, cancel and restart have exactly the fields that are written down."""
    chain = call("start", "a").out.strip()
    for words in (["pause", chain, "--type", "a", "--all"], ["paused"], ["resume", chain, "--type", "a", "--all"]):
        document = call(*words, "--json").json
        assert list(document) == (contract["List"][0] if words == ["paused"] else ["items", "dry_run"])
        assert len(document["items"]) == 3
        assert all(list(each) == contract["Pause"][0] for each in document["items"])
    assert list(call("restart", chain, "--json").json) == contract["Chain"][0] + contract["Settled chain"][0]
    document = call("cancel", chain, "--json").json
    assert [list(each) for each in document["items"]] == [contract["Chain"][0]]
    page = call("history", "--json").json
    assert list(page) == contract["List"][0]
    assert all(list(each) == contract["Act"][0] for each in page["items"])


def test_scripts(call: Callable[..., Result], contract: dict):
    """The documents of schema and completion have exactly the fields that are written down, and what else is printed."""
    for heading, words, text in (("Schema", ("schema",), "sql"), ("Completion", ("completion", "zsh"), "script")):
        document = call(*words, "--json").json
        assert list(document) == contract[heading][0]
        assert document[text].rstrip("\n") == call(*words).out.rstrip("\n")


def test_worked(contract: dict):
    """What a worker has done has exactly the fields that are written down."""
    worked = Worked()
    for told in Told:
        worked.hear(Event(told, "w"))
    document = worked.document(15)
    assert list(document) == contract["Worked"][0]
    assert list(document.values()) == ["w", *[1] * 8, "SIGTERM"]


def test_every_command_has_one(call: Callable[..., Result]):
    """There is no command without --json."""
    assert [each.name for each in COMMANDS if "\n  --json " not in call(each.name, "--help").out] == []


def test_start_complete_wait_migrate(call: Callable[..., Result], contract: dict):
    """The documents of start, complete, wait and migrate have exactly the fields that are written down."""
    started = call("start", "a", "--json").json
    assert list(started) == contract["Chain"][0] + contract["Started chain"][0]
    assert started["deduplicated"] is False
    completed = call("complete", started["id"], "--output", "[1]", "--json").json
    assert list(completed) == contract["Chain"][0] + contract["Settled chain"][0]
    assert completed.pop("dry_run") is False
    assert (completed["status"], completed["output"]) == ("completed", [1])
    waited = call("wait", started["id"], "--json").json
    assert list(waited) == ["items"]
    assert waited["items"] == [completed]
    other = call("start", "a").out.strip()
    call("complete", other)
    lines = [json.loads(line) for line in call("wait", started["id"], other).lines]
    assert all(list(each) == contract["Outcome"][0] for each in lines)
    assert list(call("migrate", "--json").json) == contract["Migration"][0]


def test_stats(call: Callable[..., Result], contract: dict):
    """The numbers have exactly the fields that are written down, in that order."""
    call("start", "a")
    call("pause", "--all")
    found = call("stats", "--json").json
    assert list(found) == contract["Stats"][0]
    assert list(found["windows"][0]) == contract["Window"][0]
    (of_type,) = found["types"]
    assert list(of_type) == contract["Type"][0]
    assert list(of_type["open"]["ready"]) == contract["Open jobs"][0]
    assert list(of_type["ever"]) == contract["Work"][0]
    window, per_second, by_hand = contract["Work in a window"][0]
    assert list(of_type["done"][0]) == [window, *contract["Work"][0], per_second, by_hand]
    assert [list(each) for each in found["paused"]] == [contract["Pause"][0]]


def test_top(contract: dict):
    """What goes on has exactly the fields that are written down, in that order."""
    activity = Activity(
        NOW,
        (Working("w", "h", 1, 10, 2, False, NOW, 5.0),),
        (Running("j", "c", "t", 1, "w", NOW),),
        (Failure("j", "c", "t", 1, "w", NOW, "e"),),
        (Minute(NOW, 1, 2),),
    )
    found = numbers.top_document(Stats(NOW, (), (), ()), activity)
    assert list(found) == contract["Top"][0]
    for name, heading in (
        ("running", "Running job"),
        ("failures", "Failed attempt"),
        ("workers", "Live worker"),
        ("minutes", "Minute"),
    ):
        assert list(found[name][0]) == contract[heading][0]


def test_why(call: Callable[..., Result], contract: dict):
    """`why --json` and its blockers have exactly the fields that are written down, and every reason is."""
    first = call("start", "first").out.strip()
    why = call("why", call("start", "a", "--blocked-by", first).out.strip(), "--json").json
    assert list(why) == list(why["blockers"][0]) == contract["Why"][0]
    assert contract["Why"][1] == [each.value for each in Reason]


def test_workers(call: Callable[..., Result], contract: dict, here: Path):
    """`workers --json` and what is in it have exactly the fields that are written down."""
    call("start", "a")
    store = open_store(f"sqlite:///{here / 'jobs.db'}")
    hire(store, "a", name="worker-1")
    claim(store, "a")
    store.close()
    page = call("workers", "--json").json
    assert list(page) == ["items"]
    assert list(page["items"][0]) == contract["Worker"][0]
    assert list(page["items"][0]["jobs"][0]) == contract["Held job"][0]


def test_types_and_doctor(call: Callable[..., Result], contract: dict):
    """The documents of types and doctor have exactly the fields that are written down."""
    call("start", "a")
    page = call("types", "--json").json
    assert list(page) == ["items"]
    assert list(page["items"][0]) == contract["Type of jobs"][0]
    health = call("doctor", "--json").json
    assert list(health) == contract["Health"][0]
    assert list(health["findings"][0]) == contract["Finding"][0]
    assert health["ok"] is False


def test_moved_deleted(call: Callable[..., Result], contract: dict):
    """The documents of acts on many have exactly the fields that are written down."""
    chain = call("start", "a").out.strip()
    for command in (["trigger"], ["reschedule", "--after", "1h"]):
        moved = call(*command, chain, "--json").json
        assert list(moved) == contract["Moved"][0]
        assert list(moved["items"][0]) == contract["Job"][0]
    assert list(call("delete", chain, "--json").json) == contract["Deleted"][0]


def test_pruned_vacuumed(call: Callable[..., Result], contract: dict):
    """The documents of prune and vacuum have exactly the fields that are written down."""
    assert list(call("prune", "--completed", "1d", "--json").json) == contract["Pruned"][0]
    document = call("vacuum", "--json").json
    assert list(document) == contract["Vacuumed"][0]
    assert list(document["parts"][0]) == ["name", "before", "after"]


def test_failure(call: Callable[..., Result], contract: dict):
    """With --json an error is one object on stderr with the fields that are written down."""
    failed = call("show", "01a20b07-7164-7b4f-b861-8b723d4d825d", "--json")
    error = json.loads(failed.err)["error"]
    assert failed.out == ""
    assert set(contract["Failure"][0]) <= error.keys()
    assert (error["code"], error["kind"]) == (3, "not_found")
    assert error["id"] == "01a20b07-7164-7b4f-b861-8b723d4d825d"


def test_kinds(contract: dict):
    """Every error that a command can end with has its kind written down."""
    kinds = {
        kind_of(each.__new__(each))
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, errors.JobctlError)
    }
    roots = {"jobctl", "schema", "try_again", "attempt_lost"}
    assert set(contract["Failure"][1]) == kinds - roots | {"unexpected"}


def test_statuses(contract: dict):
    """Every status is written down."""
    assert contract["Statuses"][0] == [each.value for each in Status]


def test_log_lines(contract: dict, capsys: pytest.CaptureFixture[str]):
    """A worker's log lines have exactly the fields that are written down, and every event is."""
    with log.Log(log.json_line, quiet=False) as tell:
        tell(Event(Told.JOB_RETRIED, "w", "j", "c", "t", 1, 0.5, "Traceback\nValueError: ü"))
    line = json.loads(capsys.readouterr().err)
    assert list(line) == contract["Log line"][0]
    assert line["detail"] == "Traceback\nValueError: ü"
    assert contract["Log line"][1] == [each.value for each in Told]


def test_log_that_gathers(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """All lines are written, in order, those that are routine not when quiet, and all before the log ends."""
    monkeypatch.setattr(log, "MOST_AT_ONCE", 7)
    monkeypatch.setattr(log, "MOST_UNWRITTEN", 20)
    with log.Log(log.json_line, quiet=True) as tell:
        for number in range(100):
            tell(Event(Told.JOB_RETRIED, "w", str(number)))
            tell(Event(Told.JOB_STARTED, "w", str(number)))
    lines = [json.loads(each) for each in capsys.readouterr().err.splitlines()]
    assert [(each["event"], each["job_id"]) for each in lines] == [("job_retried", str(n)) for n in range(100)]


def test_times():
    """A time is UTC with Z and as many digits of the fraction as needed."""
    assert documents.iso(NOW) == "2026-01-31T12:00:00Z"
    assert documents.iso(NOW.replace(microsecond=250_000)) == "2026-01-31T12:00:00.25Z"
    assert documents.iso(datetime.fromisoformat("2026-01-31T12:00:00.000001+02:00")) == "2026-01-31T10:00:00.000001Z"


def test_config(call: Callable[..., Result], contract: dict):
    """`config --json` has exactly the fields that are written down."""
    document = call("config", "--json").json
    assert list(document) == contract["Configuration"][0]
    assert all(list(each) == contract["Setting"][0] for each in document["settings"])


def test_database_of_log(capsys: pytest.CaptureFixture[str]):
    """The first line of a worker's log has the database, and no other."""
    with log.Log(partial(log.json_line, database="sqlite:///x"), quiet=False) as tell:
        tell(Event(Told.WORKER_STARTED, "w"))
        tell(Event(Told.JOB_STARTED, "w", "j"))
    lines = [json.loads(each) for each in capsys.readouterr().err.splitlines()]
    assert [each["database"] for each in lines] == ["sqlite:///x", None]
