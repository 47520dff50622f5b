"""``doctor``: whether all is well, and what to do where it is not."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobctl.cli import parse
from jobctl.cli.command import command
from jobctl.cli.documents import iso
from jobctl.cli.options import Json
from jobctl.cli.render import NOTHING, plain
from jobctl.cli.run import Run, is_terminal
from jobctl.errors import DatabaseUnavailableError, UnsuccessfulError, UsageError

if TYPE_CHECKING:
    from jobctl.reports import Finding, Health

INDENT = (0, 0, 0, 9)
"""Of what is said of a check, below its name."""


@command(
    "doctor",
    section="Database",
    examples=(
        ("jobctl doctor", ""),
        ("jobctl doctor --require-worker await-approval --max-age 10m --quiet", "a health check"),
        ("jobctl doctor --require-worker await-approval --here", "for a container: is its own worker alive?"),
    ),
)
def doctor(
    run: Run,
    require_worker: Annotated[
        list[str] | None,
        typer.Option("--require-worker", metavar="TYPE", help="A live worker must take this type; repeatable."),
    ] = None,
    here: Annotated[
        bool, typer.Option("--here", help="With --require-worker: a worker on this host, or in this container.")
    ] = False,
    max_age: Annotated[
        str | None, typer.Option("--max-age", metavar="DURATION", help="No job may have been ready for longer.")
    ] = None,
    json: Json = False,
) -> None:
    """Check whether all is well, and say what to do.

    The database, its jobs and its workers are looked at. The exit code is 8 when something was found, 75 when the
    database is not available, 6 when its schema does not fit. With --require-worker or --max-age only what they say is
    checked, beside those two: a health check for cron, load balancers and containers.

    With --quiet nothing is written unless something is found.

    Off a terminal: a line per finding with check, what it is about, what is wrong and what to do, separated by tabs.
    """
    demanded = parse.names("--require-worker", require_worker)
    if here and not demanded:
        raise UsageError("--here goes with --require-worker TYPE")
    oldest = None if max_age is None else parse.duration("--max-age", max_age)
    _require_database(run)
    with run.client() as client:
        health = client.doctor(require_workers=demanded, host=socket.gethostname() if here else None, max_age=oldest)
    if json:
        run.json(health_document(health))
    elif is_terminal(sys.stdout):
        _draw(run, health)
    else:
        for each in health.findings:
            run.out(
                "\t".join(plain(field or NOTHING) for field in (each.check, each.subject, each.message, each.remedy))
            )
    if not health.findings:
        if run.talks_to_person and not is_terminal(sys.stdout):
            run.say("all is well")
        return
    raise typer.Exit(UnsuccessfulError.exit_code)


def _require_database(run: Run) -> None:
    """Refuse a database that is not there: looking at an SQLite file would make it."""
    from jobctl.storage.open import open_store

    store = open_store(run.database)
    try:
        if not store.exists():
            raise DatabaseUnavailableError(
                f"the database {store.label} is not there: no command has used it yet, or its path is another"
            )
    finally:
        store.close()


def _draw(run: Run, health: Health) -> None:
    """Each check with a word of how it went, and its findings below it."""
    from rich.padding import Padding
    from rich.text import Text

    console = run.console()
    if not run.common.quiet:
        console.print(Text(health.database, style="bold"))
    for check in health.checks:
        found = [each for each in health.findings if each.check == check]
        if run.common.quiet and not found:
            continue
        word, style = ("found", "bold red") if found else ("ok", "green")
        console.print(Text.assemble((f"  {word:<7}", style), check))
        for each in found:
            console.print(Padding(Text(plain(each.message)), INDENT))
            console.print(Padding(Text(plain(each.remedy), style="cyan"), INDENT))


def health_document(health: Health) -> dict[str, Any]:
    """How a database is."""
    return {
        "ok": not health.findings,
        "database": health.database,
        "at": iso(health.at),
        "checks": list(health.checks),
        "findings": [_finding_document(each) for each in health.findings],
    }


def _finding_document(finding: Finding) -> dict[str, Any]:
    return {
        "check": finding.check,
        "subject": finding.subject,
        "message": finding.message,
        "remedy": finding.remedy,
    }
