"""``jobctl worker``: its streams, its end and its log."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from support import Result, Running, eventually

HANDLERS = """
import time
from pathlib import Path
from jobctl import Job, continue_with, processor

@processor("ok")
def ok(job: Job): return {"ok": True}

@processor("two")
def two(job: Job): return continue_with(ok, job.input)

@processor("bad", max_attempts=1)
def bad(job: Job): raise ValueError("no luck")

@processor("loud")
def loud(job: Job): print("loud!")

@processor("slow")
def slow(job: Job):
    Path("began").touch()
    time.sleep(job.input)
"""


@pytest.fixture
def handlers(workplace: Path) -> Path:
    """A processor module in the current folder."""
    file = workplace / "handlers.py"
    file.write_text(HANDLERS)
    return file


@pytest.mark.usefixtures("handlers")
def test_drain(database_url: str, jobctl: Callable[..., Result], call: Callable[..., Result]):
    """A draining worker ends with 0; its stdout is empty, and its log has a JSON object per line."""
    at = ("--database", database_url)
    two, bad = call("start", "two", *at).out.strip(), call("start", "bad", *at).out.strip()
    result = jobctl("worker", "--processors", "handlers", "--drain", "--name", "w1", "--log-format", "json")
    assert (result.code, result.out) == (0, "")
    lines = [json.loads(line) for line in result.err.splitlines()]
    assert {line["worker"] for line in lines} == {"w1"}
    assert [line["event"] for line in lines][:: len(lines) - 1] == ["worker_started", "worker_stopped"]
    told = {(line["event"], line["type"]): line for line in lines if line["job_id"]}
    assert told["job_continued", "two"]["chain_id"] == two
    assert told["job_continued", "two"]["detail"] == "ok"
    assert told["job_completed", "ok"]["attempt"] == 1
    assert "ValueError: no luck" in told["job_failed", "bad"]["detail"]

    assert call("wait", two, *at).out == '{"ok": true}\n'
    failed = call("wait", bad, *at)
    assert (failed.code, failed.out) == (8, "")
    assert failed.err == f"jobctl: the chain {bad} is failed: ValueError: no luck\n"
    both = call("wait", two, bad, *at)
    assert both.code == 8
    assert [json.loads(line)["status"] for line in both.lines] == ["completed", "failed"]
    assert [job["completed_by"] for job in call("show", two, "--json", *at).json["jobs"]] == ["w1", "w1"]
    assert "ValueError: no luck" in call("show", bad, *at).out


@pytest.mark.usefixtures("handlers")
def test_quiet_log(sqlite_url: str, jobctl: Callable[..., Result], call: Callable[..., Result]):
    """With --quiet only what went wrong is logged, in one line for people; --max-jobs ends with 0."""
    for type_name in ("ok", "bad"):
        call("start", type_name, "--database", sqlite_url)
    result = jobctl("worker", "--processors", "handlers.py", "--max-jobs", "2", "--quiet", "--name", "w1")
    assert (result.code, result.out) == (0, "")
    assert result.err.count("\n") == 1
    assert " w1 failed " in result.err
    assert "bad" in result.err
    assert result.err.endswith("ValueError: no luck\n")


@pytest.mark.usefixtures("handlers")
def test_document(sqlite_url: str, jobctl: Callable[..., Result], call: Callable[..., Result]):
    """With --json it prints one document at its end, how many attempts ended how; all else is on stderr, as JSON too."""
    for type_name in ("ok", "ok", "two", "bad", "loud"):
        call("start", type_name, "--database", sqlite_url)
    result = jobctl("worker", "--processors", "handlers", "--drain", "--json", "--quiet", "--name", "w1")
    assert {name: value for name, value in result.json.items() if value} == {
        "worker": "w1",
        "completed": 4,
        "continued": 1,
        "failed": 1,
    }
    said, logged = result.err.splitlines()
    assert (said, json.loads(logged)["event"]) == ("loud!", "job_failed")
    both = jobctl("worker", "--processors", "handlers", "--drain", "--json", "--log-format", "human")
    assert both.json["completed"] == 0
    assert " stopped" in both.err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals(
    handlers: Path, sqlite_url: str, spawn: Callable[..., Running], call: Callable[..., Result], number, code: int
):
    """A signal lets running jobs end; the exit code then tells which it was, and so does the document."""
    chain = call("start", "slow", "--input", "0.5", "--database", sqlite_url).out.strip()
    working = spawn("worker", "--processors", "handlers", "--json")
    eventually(handlers.with_name("began").exists)
    result = working.send(number).wait()
    assert (result.code, result.json["signal"], result.json["completed"]) == (code, number.name, 1)
    assert call("list", "--database", sqlite_url).out.split("\t")[:3] == [chain, "slow", "completed"]


def test_second_signal(handlers: Path, sqlite_url: str, spawn: Callable[..., Running], call: Callable[..., Result]):
    """A second signal stops at once, and what ran is given back without an attempt."""
    call("start", "slow", "--input", "60", "--database", sqlite_url)
    working = spawn("worker", "--processors", "handlers")
    eventually(handlers.with_name("began").exists)
    working.send(signal.SIGTERM)
    eventually(lambda: "stopping" in working.err)
    assert working.send(signal.SIGTERM).wait().code == 143
    assert call("list", "--database", sqlite_url).out.split("\t")[2] == "ready"
    assert call("jobs", "--json", "--database", sqlite_url).json["items"][0]["attempt"] == 0


FORKING = """
import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from jobctl import Job, processor

