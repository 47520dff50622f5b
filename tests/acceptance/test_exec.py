"""``worker --exec`` as a process: what it tells its commands, and that none of them outlives it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from acceptance.observing import events
from support import Result, Running, eventually

from jobctl import Client, Status

SCRIPT = """#!/bin/sh
# tell.sh
cd /
env > "$HERE/environment"
tr '\\0' ' ' < /proc/$PPID/cmdline > "$HERE/parent"
jobctl complete "$JOBCTL_JOB_ID" --continue next --note "from the script" >&2
"""


@pytest.fixture
def script(workplace: Path) -> Path:
    file = workplace / "tell.sh"
    file.write_text(SCRIPT)
    file.chmod(0o755)
    return file


def test_script(client: Client, script: Path, jobctl: Callable[..., Result], workplace: Path):
    """A script finds jobctl and the database, wherever it goes, although nobody has put either into its environment."""
    chain = client.start("step", {"n": 1}).id
    environment = {"PATH": "/usr/bin:/bin", "HERE": str(workplace)}
    result = jobctl(
        *("worker", "--exec", "step=./tell.sh", "--exec", "next=sh -c 'cat >&2; echo 5'"),
        *("--drain", "--log-format", "json"),
        env=environment,
    )
    assert (result.code, result.out) == (0, ""), result.err
    found = client.show(chain)
    assert (found.chain.status, found.chain.output, len(found.jobs)) == (Status.COMPLETED, 5, 2)
    assert found.jobs[1].input == {"n": 1}
    assert [act.note for act in found.history] == ["from the script"]
    assert '"event": "job_settled"' in result.err
    shown = jobctl("show", chain).out
    assert f"continued by the command of worker {found.history[0].details['worker']}, " in shown
    assert "by hand" not in shown
    told = set((workplace / "environment").read_text().splitlines())
    assert {f"JOBCTL_JOB_ID={chain}", f"JOBCTL_CHAIN_ID={chain}", "JOBCTL_TYPE=step"} <= told
    # what a command needs to reach the database is in no process's arguments, where everybody could read it
    assert "postgresql:" not in (workplace / "parent").read_text()


COMMAND = "forever=sh -c 'cat; sleep 600 & echo $! > pid.child; echo $$ > pid.leader; wait'"


@pytest.mark.parametrize(
    ("ending", "code"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9), (signal.SIGHUP, -1)],
)
def test_nothing_is_left(
    sqlite_url: str,
    open_client: Callable[[str], Client],
    spawn: Callable[..., Running],
    workplace: Path,
    ending: signal.Signals,
    code: int,
):
    """However a worker ends, even killed, its commands end with all that they started; the job is another's to take."""
    client = open_client(sqlite_url)
    chain = client.start("forever").id
    working = spawn(*("worker", "--exec", COMMAND, "--shutdown-timeout", "0s", "--lease", "1s", "--log-format", "json"))
    files = [workplace / "pid.leader", workplace / "pid.child"]
    eventually(lambda: all(each.exists() and each.read_text().endswith("\n") for each in files))
    found = [int(each.read_text()) for each in files]
    assert all(map(psutil.pid_exists, found))
    assert working.send(ending).wait().code == code
    eventually(lambda: not any(map(psutil.pid_exists, found)), what="the command and its child have ended")
    if code > 0:
        assert [each["job_id"] for each in events(working, "job_released")] == [chain]
        assert client.get_job(chain).attempt == 0


def test_second_signal(
    sqlite_url: str, open_client: Callable[[str], Client], spawn: Callable[..., Running], workplace: Path
):
    """The first signal lets a command end; the second ends it."""
    open_client(sqlite_url).start("forever")
    working = spawn("worker", "--exec", COMMAND, "--log-format", "json")
    leader = workplace / "pid.leader"
    eventually(lambda: leader.exists() and leader.read_text())
    working.send(signal.SIGTERM)
    eventually(lambda: events(working, "worker_stopping"))
    assert psutil.pid_exists(int(leader.read_text()))
    assert working.send(signal.SIGTERM).wait().code == 143
    assert not psutil.pid_exists(int(leader.read_text()))
