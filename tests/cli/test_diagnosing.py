"""`why` and `workers` as commands."""

from __future__ import annotations

import json
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
    for module in ("run", "render", "why"):
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