forked = get_context("fork")
pools = []

@processor("ended")
def ended(job: Job):
    child = forked.Process(target=time.sleep, args=(60,))
    child.start()
    child.terminate()
    child.join()
    return child.exitcode

@processor("kept")
def kept(job: Job):
    pools.append(ProcessPoolExecutor(1, mp_context=forked))
    return pools[0].submit(abs, -1).result()

@processor("beside")
def beside(job: Job):
    if (child := os.fork()) == 0:
        time.sleep(60)
        os._exit(0)
    Path("child").write_text(f"{child}.")
    time.sleep(1)
"""


@pytest.fixture
def forking(workplace: Path) -> Path:
    """A module of handlers that fork."""
    file = workplace / "forking.py"
    file.write_text(FORKING)
    return file


@pytest.mark.usefixtures("forking")
def test_a_child_that_is_ended(sqlite_url: str, jobctl: Callable[..., Result], call: Callable[..., Result]):
    """A signal to a process that a handler forked is that process's, and not its worker's."""
    at = ("--database", sqlite_url)
    chains = [call("start", "ended", *at).out.strip() for _ in range(3)]
    assert jobctl("worker", "--processors", "forking", "--drain").code == 0
    assert [call("wait", each, *at).out for each in chains] == [f"{-signal.SIGTERM}\n"] * 3


@pytest.mark.usefixtures("forking")
def test_a_child_that_is_kept(sqlite_url: str, jobctl: Callable[..., Result], call: Callable[..., Result]):
    """A worker ends though processes that handlers forked go on, and so does what watches over its commands."""
    at = ("--database", sqlite_url)
    chains = [
        call("start", "command", "--priority", "1", *at).out.strip(),
        call("start", "kept", *at).out.strip(),
    ]
    options = ("--exec", "command=echo 2", "--drain", "--concurrency", "1")
    assert jobctl("worker", "--processors", "forking", *options, within=30.0).code == 0
    assert [call("wait", each, *at).out for each in chains] == ["2\n", "1\n"]


def test_a_signal_to_worker_and_child(
    forking: Path, sqlite_url: str, spawn: Callable[..., Running], call: Callable[..., Result]
):
    """A signal that a worker and a process that its handler forked both get is one: what runs may end."""
    chain = call("start", "beside", "--database", sqlite_url).out.strip()
    working = spawn("worker", "--processors", "forking")
    file = forking.with_name("child")
    child = int(eventually(lambda: file.exists() and file.read_text().endswith(".") and file.read_text()[:-1]))
    working.send(signal.SIGTERM)
    os.kill(child, signal.SIGTERM)
    assert working.wait().code == 143
    assert call("list", "--database", sqlite_url).out.split("\t")[:3] == [chain, "beside", "completed"]
