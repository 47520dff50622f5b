"""`why`, `workers`, `types` and `doctor` as commands."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from staff import hire
from support import Result
from working import claim

from jobctl.ids import new_id
from jobctl.storage.open import open_store
from jobctl.storage.store import Store

Call = Callable[..., Result]


@pytest.fixture
def behind(here: Path, call: Call) -> Iterator[Store]:
    """The database that `call` works on."""
    call("list")
    store = open_store(f"sqlite:///{here / 'jobs.db'}")
    yield store
    store.close()


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands believe that a person looks."""
    for module in ("run", "render", "why", "doctor"):
        monkeypatch.setattr(f"jobctl.cli.{module}.is_terminal", lambda _: True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")


# --- why -------------------------------------------------------------------------------------------------------------


def test_why(call: Call):
    """`why` prints one sentence on stdout, with times in ISO 8601, and says nothing else."""
    chain = call("start", "step", "--at", "2030-01-31T12:00Z").out.strip()
    done = call("why", chain)
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        f"'step' {chain} is due at 2030-01-31T12:00:00Z, though no live worker takes 'step'; "
        f"'jobctl trigger {chain}' runs it now\n"
    )


@pytest.mark.usefixtures("on_terminal")
def test_why_on_a_terminal(call: Call):
    """On a terminal times are relative."""
    chain = call("start", "step", "--after", "2h").out.strip()
    assert f"{chain} is due in 2h, though" in call("why", chain).out.replace("1h59m", "2h")


def test_why_not_found(call: Call):
    """A chain or job that does not exist is exit code 3."""
    missing = call("why", new_id())
    assert (missing.code, missing.out) == (3, "")


def test_what_is_said_moves_no_cursor(call: Call):
    """What people wrote is said without what would change a terminal."""
    chain = call("start", "step").out.strip()
    call("complete", chain, "--note", "so\x1b[31m\nso", "--actor", "ann")
    assert call("why", chain).out.endswith("by ann (so\\x1b[31m so)\n")


# --- workers ---------------------------------------------------------------------------------------------------------


def test_workers(call: Call, behind: Store):
    """`workers` prints a line for each worker with its fields in the order that the help names."""
    hire(behind, "new", "old", name="w1", host="h1", pid=11, running=1, concurrency=3)
    hire(behind, "other", name="w2", seen=60.0, running=2, concurrency=2, busy_seconds=1.0)
    chain = call("start", "other").out.strip()
    claim(behind, "other", worker="w2")
    done = call("workers")
    assert (done.code, done.err) == (0, "")
    first, second = (line.split("\t") for line in done.lines)
    assert first[:7] == ["w1", "alive", "h1", "11", "1/3", "new,old", "0.1.0"]
    assert first[9:] == ["-", "-"]
    assert second[:2] == ["w2", "dead"]
    assert second[9] != "-"
    assert second[10] == chain
    assert [line.split("\t")[0] for line in call("workers", "--type", "old").lines] == ["w1"]
    assert call("workers", "--type", "none").out == ""


def test_workers_as_json(call: Call, behind: Store):
    """--json prints one document, --jsonl its items, and both at once are refused."""
    hire(behind, "step", name="w1")
    hire(behind, "step", name="w2")
    page = call("workers", "--json").json
    assert [each["name"] for each in page["items"]] == ["w1", "w2"]
    assert [json.loads(line)["id"] for line in call("workers", "--jsonl").lines] == [
        each["id"] for each in page["items"]
    ]
    assert call("workers", "--json", "--jsonl").code == 2


@pytest.mark.usefixtures("on_terminal")
def test_workers_on_a_terminal(call: Call, behind: Store):
    """A person sees a table that fits, and is told what a dead worker holds and when it comes free."""
    hire(behind, *(f"type-{number}" for number in range(20)), name="a-worker-with-a-long-name", host="h" * 40)
    hire(behind, "step", name="gone", seen=60.0)
    chain = call("start", "step").out.strip()
    claim(behind, "step", worker="gone", seconds=3600.0)
    done = call("workers")
    assert all(len(line) <= 80 for line in done.lines)
    assert done.lines[0].split() == ["NAME", "STATE", "HOST", "PID", "SLOTS", "TYPES", "SEEN"]
    assert f"gone is dead and holds step {chain}, free in " in done.err
    assert call("workers", "--type", "none").err == "no worker is there\n"


# --- types -----------------------------------------------------------------------------------------------------------


