"""A worker takes the jobs that wait under former names of its types."""

from __future__ import annotations

from worker.workshop import Workshop, make

from jobctl import Job, Status, continue_with, processor
from jobctl.events import Told


def test_jobs_of_former_names_are_worked(shop: Workshop, mode: str):
    """A job under a former name is claimed and handled, and keeps its name, in whichever mode."""
    seen: list[str] = []
    hook = "between" if mode in {"plain", "async_plain"} else "complete"
    known = make(mode, "new", aliases=["old"], hooks={hook: lambda _, job: seen.append(job.type_name)})
    old, new = shop.start("old", 1), shop.start("new", 2)
    shop.run(known)
    assert sorted(seen) == ["new", "old"]
    assert [(each.status, each.output, each.job_type) for each in map(shop.client.get, (old, new))] == [
        (Status.COMPLETED, 1, "old"),
        (Status.COMPLETED, 2, "new"),
    ]


def test_a_chain_goes_on_under_a_former_name(shop: Workshop):
    """A handler may continue with a former name of a type that it declares."""
    chain = shop.start("first")

    @processor("first", continues=["new"])
    def first(job: Job):
        return continue_with("old", 7)

    shop.run(first, make("plain", "new", aliases=["old"]))
    assert shop.client.get(chain).output == 7


def test_a_worker_is_told_of_former_names(shop: Workshop):
    """A worker that waits hears of a job under a former name."""
    working = shop.work(make("plain", "new", aliases=["old"]))
    chain = shop.start("old")
    working.until(Told.JOB_COMPLETED, chain)
