"""A worker answers as long as its loop goes around."""

from __future__ import annotations

from support import InThread, eventually

from jobctl import Job, WorkerOptions, processor
from jobctl.registry import Registry
from jobctl.worker import Worker


@processor("a")
def handler(job: Job): ...


def test_answers(store):
    """A worker that waits for work answers at once; one that does not run does not; one that stops counts as alive."""
    worker = Worker(store, Registry([handler]), WorkerOptions(poll=3600.0))
    assert not worker.answers(0.01)
    running = InThread(worker.run)
    eventually(lambda: worker.answers(5))
    worker.stop()
    assert worker.answers(0)
    running.result()
