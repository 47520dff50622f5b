"""``worker``: run the jobs, and tell what happens."""

from __future__ import annotations

from typing import Annotated

import typer

from jobctl.cli import completing, parse, settings
from jobctl.cli.command import command
from jobctl.cli.options import Json, Processors
from jobctl.cli.run import Run
from jobctl.cli.working_options import Exec, ExecMaxOutput, ExecShell, ExecTimeout, LogFormat, MaxAttempts, OnFailed


@command(
    "worker",
    section="Work",
    examples=(
        ("jobctl worker --processors mymod", ""),
        ("jobctl worker --processors ./handlers.py --drain", "ends once nothing is ready"),
        ("jobctl worker --processors ./handlers.py --drain --json --quiet", "and prints what it did"),
        ("jobctl worker --processors mymod --types resize,import --concurrency 4", ""),
        ("jobctl worker --exec 'resize=./resize.sh --fast' --exec-timeout 5m", "a command handles the type"),
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
    max_attempts: MaxAttempts = None,
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
    exec_: Exec = None,
    exec_shell: ExecShell = False,
    exec_timeout: ExecTimeout = None,
    exec_max_output: ExecMaxOutput = None,
    on_failed: OnFailed = None,
    log_format: LogFormat = None,
    json: Json = False,
) -> None:
    """Run jobs until stopped, and log on stderr what happens.

    SIGTERM and SIGINT stop it: running jobs may end, the others are given back; a second signal stops at once.
    The exit code is then 143 or 130. With --quiet only what went wrong is logged. With --json the log is one of JSON
    lines, what handlers print goes there too, and stdout gets one document at the end: how many attempts ended how.

    A command of --exec gets the job as JSON on stdin and JOBCTL_JOB_ID, JOBCTL_CHAIN_ID, JOBCTL_TYPE and
    JOBCTL_ATTEMPT in its environment. JSON on its stdout is the output, exit code 0 completes, 75 asks for another
    attempt, all else is a failed one with the end of stderr as its error.
    """
    from jobctl.cli.worked import Worked
    from jobctl.cli.working import Means, work
    from jobctl.options import MAX_JOBS, WorkerOptions

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
    means = Means(
        processors=processors,
        exec_=exec_,
        shell=exec_shell,
        timeout=exec_timeout,
        max_output=exec_max_output,
        on_failed=on_failed,
        log_format=log_format,
    )
    worked = Worked()
    number = work(run, means, options, heard=worked.hear if json else lambda _: None, json=json)
    if json:
        run.json(worked.document(number))
    if number is not None:
        raise typer.Exit(128 + number)
