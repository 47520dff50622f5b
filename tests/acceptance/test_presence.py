"""Workers as real processes: one that is killed is listed as dead with its job, and `why` says when that comes free."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

from acceptance.observing import appear
from support import Result, Running, eventually

from jobctl import Client
from jobctl.reasons import Reason
from jobctl.reports import WorkerState

HANDLERS = """
import time
from pathlib import Path

from jobctl import processor

@processor("step", aliases=["stage"])
def step(job):
    Path("reached").touch()
    while not Path("open").exists():
        time.sleep(0.005)
"""


def test_a_killed_worker(
    spawn: Callable[..., Running], jobctl: Callable[..., Result], workplace: Path, database_url: str
):
    """A worker that is killed is listed as dead with the job that it holds; another one takes that, and leaves."""
    (workplace / "handlers.py").write_text(HANDLERS)
    options = ("--processors", "handlers.py", "--concurrency", "1", "--beat", "500ms")
    with Client(database_url) as client:
        chain = client.start("stage").id
        killed = spawn("worker", *options, "--name", "killed", "--lease", "10s")
        appear([workplace / "reached"], killed)
        assert eventually(lambda: (found := client.why(chain)).reason is Reason.RUNNING and found).by == "killed"
        killed.send(signal.SIGKILL)
        silent = eventually(lambda: (found := client.why(chain)).reason is Reason.SILENT and found)
        assert (silent.by, silent.others) == ("killed", ())
        (dead,) = client.workers()
        assert (dead.state, dead.pid, [job.id for job in dead.jobs]) == (WorkerState.DEAD, killed.pid, [chain])
        assert jobctl("doctor", "--require-worker", "step").code == 8
        (workplace / "open").touch()
        other = spawn("worker", *options, "--name", "other")
        found = eventually(lambda: (found := client.why(chain)).reason is Reason.COMPLETED and found)
        assert found.by == "other"
        assert jobctl("doctor", "--require-worker", "stage").code == 0
        other.stop()
        assert [(each.name, each.jobs) for each in client.workers()] == [("killed", ())]
