"""``worker``: run the jobs, and tell what happens."""

from __future__ import annotations

from typing import Annotated

import typer

from jobctl.cli import parse
from jobctl.cli.command import command
from jobctl.cli.options import Exec, ExecMaxOutput, ExecShell, ExecTimeout, LogFormat, OnFailed, Processors
from jobctl.cli.run import Run


@command(
    "worker",
    section="Work",
    examples=(
        ("jobctl worker --processors mymod", ""),
        ("jobctl worker --processors ./handlers.py --drain", "ends once nothing is ready"),
        ("jobctl worker --processors mymod --types resize,import --concurrency 4", ""),
        ("jobctl worker --exec 'resize=./resize.sh --fast' --exec-timeout 5m", "a command handles the type"),
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
    max_attempts: Annotated[
        str | None,
        typer.Option("--max-attempts", metavar="N", help="Then a job is failed, unless its processor says otherwise."),
    ] = None,
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
    shutdown_timeout: Annotated[
        str,
        typer.Option(
            "--shutdown-timeout",
            metavar="DURATION",
            help="How long running jobs may take to end after a signal.",
            show_default=True,
        ),
    ] = "30s",
    exec_: Exec = None,
    exec_shell: ExecShell = False,
    exec_timeout: ExecTimeout = None,
    exec_max_output: ExecMaxOutput = None,
    on_failed: OnFailed = None,
    log_format: LogFormat = "human",
) -> None:
    """Run jobs until stopped, and log on stderr what happens.

    SIGTERM and SIGINT stop it: running jobs may end, the others are given back; a second signal stops at once.
    The exit code is then 143 or 130. With --quiet only what went wrong is logged.

    A command of --exec gets the job as JSON on stdin and JOBCTL_JOB_ID, JOBCTL_CHAIN_ID, JOBCTL_TYPE and
    JOBCTL_ATTEMPT in its environment. JSON on its stdout is the output, exit code 0 completes, 75 asks for another
    attempt, all else is a failed one with the end of stderr as its error.
    """
    from jobctl.cli.working import Means, work
    from jobctl.options import CONCURRENCY, MAX_ATTEMPTS, MAX_JOBS, SHORTEST_LEASE, SHORTEST_POLL, WorkerOptions

    options = WorkerOptions(
        name=name,
        concurrency=parse.whole("--concurrency", concurrency, CONCURRENCY),
        types=parse.names("--types", types) or None,
        drain=drain,
        require_middleware=parse.names("--require-middleware", require_middleware),
        max_jobs=None if max_jobs is None else parse.whole("--max-jobs", max_jobs, MAX_JOBS),
        max_attempts=None if max_attempts is None else parse.whole("--max-attempts", max_attempts, MAX_ATTEMPTS),
        lease=parse.duration("--lease", lease, SHORTEST_LEASE).total_seconds(),
        poll=parse.duration("--poll", poll, SHORTEST_POLL).total_seconds(),
        shutdown_timeout=parse.duration("--shutdown-timeout", shutdown_timeout).total_seconds(),
    )
    means = Means(
        processors=processors,
        exec_=exec_,
        shell=exec_shell,
        timeout=exec_timeout,
        max_output=exec_max_output,
        on_failed=on_failed,
        log_format=log_format,
    )
    number = work(run, means, options)
    if number is not None:
        raise typer.Exit(128 + number)
