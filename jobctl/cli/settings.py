"""What can be set, each setting once: in jobctl.toml, by a variable, by an option.

A setting that is added here is read, checked, suggested when misspelt, overridden by its variable, and shown by
``jobctl config``. A command asks for it with ``run.setting(…, option)``; docs/command-line.md lists it, and a test
compares.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from jobctl.cli.values import (
    Age,
    Ages,
    Duration,
    Flag,
    Kind,
    Modules,
    Names,
    OfProgram,
    OneOf,
    Paths,
    Table,
    Url,
    Whole,
    Words,
)
from jobctl.options import CONCURRENCY as CONCURRENCIES
from jobctl.options import MAX_ATTEMPTS as ATTEMPTS
from jobctl.options import SHORTEST_BEAT, SHORTEST_LEASE, SHORTEST_POLL, WorkerOptions

if TYPE_CHECKING:
    from jobctl.cli.programs import Program
    from jobctl.retention import Retention

T = TypeVar("T")


class Setting(NamedTuple, Generic[T]):
    """Something that can be set.

    Attributes:
        key: Its key in the file; ``worker.lease`` is ``lease`` in the table ``[worker]``.
        kind: What values it has.
        default: Its value when nothing sets it.
        option: The option that sets it, if a command has one.
        computed: Makes the default where that depends on the machine.
        of_profile: It says what a profile is: it stands in a profile alone, and nothing overrides it.
    """

    key: str
    kind: Kind[Any]
    default: T
    option: str | None = None
    computed: Callable[[], T] | None = None
    of_profile: bool = False

    @property
    def variable(self) -> str | None:
        """The variable that sets it."""
        return None if self.of_profile else f"JOBCTL_{self.key.upper().replace('.', '_')}"

    @property
    def default_text(self) -> str:
        """The default, for a help."""
        return str(self.kind.shown(self.default))

    def default_value(self) -> T:
        """Its value when nothing sets it."""
        return self.default if self.computed is None else self.computed()


def _users_file() -> str:
    """A file in the user's state folder."""
    from platformdirs import user_state_path

    return f"sqlite:///{user_state_path('jobctl') / 'jobctl.db'}"


def _seconds(field: str) -> timedelta:
    """A worker's default."""
    return timedelta(seconds=getattr(_WORKER, field))


_WORKER = WorkerOptions()

DATABASE: Setting[str] = Setting("database", Url(), "", option="--database", computed=_users_file)
PROCESSORS: Setting[Sequence[str]] = Setting("processors", Modules(), (), option="--processors")
REQUIRE_NOTE: Setting[bool] = Setting("require_note", Flag(), default=False)
PRODUCTION: Setting[bool] = Setting("production", Flag(), default=False, of_profile=True)
SENSITIVE: Setting[Mapping[str, Collection[str]]] = Setting("sensitive", Table(Paths()), {})

EXEC: Setting[Mapping[str, Program]] = Setting("exec", Table(OfProgram()), {}, option="--exec")
ON_FAILED: Setting[Program | None] = Setting("on_failed", OfProgram(hook=True), None, option="--on-failed")

NAME: Setting[str | None] = Setting("worker.name", Words("a name"), None, option="--name")
TYPES: Setting[Sequence[str]] = Setting("worker.types", Names("types"), (), option="--types")
CONCURRENCY: Setting[int] = Setting(
    "worker.concurrency", Whole(CONCURRENCIES), _WORKER.concurrency, option="--concurrency"
)
MAX_ATTEMPTS: Setting[int | None] = Setting("worker.max_attempts", Whole(ATTEMPTS), None, option="--max-attempts")
LEASE: Setting[timedelta] = Setting("worker.lease", Duration(SHORTEST_LEASE), _seconds("lease"), option="--lease")
POLL: Setting[timedelta] = Setting("worker.poll", Duration(SHORTEST_POLL), _seconds("poll"), option="--poll")
BEAT: Setting[timedelta] = Setting("worker.beat", Duration(SHORTEST_BEAT), _seconds("beat"), option="--beat")
SHUTDOWN_TIMEOUT: Setting[timedelta] = Setting(
    "worker.shutdown_timeout", Duration(), _seconds("shutdown_timeout"), option="--shutdown-timeout"
)
REQUIRE_MIDDLEWARE: Setting[Sequence[str]] = Setting(
    "worker.require_middleware", Names("middleware"), (), option="--require-middleware"
)
LOG_FORMAT: Setting[str] = Setting("worker.log_format", OneOf("human", "json"), "human", option="--log-format")

PRUNE_COMPLETED: Setting[str | None] = Setting("prune.completed", Age(), None, option="--completed")
PRUNE_CANCELLED: Setting[str | None] = Setting("prune.cancelled", Age(), None, option="--cancelled")
PRUNE_FAILED: Setting[str | None] = Setting("prune.failed", Age(), None, option="--failed")
PRUNE_HISTORY: Setting[str | None] = Setting("prune.history", Age(), None, option="--history")
PRUNE_TYPES: Setting[Mapping[str, Retention]] = Setting("prune.types", Table(Ages()), {})

SETTINGS: tuple[Setting[Any], ...] = (
    DATABASE,
    PROCESSORS,
    REQUIRE_NOTE,
    PRODUCTION,
    SENSITIVE,
    EXEC,
    ON_FAILED,
    NAME,
    TYPES,
    CONCURRENCY,
    MAX_ATTEMPTS,
    LEASE,
    POLL,
    BEAT,
    SHUTDOWN_TIMEOUT,
    REQUIRE_MIDDLEWARE,
    LOG_FORMAT,
    PRUNE_COMPLETED,
    PRUNE_CANCELLED,
    PRUNE_FAILED,
    PRUNE_HISTORY,
    PRUNE_TYPES,
)
"""In the order in which ``jobctl config`` lists them."""