def test_types(call: Call, behind: Store, here: Path):
    """`types` prints a line for each type; --unattended those that wait under names that no live worker knows."""
    (here / "mod.py").write_text("from jobctl import processor\n@processor('new', aliases=['old'])\ndef f(job): ...\n")
    hire(behind, "news")
    call("start", "new", "--after", "1h")
    call("start", "news")
    call("start", "old", "--after", "1h")
    done = call("types", "--processors", "mod.py")
    assert (done.code, done.err) == (0, "")
    rows = [line.split("\t") for line in done.lines]
    assert [row[:6] for row in rows] == [
        ["new", "0", "1", "0", "0", "0"],
        ["news", "1", "0", "0", "0", "0"],
        ["old", "0", "1", "0", "0", "0"],
    ]
    assert [row[7:] for row in rows] == [["0", "unattended, also old"], ["1", "-"], ["0", "unattended, alias of new"]]
    assert [row[6] == "-" for row in rows] == [True, False, True]
    unattended = call("types", "--unattended")
    assert [line.split("\t")[0] for line in unattended.lines] == ["new", "old"]
    assert [json.loads(line)["similar"] for line in call("types", "--jsonl", "--unattended").lines] == [["news"], []]
    assert call("types", "--json", "--jsonl").code == 2


@pytest.mark.usefixtures("on_terminal")
def test_types_on_a_terminal(call: Call, behind: Store):
    """A person sees a table that fits, and is told what a type may be called now."""
    hire(behind, "send-mails-" + "x" * 60)
    call("start", "send-mail-" + "x" * 60)
    done = call("types")
    assert all(len(line) <= 80 for line in done.lines)
    assert done.lines[0].split()[0] == "TYPE"
    assert "was it renamed to send-mails-" in done.err


# --- doctor ----------------------------------------------------------------------------------------------------------


def test_doctor(call: Call, behind: Store):
    """`doctor` prints a line for each finding and ends with 8, without any with 0 and nothing on stdout."""
    well = call("doctor")
    assert (well.code, well.out, well.err) == (0, "", "")
    call("start", "step")
    ill = call("doctor")
    assert (ill.code, ill.err) == (8, "")
    ((check, subject, message, remedy),) = (line.split("\t") for line in ill.lines)
    assert (check, subject) == ("unattended", "step")
    assert message.endswith(" and no live worker takes them")
    assert remedy == "start a worker whose processors handle 'step'"
    hire(behind, "step")
    assert call("doctor").code == 0


def test_doctor_as_a_health_check(call: Call, behind: Store):
    """With --require-worker and --max-age only they are checked; --here looks for workers of this host."""
    call("start", "step")
    assert call("doctor", "--max-age", "10m").code == 0
    assert call("doctor", "--require-worker", "step").code == 8
    hire(behind, "step", host="elsewhere")
    assert call("doctor", "--require-worker", "step", "--max-age", "10m").code == 0
    here = call("doctor", "--require-worker", "step", "--here")
    assert here.code == 8
    assert f"no live worker on {socket.gethostname()} takes 'step'" in here.out
    hire(behind, "step", host=socket.gethostname())
    assert call("doctor", "--require-worker", "step", "--here").code == 0
    assert call("doctor", "--require-worker", "step,other").code == 8
    assert call("doctor", "--max-age", "0s").code == 8


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--here"], "--here goes with --require-worker TYPE"),
        (["--max-age", "soon"], "--max-age: 'soon' is not a duration"),
        (["--require-worker", ""], "--require-worker is empty"),
    ],
)
def test_doctor_refuses(call: Call, options: list[str], said: str):
    """What cannot be checked is a usage error."""
    refused = call("doctor", *options)
    assert (refused.code, refused.out) == (2, "")
    assert said in refused.err


def test_doctor_without_a_database(call: Call, here: Path):
    """A database that is not there is exit code 75, and looking for one makes none; a file that is none is 2."""
    missing = call("doctor")
    assert (missing.code, missing.out) == (75, "")
    assert "is not there" in missing.err
    assert list(here.iterdir()) == []
    assert call("doctor", "--database", "postgresql://127.0.0.1:1/none").code == 75


def test_doctor_on_an_old_schema(call: Call, empty_postgres_url: str):
    """A schema that does not fit is exit code 6."""
    assert call("doctor", "--database", empty_postgres_url).code == 6


@pytest.mark.usefixtures("on_terminal")
def test_doctor_on_a_terminal(call: Call, behind: Store):
    """A person sees how each check went, and what to do below what was found."""
    hire(behind, "step")
    assert [line.split() for line in call("doctor").lines if line.startswith("  ")] == [
        ["ok", name]
        for name in ("connection", "schema", "leases", "unattended", "ready", "history", "files", "journal", "room")
    ]
    call("start", "other")
    done = call("doctor")
    assert done.code == 8
    assert "  found  unattended" in done.lines
    assert all(len(line) <= 80 for line in done.lines)
    assert "         start a worker whose processors handle 'other'" in [line.rstrip() for line in done.lines]
