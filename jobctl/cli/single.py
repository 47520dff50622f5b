"""``run``: work one job in the foreground of the caller's terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from jobctl.cli import settings
from jobctl.cli.command import command
from jobctl.cli.documents import job_document
from jobctl.cli.options import Actor, Json, Note, Processors
from jobctl.cli.render import said_line
from jobctl.cli.run import Run
from jobctl.cli.working_options import Exec, ExecMaxOutput, ExecShell, ExecTimeout, LogFormat, MaxAttempts, OnFailed
from jobctl.errors import AttemptLostError, TryAgainError, UnsuccessfulError, UsageError
from jobctl.events import Event, Told

if TYPE_CHECKING:
    from jobctl.client import Client

ABOUT_THE_WORKER = frozenset({Told.WORKER_STARTED, Told.WORKER_STOPPING, Told.WORKER_STOPPED})
"""What the log leaves out: here it is about one job."""

ENDS = frozenset(
    {
        Told.JOB_COMPLETED,
        Told.JOB_CONTINUED,
        Told.JOB_SETTLED,
        Told.JOB_RESCHEDULED,
        Told.JOB_RETRIED,
        Told.JOB_FAILED,
        Told.JOB_LOST,
        Told.JOB_RELEASED,
    }
)


@command(
    "run",
    section="Work",
    examples=(
        ("jobctl run $id --processors mymod", ""),
        ("jobctl run $id --processors mymod --now --note 'looking into it'", "although it is not due yet"),
        ("jobctl run $id --exec 'resize=./resize.sh --verbose'", "what it writes to stderr is seen as it does"),
    ),
    changes=True,
)
def run(
    run: Run,
    id_: Annotated[str, typer.Argument(metavar="ID", help="The chain, or a job that must still be its current one.")],
    processors: Processors = None,
    now: Annotated[bool, typer.Option("--now", help="Although it is not due yet: trigger it.")] = False,
    actor: Actor = None,
    note: Note = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The worker's name; else made of host and process.")
    ] = None,
    max_attempts: MaxAttempts = None,
    exec_: Exec = None,
    exec_shell: ExecShell = False,
    exec_timeout: ExecTimeout = None,
    exec_max_output: ExecMaxOutput = None,
    on_failed: OnFailed = None,
    log_format: LogFormat = None,
    json: Json = False,
) -> None:
    """Work one job here and now, as a worker would.

    The job is claimed, its lease renewed, and what comes of it is kept. What its handler prints is seen as it is, and
    the log is on stderr; with --json both are there, the log as JSON lines. The exit code is 0 if the job was completed
    or handed over, 8 if the attempt failed, 75 if the handler put it off, and 4 if it cannot be had: it is running,
    blocked, failed, paused, not due yet or closed.

    SIGINT or SIGTERM give the job back, as if it had never been claimed.
    """
    from jobctl.cli.working import Means, work
    from jobctl.options import WorkerOptions

    if not now and (actor is not None or note is not None):
        raise UsageError("--actor and --note are about --now, which the history keeps: give it too, or leave them out")
    with run.client() as client:
        last = client.show(id_).jobs[-1]
        types = None if last.status.closed else [last.type_name]  # that it is closed is told by the claim
        options = WorkerOptions(
            name=name,
            types=types,
            concurrency=1,
            max_jobs=1,
            max_attempts=run.setting(settings.MAX_ATTEMPTS, max_attempts),
            lease=run.setting(settings.LEASE).total_seconds(),
            beat=run.setting(settings.BEAT).total_seconds(),
            shutdown_timeout=0.0,
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
        heard: list[Event] = []
        number = work(
            run,
            means,
            options,
            claim=client.claim_of(id_, now=now, actor=actor, note=note),
            echo=_echo,
            heard=heard.append,
            left_out=ABOUT_THE_WORKER,
            json=json,
        )
        ends = [each for each in heard if each.told in ENDS]
        if number is not None and (not ends or ends[-1].told is Told.JOB_RELEASED):
            raise typer.Exit(128 + number)
        seen = last.type_name in means.programs(run) or means.log(run, json=json) == "json"
        _conclude(run, client, ends[-1], seen=seen, json=json)


def _echo(data: bytes) -> None:
    """Show what a command writes to stderr."""
    sys.stderr.flush()
    sys.stderr.buffer.write(data)
    sys.stderr.buffer.flush()


def _conclude(run: Run, client: Client, end: Event, *, seen: bool, json: bool) -> None:
    """Say what came of the attempt.

    Args:
        run: The command.
        client: Where the job is.
        end: What was told last.
        seen: Whether all of an error was seen: a command's stderr, or in a log for machines.
        json: Print the job.

    Raises:
        UnsuccessfulError: It failed.
        TryAgainError: The handler put the job off.
        AttemptLostError: Somebody else settled or took the job.
    """
    assert end.job_id is not None  # noqa: S101 - it is about a job
    if end.told is Told.JOB_LOST:
        raise AttemptLostError(
            f"the attempt lost the job {end.job_id}: {end.detail}; nothing of it is kept", reason=str(end.detail)
        )
    job = client.get_job(end.job_id)
    if json:
        run.json(job_document(job))
    due = f"due at {job.scheduled_at.astimezone().isoformat(sep=' ', timespec='seconds')}"
    match end.told:
        case Told.JOB_RESCHEDULED:
            raise TryAgainError(f"the job {job.id} was put off by its handler: {due}")
        case Told.JOB_RETRIED | Told.JOB_FAILED:
            if not seen:
                run.say(end.detail or "")  # all of it: the log has a line
            then = f"it is {due} again" if end.told is Told.JOB_RETRIED else "its attempts are used up"
            raise UnsuccessfulError(
                f"the attempt at {job.id} failed: {said_line(end.detail or '')}; {then}",
                id=job.chain_id,
                status=job.status.value,
            )
