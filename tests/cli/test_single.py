"""``jobctl run``: one job in the foreground."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from support import Result, Running, eventually

HANDLERS = """
import sys
import time
from pathlib import Path
from jobctl import Client, Job, continue_with, processor, reschedule

@processor("greet", entry=True)
def greet(job: Job):
    print("hello,", job.input)
    print("between us", file=sys.stderr)
    return {"greeted": job.input}

@processor("two")
def two(job: Job): return continue_with(greet, "you")

@processor("bad")
def bad(job: Job): raise ValueError("no luck")

@processor("once", max_attempts=1)
def once(job: Job): raise ValueError("no luck")

@processor("later")
def later(job: Job): reschedule(after="1h")

@processor("taken")
def taken(job: Job):
    with Client(job.input) as client, client.settle(job.id) as current:
        current.complete("by hand")

@processor("slow")
async def slow(job: Job):
    Path("began").touch()
    time.sleep(600)
"""


@pytest.fixture
def start(call: Callable[..., Result], here: Path, database_url: str) -> Callable[..., str]:
    """Starts a chain of a type that the module in the current folder handles; gives its id."""
    (here / "handlers.py").write_text(HANDLERS)

    def start_one(*arguments: object) -> str:
        return call("start", *arguments, "--database", database_url).out.strip()

    return start_one


@pytest.fixture
def run(call: Callable[..., Result], database_url: str) -> Callable[..., Result]:
    """Runs ``jobctl run ID`` with the module."""

    def run_one(id_: str, *arguments: object, processors: str = "handlers") -> Result:
        options = ("--processors", processors) if processors else ()
        return call("run", id_, *options, *arguments, "--database", database_url)

    return run_one


@pytest.fixture
def show(call: Callable[..., Result], database_url: str) -> Callable[[str], dict]:
    return lambda id_: call("show", id_, "--json", "--database", database_url).json


def test_completes(start: Callable[..., str], run: Callable[..., Result], show):
    """It works that job alone: what the handler prints is seen as it is, the log is on stderr, the exit code is 0."""
    other, chain = start("greet", "--input", '"me"', "--priority", "9"), start("greet", "--input", '"you"')
    result = run(chain, "--name", "lens")
    assert (result.code, result.out) == (0, "hello, you\n")
    said = result.err.splitlines()
    assert "between us" in said
    assert said[-1].split()[2:5] == ["lens", "completed", "greet"]
    assert "stopped" not in result.err
    assert show(chain)["jobs"][0]["completed_by"] == "lens"
    assert show(other)["chain"]["status"] == "ready"


def test_one_step(start: Callable[..., str], run: Callable[..., Result], show):
    """Of a chain that goes on one job is worked and no more; the next one can be named by its own id or the chain's."""
    chain = start("two")
    assert run(chain).code == 0
    first, second = show(chain)["jobs"]
    assert (first["status"], second["status"]) == ("continued", "ready")
    done = run(second["id"], "--json")
    assert done.code == 0
    assert done.json["output"] == {"greeted": "you"}
    assert "hello, you" in done.err
    again = run(first["id"])
    assert again.code == 4
    assert f"the chain {chain} is completed: it is closed" in again.err


def test_failing(start: Callable[..., str], run: Callable[..., Result], show):
    """A failed attempt is exit code 8, with the whole error; the job is due again after the backoff, as ever."""
    chain = start("bad")
    result = run(chain)
    assert (result.code, result.out) == (8, "")
    assert "Traceback (most recent call last):" in result.err
    last = result.err.splitlines()[-1]
    assert last.startswith(f"jobctl: the attempt at {chain} failed: ValueError: no luck; it is due at ")
    found = show(chain)
    assert (found["chain"]["status"], found["chain"]["attempt"]) == ("scheduled", 1)
    again = run(chain)
    assert (again.code, "is not due before" in again.err) == (4, True)
    assert run(chain, "--now", "--actor", "ann", "--note", "why?").code == 8
    assert [(act["actor"], act["note"]) for act in show(chain)["history"]] == [("ann", "why?")]
    assert show(chain)["chain"]["attempt"] == 2


def test_failing_for_good(start: Callable[..., str], run: Callable[..., Result]):
    """An attempt that was the last says so; as JSON the error has the chain and its status."""
    chain = start("once")
    result = run(chain, "--log-format", "json")
    assert result.code == 8
    error = json.loads(result.err.splitlines()[-1])["error"]
    assert (error["kind"], error["id"], error["status"]) == ("unsuccessful", chain, "failed")
    assert error["message"].endswith("failed: ValueError: no luck; its attempts are used up")
    assert [json.loads(line)["event"] for line in result.err.splitlines()[:-1] if "event" in line][-1] == "job_failed"
    assert "is failed: retry it first" in run(chain).err


def test_max_attempts(start: Callable[..., str], run: Callable[..., Result], here: Path):
    """The number of attempts may be given, or be that of workers in the configuration."""
    chains = [start("bad") for _ in range(2)]
    assert "its attempts are used up" in run(chains[0], "--max-attempts", "1").err
    (here / "jobctl.toml").write_text("[worker]\nmax_attempts = 1\n")
    assert "its attempts are used up" in run(chains[1]).err
    assert run(chains[1], "--max-attempts", "none").code == 2


def test_put_off(start: Callable[..., str], run: Callable[..., Result]):
    """A job that its handler puts off is exit code 75: try again later."""
    chain = start("later")
    result = run(chain)
    assert result.code == 75
    assert f"the job {chain} was put off by its handler: due at " in result.err


def test_lost(start: Callable[..., str], run: Callable[..., Result], database_url: str):
    """A job that somebody settles meanwhile is exit code 4, and nothing of the attempt is kept."""
    chain = start("taken", "--input", json.dumps(database_url))
    result = run(chain)
    assert result.code == 4
    assert result.err.splitlines()[-1] == (
        f"jobctl: the attempt lost the job {chain}: already_completed; nothing of it is kept"
    )


def test_cannot_be_had(start: Callable[..., str], run: Callable[..., Result]):
    """A missing job is exit code 3, one without a processor 2, a closed one 4 whatever is known of its type."""
    missing = "01890000-0000-7000-8000-000000000000"
    assert run(missing).code == 3
    chain = start("greet", "--input", "1")
    unknown = run(chain, "--exec", "other=true", processors="")
    assert (unknown.code, "no processor handles 'greet'; known: other" in unknown.err) == (2, True)
    assert run(chain).code == 0
    closed = run(chain, "--exec", "other=true", processors="")
    assert (closed.code, "is closed" in closed.err) == (4, True)
    assert run(chain, "--note", "x").code == 2


def test_command(start: Callable[..., str], run: Callable[..., Result]):
    """What a command writes to stderr is seen while it runs, its stdout is the output."""
    chain = start("sum")
    result = run(chain, "--exec", "sum=sh -c 'echo adding >&2; echo 3'", "--json", processors="")
    assert result.code == 0
    assert result.json["output"] == 3
    assert "adding\n" in result.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal(sqlite_url: str, spawn: Callable[..., Running], jobctl: Callable[..., Result], workplace: Path, number):
    """A signal gives the job back at once, without an attempt."""
    (workplace / "handlers.py").write_text(HANDLERS)
    chain = jobctl("start", "slow").out.strip()
    running = spawn("run", chain, "--processors", "handlers")
    eventually((workplace / "began").exists)
    assert running.send(number).wait().code == 128 + number
    assert "released" in running.err
    assert jobctl("jobs").out.split("\t")[3:8:4] == ["ready", "0"]
