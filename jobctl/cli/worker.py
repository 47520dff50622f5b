"""``worker``: run the jobs, and tell what happens."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from jobctl.cli import completing, parse, settings
from jobctl.cli.command import command
from jobctl.cli.options import Processors
from jobctl.cli.run import Run
from jobctl.cli.supervision import Supervisor
from jobctl.cli.worker_log import worker_log
from jobctl.errors import UsageError

if TYPE_CHECKING:
    from jobctl.worker import Worker

OTHER_CONNECTIONS = 3
"""Besides those of handlers: for claiming and settling, for renewing leases, and for signs of life."""

STOPPING = (signal.SIGTERM, signal.SIGINT)


@command(
    "worker",
    section="Work",
    examples=(
        ("jobctl worker --processors mymod", ""),
        ("jobctl worker --processors ./handlers.py --drain", "ends once nothing is ready"),
        ("jobctl worker --processors mymod --types resize,import --concurrency 4", ""),
    ),
    changes=True,
)
def worker(
    run: Run,
    processors: Processors = None,
    types: Annotated[
        list[str] | None,
        typer.Option(
            "--types",
            metavar="TYPE",
            help="Only these types; repeatable, or several with commas.",
            autocompletion=completing.types,
        ),
    ] = None,
    concurrency: Annotated[
        str | None,
        typer.Option(
            "--concurrency",
            metavar="N",
            help=f"How many jobs run at once.  [default: {settings.CONCURRENCY.default_text}]",
        ),
    ] = None,
    require_middleware: Annotated[
        list[str] | None,
        typer.Option("--require-middleware", metavar="NAME", help="Refuse processors without it; repeatable."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The worker's name; else made of host and process.")
    ] = None,
    drain: Annotated[bool, typer.Option("--drain", help="End once nothing is ready.")] = False,
    max_jobs: Annotated[str | None, typer.Option("--max-jobs", metavar="N", help="End after so many attempts.")] = None,
    max_attempts: Annotated[
        str | None,
        typer.Option("--max-attempts", metavar="N", help="Then a job is failed, unless its processor says otherwise."),
    ] = None,
    lease: Annotated[
        str | None,
        typer.Option(
            "--lease",
            metavar="DURATION",
            help=f"How long a dead worker's jobs stay taken.  [default: {settings.LEASE.default_text}]",
        ),
    ] = None,
    poll: Annotated[
        str | None,
        typer.Option(
            "--poll",
            metavar="DURATION",
            help=f"Look for work this often, told of it or not.  [default: {settings.POLL.default_text}]",
        ),
    ] = None,
    beat: Annotated[
        str | None,
        typer.Option(
            "--beat",
            metavar="DURATION",
            help="Say this often that it is alive; silent for three times as long, it is taken for dead."
            f"  [default: {settings.BEAT.default_text}]",
        ),
    ] = None,
    shutdown_timeout: Annotated[
        str | None,
        typer.Option(
            "--shutdown-timeout",
            metavar="DURATION",
            help="How long running jobs may take to end after a signal."
            f"  [default: {settings.SHUTDOWN_TIMEOUT.default_text}]",
        ),
    ] = None,
    log_format: Annotated[
        str | None,
        typer.Option(
            "--log-format",
            metavar="FORMAT",
            help=f"human or json lines.  [default: {settings.LOG_FORMAT.default_text}]",
            autocompletion=completing.words("human", "json"),
        ),
    ] = None,
) -> None:
    """Run jobs until stopped, and log on stderr what happens.

    SIGTERM and SIGINT stop it: running jobs may end, the others are given back; a second signal stops at once.
    The exit code is then 143 or 130. With --quiet only what went wrong is logged.
    """
    from jobctl.options import MAX_JOBS, WorkerOptions
    from jobctl.worker import MOST_TRANSACTIONS, Worker

    log = run.setting(settings.LOG_FORMAT, log_format)
    options = WorkerOptions(
        name=run.setting(settings.NAME, name),
        concurrency=run.setting(settings.CONCURRENCY, concurrency),
        types=run.setting(settings.TYPES, types) or None,
        drain=drain,
        require_middleware=run.setting(settings.REQUIRE_MIDDLEWARE, require_middleware),
        max_jobs=None if max_jobs is None else parse.whole("--max-jobs", max_jobs, MAX_JOBS),
        max_attempts=run.setting(settings.MAX_ATTEMPTS, max_attempts),
        lease=run.setting(settings.LEASE, lease).total_seconds(),
        poll=run.setting(settings.POLL, poll).total_seconds(),
        beat=run.setting(settings.BEAT, beat).total_seconds(),
        shutdown_timeout=run.setting(settings.SHUTDOWN_TIMEOUT, shutdown_timeout).total_seconds(),
    )
    registry = run.registry(processors)
    if not registry:
        raise UsageError("a worker needs processors: give --processors MOD, or 'processors' in jobctl.toml")
    pool_size = min(options.concurrency, MOST_TRANSACTIONS) + OTHER_CONNECTIONS
    with run.store(pool_size=pool_size, told=log == "json") as store, worker_log(run, log, store.label) as tell:
        supervisor = Supervisor.of_environment()
        working = Worker(store, registry, options, supervisor.hearing(tell))
        with _stopped_by_signals(working) as received, supervisor.watching(working):
            working.run()
    if received:
        raise typer.Exit(128 + received[0])


@contextmanager
def _stopped_by_signals(working: Worker) -> Iterator[list[int]]:
    """Stop the worker at SIGTERM and SIGINT; gives the list of those that came."""
    received: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        received.append(number)
        working.stop()

    before = {number: signal.signal(number, stop) for number in STOPPING}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
