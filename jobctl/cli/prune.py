"""``prune`` and ``vacuum``: keeping the database small."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobctl.cli import parse, settings
from jobctl.cli.command import command
from jobctl.cli.confirm import confirm
from jobctl.cli.documents import detail_document
from jobctl.cli.hiding import nothing_hidden
from jobctl.cli.options import Actor, Confirm, DryRun, FailEmpty, Json, Note, Yes
from jobctl.cli.production import confirm_production
from jobctl.cli.progress import Stop, progress
from jobctl.cli.render import Column, write_list
from jobctl.cli.run import Run
from jobctl.errors import UsageError
from jobctl.model import ChainDetail
from jobctl.retention import STATUSES, Retention, RetentionPolicy
from jobctl.wording import span

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from jobctl.cli.export import Export
    from jobctl.client import Client
    from jobctl.pruning import Export as Write

AGES = {
    "completed": settings.PRUNE_COMPLETED,
    "cancelled": settings.PRUNE_CANCELLED,
    "failed": settings.PRUNE_FAILED,
    "history": settings.PRUNE_HISTORY,
}

KIB = 1024


@command(
    "prune",
    section="Database",
    changes=True,
    examples=(
        ("jobctl prune --completed 30d --cancelled 7d", "failed chains stay"),
        ("jobctl prune --completed 30d --export old.jsonl.gz --dry-run", "what would go"),
        ("jobctl prune --type resize --completed 1d --limit 100000", ""),
    ),
)
def prune(
    run: Run,
    completed: Annotated[
        str | None,
        typer.Option("--completed", metavar="AGE", help="Delete chains that completed so long ago, or never."),
    ] = None,
    cancelled: Annotated[
        str | None, typer.Option("--cancelled", metavar="AGE", help="The same for those that were cancelled.")
    ] = None,
    failed: Annotated[
        str | None,
        typer.Option("--failed", metavar="AGE", help="The same for those that failed and wait for a person."),
    ] = None,
    history: Annotated[
        str | None, typer.Option("--history", metavar="AGE", help="The same for acts by hand on chains that are gone.")
    ] = None,
    type_name: Annotated[
        list[str] | None,
        typer.Option("--type", metavar="TYPE", help="Only chains of this type; repeatable, or several with commas."),
    ] = None,
    export: Annotated[
        str | None,
        typer.Option("--export", metavar="FILE", help="Append what is deleted to this file first: JSON lines, gzip."),
    ] = None,
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Write what is sensitive to the file too; the history keeps who and when.")
    ] = False,
    limit: Annotated[str | None, typer.Option("--limit", metavar="N", help="Delete at most so many chains.")] = None,
    dry_run: DryRun = False,
    fail_empty: FailEmpty = False,
    confirmed: Confirm = None,
    actor: Actor = None,
    note: Note = None,
    json: Json = False,
) -> None:
    """Delete chains that are over and old enough.

    Ages are counted from the end of a chain: 30d, 12h, or never. What is not named is kept, and so is what an open
    chain waits for. How many were deleted is printed, a line for each kind. Others can use the database meanwhile:
    it is done a little at a time, with pauses. Any number of these may run, and be interrupted.
    """
    types = parse.names("--type", type_name)
    given = {"completed": completed, "cancelled": cancelled, "failed": failed, "history": history}
    policy = _policy(run, given, types)
    if not dry_run:
        confirm_production(run, confirmed)
    if reveal and export is None:
        raise UsageError("--reveal is about --export: give it too, or leave it out")
    most = None if limit is None else parse.whole("--limit", limit, range(1, 1 << 62))
    began = time.monotonic()
    with (
        _opened(None if dry_run else export) as file,
        run.client(dry_run=dry_run) as client,
        Stop(run) as stop,
    ):
        write = None if file is None else _writer(client, file, reveal=reveal, actor=actor, note=note)
        told = 0
        with progress(run, "prune", most) as advance:

            def tell(so_far: Any) -> None:
                nonlocal told
                advance(so_far.chains - told)
                told = so_far.chains

            done = client.prune(
                policy,
                only=types,
                limit=most,
                export=write,
                dry_run=dry_run,
                on_batch=tell,
                cancelled=lambda: stop.asked,
                actor=actor,
                note=note,
            )
        counted = {name: getattr(done, name) for name in (*STATUSES, "history")}
        if json:
            run.json({**counted, "kept": done.kept, "complete": done.complete, "dry_run": dry_run})
        else:
            for name, number in counted.items():
                run.out(f"{name}\t{number}")
        chains = f"{done.chains:,} chain{'' if done.chains == 1 else 's'}"
        run.say(f"{'stopped: ' if stop.asked else ''}deleted {chains} in {span(time.monotonic() - began)}")
        if done.kept:
            run.say(f"{done.kept:,} old enough stay, because open chains wait for them")
        stop.follow()
    if fail_empty and not any(counted.values()):
        raise typer.Exit(3)


def _policy(run: Run, given: Mapping[str, str | None], types: Sequence[str]) -> RetentionPolicy:
    """What is to go: options go before the general ages of the configuration, and with --type before those of types."""
    ages = {name: run.setting(AGES[name], option) for name, option in given.items()}
    history = ages.pop("history")
    own = run.setting(settings.PRUNE_TYPES)
    if types:
        named = Retention(**{status: given[status] for status in STATUSES})
        own = {each: named.over(own.get(each, Retention())) for each in types}
    policy = RetentionPolicy(Retention(**ages), own, history)
    if policy.lets_nothing_go:
        raise UsageError(
            "nothing is to be deleted: give --completed AGE, --cancelled AGE, --failed AGE or --history AGE, or write "
            "them into [prune] of the configuration"
        )
    return policy


def _opened(file: str | None) -> AbstractContextManager[Export | None]:
    """The file that deleted chains are written to."""
    if file is None:
        return nullcontext()
    from jobctl.cli.export import Export

    return Export(Path(file).expanduser())


def _writer(client: Client, file: Export, *, reveal: bool, actor: str | None, note: str | None) -> Write:
    """What writes chains to the file in the transaction that deletes them, where the trace of a look is left too."""

    def write(details: Sequence[ChainDetail], conn: Connection) -> None:
        if reveal:
            from jobctl.cli.revealing import all_of, leave_trace

            leave_trace(client, all_of(details), actor=actor, note=note, conn=conn)
        with nothing_hidden() if reveal else nullcontext():
            file.write(detail_document(each) for each in details)

    return write


# --- vacuum ------------------------------------------------------------------------------------------------------

COLUMNS: Sequence[Column[Any]] = (
    Column("name", lambda part: part.name, lambda part, _: part.name),
    Column("before", lambda part: str(part.before), lambda part, _: size(part.before)),
    Column("after", lambda part: str(part.after), lambda part, _: size(part.after)),
)


@command(
    "vacuum",
    section="Database",
    changes=True,
    examples=(
        ("jobctl vacuum", ""),
        ("jobctl vacuum --full --yes", "PostgreSQL: locks the tables"),
    ),
)
def vacuum(
    run: Run,
    full: Annotated[
        bool, typer.Option("--full", help="PostgreSQL: give the room back to the system; locks each table meanwhile.")
    ] = False,
    yes: Yes = False,
    confirmed: Confirm = None,
    json: Json = False,
) -> None:
    """Give back the room that deleted chains took.

    PostgreSQL: VACUUM (ANALYZE) of jobctl's tables, beside whatever runs. The room is then free for new rows. With
    --full it goes back to the system, and nobody can use a table while it is written anew.

    SQLite: the file is written anew; others can read meanwhile, but not write.

    Off a terminal: a line per table, or file, with its name and its bytes before and after, separated by tabs.
    """
    with run.client() as client:
        if full and client.store.dialect == "postgresql":
            warning = "VACUUM FULL stops all workers and commands at each table until it has been written anew"
            refusal = f"{warning}: give --yes if that is meant"
            confirm(run, f"{warning}. Go on?", yes=yes, refusal=refusal, name=confirmed)
        done = client.vacuum(full=full)
    if json:
        parts = [{"name": each.name, "before": each.before, "after": each.after} for each in done.parts]
        run.json({"before": done.before, "after": done.after, "parts": parts})
    else:
        write_list(run, COLUMNS, done.parts)
    run.say(f"{size(done.before)} before, {size(done.after)} now")


def size(number: float) -> str:
    """A number of bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < KIB:
            return f"{number:.0f} {unit}" if unit == "B" or number >= 100 else f"{number:.1f} {unit}"
        number /= KIB
    return f"{number:.1f} TiB"
