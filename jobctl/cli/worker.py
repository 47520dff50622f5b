"""``worker``: run the jobs, and tell what happens."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from jobctl.cli import parse
from jobctl.cli.command import command
from jobctl.cli.log import Log, human_line, json_line
from jobctl.cli.options import Processors
from jobctl.cli.run import Run
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
)
def worker(
    run: Run,
    processors: Processors = None,
    types: Annotated[
        list[str] | None,
        typer.Option("--types", metavar="TYPE", help="Only these types; repeatable, or several with commas."),
    ] = None,
    concurrency: Annotated[
        str, typer.Option("--concurrency", metavar="N", help="How many jobs run at once.", show_default=True)
    ] = "10",
    require_middleware: Annotated[
        list[str] | None,
        typer.Option("--require-middleware", metavar="NAME", help="Refuse processors without it; repeatable."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The worker's name; else made of host and process.")
    ] = None,
    drain: Annotated[bool, typer.Option("--drain", help="End once nothing is ready.")] = False,
    max_jobs: Annotated[str | None, typer.Option("--max-jobs", metavar="N", help="End after so many attempts.")] = None,
    lease: Annotated[
        str,
        typer.Option(
            "--lease", metavar="DURATION", help="How long a dead worker's jobs stay taken.", show_default=True
        ),
    ] = "30s",
    poll: Annotated[
        str,
        typer.Option(
            "--poll", metavar="DURATION", help="Look for work this often, told of it or not.", show_default=True
        ),
    ] = "5s",
    beat: Annotated[
        str,
        typer.Option(
            "--beat",
            metavar="DURATION",
            help="Say this often that it is alive; silent for three times as long, it is taken for dead.",
            show_default=True,
        ),
    ] = "5s",
    shutdown_timeout: Annotated[
        str,
        typer.Option(
            "--shutdown-timeout",
            metavar="DURATION",
            help="How long running jobs may take to end after a signal.",
            show_default=True,
        ),
    ] = "30s",
    log_format: Annotated[
        str, typer.Option("--log-format", metavar="FORMAT", help="human or json lines.", show_default=True)
    ] = "human",
) -> None:
    """Run jobs until stopped, and log on stderr what happens.

    SIGTERM and SIGINT stop it: running jobs may end, the others are given back; a second signal stops at once.
    The exit code is then 143 or 130. With --quiet only what went wrong is logged.
    """
    from jobctl.options import CONCURRENCY, MAX_JOBS, SHORTEST_BEAT, SHORTEST_LEASE, SHORTEST_POLL, WorkerOptions
    from jobctl.storage.open import open_store
    from jobctl.worker import MOST_TRANSACTIONS, Worker

    log = parse.one_of("--log-format", log_format, ("human", "json"))
    options = WorkerOptions(
        name=name,
        concurrency=parse.whole("--concurrency", concurrency, CONCURRENCY),
        types=parse.names("--types", types) or None,
        drain=drain,
        require_middleware=parse.names("--require-middleware", require_middleware),
        max_jobs=None if max_jobs is None else parse.whole("--max-jobs", max_jobs, MAX_JOBS),
        lease=parse.duration("--lease", lease, SHORTEST_LEASE).total_seconds(),
        poll=parse.duration("--poll", poll, SHORTEST_POLL).total_seconds(),
        beat=parse.duration("--beat", beat, SHORTEST_BEAT).total_seconds(),
        shutdown_timeout=parse.duration("--shutdown-timeout", shutdown_timeout).total_seconds(),
    )
    registry = run.registry(processors)
    if not registry:
        raise UsageError("a worker needs processors: give --processors MOD, or 'processors' in jobctl.toml")
    line = json_line if log == "json" else partial(human_line, colored=run.colored(sys.stderr))
    store = open_store(run.database, pool_size=min(options.concurrency, MOST_TRANSACTIONS) + OTHER_CONNECTIONS)
    try:
        with Log(line, quiet=run.common.quiet) as tell:
            working = Worker(store, registry, options, tell)
            with _stopped_by_signals(working) as received:
                working.run()
    finally:
        store.close()
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
