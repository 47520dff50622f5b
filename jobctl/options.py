"""How a worker works."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jobctl.errors import ProcessorError, UsageError
from jobctl.model import Backoff, parse_duration
from jobctl.processors import DEFAULT_BACKOFF
from jobctl.registry import Registry

CONCURRENCY = range(1, 1001)
MAX_JOBS = range(1, 1_000_000_001)
MAX_ATTEMPTS = range(1, 1_000_001)
SHORTEST_LEASE = "100ms"
SHORTEST_POLL = "1ms"
SHORTEST_BEAT = "100ms"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """How a worker works. Durations are seconds.

    Attributes:
        name: Its name, which goes to completed_by; host:pid unless given.
        concurrency: How many handlers run at once.
        types: Only these of the processors' types, each with its aliases; an alias stands for itself alone.
        drain: Stop once nothing is ready and nothing runs.
        max_jobs: Stop after so many attempts.
        lease: How long a claim holds unless renewed; a processor may say otherwise.
        poll: How often to look for work that nobody told of.
        beat: How often it says that it is alive; not heard of for three times as long, it is taken for dead.
        shutdown_timeout: How long running handlers may finish after a stop; the rest is given back.
        backoff: Of processors that have none.
        max_attempts: Of processors that do not say; None: any number.
        require_middleware: Names of middleware that every processor must have.
    """

    name: str | None = None
    concurrency: int = 10
    types: Sequence[str] | None = None
    drain: bool = False
    max_jobs: int | None = None
    lease: float = 30.0
    poll: float = 5.0
    beat: float = 5.0
    shutdown_timeout: float = 30.0
    backoff: Backoff = DEFAULT_BACKOFF
    max_attempts: int | None = None
    require_middleware: Sequence[str] = ()

    def __post_init__(self) -> None:
        _require_in("concurrency", self.concurrency, CONCURRENCY)
        if self.max_jobs is not None:
            _require_in("max_jobs", self.max_jobs, MAX_JOBS)
        if self.max_attempts is not None:
            _require_in("max_attempts", self.max_attempts, MAX_ATTEMPTS)
        _require_at_least("lease", self.lease, SHORTEST_LEASE)
        _require_at_least("poll", self.poll, SHORTEST_POLL)
        _require_at_least("beat", self.beat, SHORTEST_BEAT)
        _require_at_least("shutdown_timeout", self.shutdown_timeout, "0s")

    def leases(self, registry: Registry) -> dict[str, float]:
        """The types to work, and for how many seconds a claim of each holds.

        Raises:
            UsageError: There is no processor for one of the types asked for.
            ProcessorError: One lacks a middleware that is required.
        """
        asked = list(registry) if self.types is None else list(self.types)
        for name in asked:
            if name not in registry:
                raise UsageError(f"no processor handles '{name}'; known: {', '.join(sorted(registry))}")
        wanted = [each for name in asked for each in (registry[name].names if name == registry[name].name else (name,))]
        if not wanted:
            raise UsageError("there is no type to work: name at least one")
        for name in asked:
            has = {each.name for each in registry[name].middleware}
            if missing := [each for each in self.require_middleware if each not in has]:
                raise ProcessorError(
                    f"'{name}' ({registry[name].where}) lacks the middleware '{missing[0]}', which this worker requires"
                )
        return {name: registry[name].lease or self.lease for name in wanted}


def _require_in(field: str, value: int, allowed: range) -> None:
    if value not in allowed:
        raise UsageError(f"{field}: {value} is out of range: {allowed.start} to {allowed.stop - 1}")


def _require_at_least(field: str, seconds: float, least: str) -> None:
    if not seconds >= parse_duration(least).total_seconds():
        raise UsageError(f"{field}: {seconds:g} s is too short: {least} or more")
