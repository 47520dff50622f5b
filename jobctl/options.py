"""How a worker works."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jobctl.errors import UsageError
from jobctl.model import Backoff
from jobctl.processors import DEFAULT_BACKOFF
from jobctl.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """How a worker works. Durations are seconds.

    Attributes:
        name: Its name, which goes to completed_by; host:pid unless given.
        concurrency: How many handlers run at once.
        types: Only these of the processors' types.
        drain: Stop once nothing is ready and nothing runs.
        max_jobs: Stop after so many attempts.
        lease: How long a claim holds unless renewed; a processor may say otherwise.
        poll: How often to look for work that nobody told of.
        shutdown_timeout: How long running handlers may finish after a stop; the rest is given back.
        backoff: Of processors that have none.
    """

    name: str | None = None
    concurrency: int = 10
    types: Sequence[str] | None = None
    drain: bool = False
    max_jobs: int | None = None
    lease: float = 30.0
    poll: float = 5.0
    shutdown_timeout: float = 30.0
    backoff: Backoff = DEFAULT_BACKOFF

    def __post_init__(self) -> None:
        if not 1 <= self.concurrency <= 1000:
            raise UsageError(f"a concurrency of {self.concurrency} is out of range: 1 to 1000")
        if self.max_jobs is not None and self.max_jobs < 1:
            raise UsageError(f"a maximum of {self.max_jobs} jobs is out of range: 1 or more")
        if self.lease < 0.1:
            raise UsageError(f"a lease of {self.lease:g} s is too short: 100ms or more")
        if self.poll <= 0:
            raise UsageError(f"a poll interval of {self.poll:g} s is out of range: more than 0")
        if self.shutdown_timeout < 0:
            raise UsageError(f"a shutdown timeout of {self.shutdown_timeout:g} s is out of range: 0 or more")

    def leases(self, registry: Registry) -> dict[str, float]:
        """The types to work, and for how many seconds a claim of each holds.

        Raises:
            UsageError: There is no processor for one of the types asked for.
        """
        wanted = list(registry) if self.types is None else list(self.types)
        for name in wanted:
            if name not in registry:
                raise UsageError(f"no processor handles '{name}'; known: {', '.join(sorted(registry))}")
        if not wanted:
            raise UsageError("there is no type to work: name at least one")
        return {name: registry[name].lease or self.lease for name in wanted}
