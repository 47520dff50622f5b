"""Acting on a job from inside of its own attempt: a command that settles the job that it was run for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from jobctl.errors import AttemptLostError
from jobctl.storage.records import JobRow

JOB_ID: Final = "JOBCTL_JOB_ID"
LEASE: Final = "JOBCTL_LEASE"


@dataclass(frozen=True, slots=True)
class Inside:
    """The attempt that a command is run by.

    Attributes:
        job_id: Its job.
        lease: Names its claim: another attempt at the same job has another.
    """

    job_id: str
    lease: str

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Inside | None:
        """The attempt that this environment tells of."""
        job_id, lease = environment.get(JOB_ID), environment.get(LEASE)
        return cls(job_id, lease) if job_id and lease else None

    def facts(self, row: JobRow) -> dict[str, Any]:
        """For the history, by which attempt the job is settled; nothing when it is another's job.

        Raises:
            AttemptLostError: The job was taken from the attempt: its command is none of the job's any more.
        """
        if row.id != self.job_id:
            return {}
        if row.lease != self.lease:
            raise AttemptLostError(
                f"the job {row.id} is not held by the attempt whose command this is any more: end the command",
                reason="taken_by_another_worker",
            )
        return {"worker": row.worker, "attempt": row.attempt}
