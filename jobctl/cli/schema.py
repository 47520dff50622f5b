"""``migrate`` and ``schema``: the tables."""

from __future__ import annotations

from typing import Annotated

import typer

from jobctl.cli import completing, parse
from jobctl.cli.command import command
from jobctl.cli.options import Json
from jobctl.cli.run import Run

DIALECTS = ("postgresql", "sqlite")


@command(
    "migrate",
    section="Database",
    examples=(
        ("jobctl migrate --dry-run", "what it would apply"),
        ("jobctl migrate --database postgresql://app@db/app", ""),
    ),
    changes=True,
)
def migrate(
    run: Run,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the steps that are due, and apply none.")] = False,
    json: Json = False,
) -> None:
    """Bring the database's schema up to date.

    Any number of these may run at once. An SQLite file is brought up to date by every command.
    """
    from jobctl.storage.migrate import migrate as apply
    from jobctl.storage.migrate import pending

    with run.store() as store:
        steps = pending(store) if dry_run else apply(store)
    if json:
        migrations = [{"version": each.version, "name": each.name} for each in steps]
        run.json({"database": store.label, "dry_run": dry_run, "migrations": migrations})
    elif dry_run:
        for each in steps:
            run.out(f"{each.version:04d}\t{each.name}")
    else:
        for each in steps:
            run.say(f"applied {each.version:04d} {each.name}")
    if not steps:
        run.say(f"{store.label} is up to date")


@command(
    "schema",
    section="Database",
    examples=(
        ("jobctl schema --dialect postgresql > schema.sql", ""),
        ("jobctl schema --json", "with the version that it is"),
    ),
)
def schema(
    run: Run,
    dialect: Annotated[
        str | None,
        typer.Option(
            "--dialect",
            metavar="KIND",
            help="postgresql or sqlite; else the selected database's.",
            autocompletion=completing.words(*DIALECTS),
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Print the schema of a new database as SQL, without connecting."""
    if dialect is not None:
        kind = parse.one_of("--dialect", dialect, DIALECTS)
    else:
        with run.store() as store:
            kind = store.dialect
    from jobctl.storage.migrate import known_version, schema_script

    script = schema_script(kind)
    if json:
        run.json({"dialect": kind, "version": known_version(kind), "sql": script})
    else:
        run.out(script.rstrip("\n"))
