"""Wait for a person; reject when nobody answers in time."""

from typing import Any

from jobctl import Attempt, Job, processor


@processor("await-approval", continues=("process-request",))
def await_approval(job: Job[Any]) -> dict[str, bool]:
    """Run only when nobody settled it before it was due."""
    return {"rejected": True}


@processor("process-request", entry=False)
def process_request(job: Job[dict[str, Any]], attempt: Attempt) -> dict[str, bool]:
    """Work in small steps, and stop as soon as somebody else settled the job."""
    for _ in range(job.input.get("steps", 1)):
        attempt.wait(0.1)
        attempt.raise_if_lost()
    return {"processed": True}
