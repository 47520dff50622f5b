"""``pause``, ``resume`` and ``paused``: nothing of some types or chains is to be claimed for a while."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from jobctl.asking import ListFilter
from jobctl.cli import parse
from jobctl.cli.command import command
from jobctl.cli.documents import iso, page_document, pause_document
from jobctl.cli.options import Actor, Cursor, DryRun, Json, JsonLines, Limit, Note
from jobctl.cli.render import Column, plain, relative, write_list
from jobctl.cli.run import Run
from jobctl.errors import UsageError
from jobctl.model import Pause, Paused

_Chains = Annotated[
    list[str] | None,
    typer.Argument(metavar="[ID...]", help="Chains, or jobs that must still be their chains' current ones."),
]
_Types = Annotated[
    list[str] | None, typer.Option("--type", metavar="TYPE", help="A type; repeatable, or several with commas.")
]

PAUSE_COLUMNS: Sequence[Column[Pause]] = (
    Column("what", lambda each: each.what.value, lambda each, _: each.what.value),
    Column("name", lambda each: each.name, lambda each, _: each.name),
    Column("since", lambda each: iso(each.at), lambda each, now: relative(each.at, now)),
    Column("by", lambda each: each.actor, lambda each, _: each.actor, flexible=True),
    Column("note", lambda each: each.note, lambda each, _: each.note, width=1, flexible=True),
)


@command(
    "pause",
    section="Work",
    examples=(
        ("jobctl pause --type charge-card --note 'the bank is down'", "nothing of the type is claimed"),
        ("jobctl pause $id", "nothing of the chain, and of what follows in it"),
        ("jobctl pause --all", ""),
    ),
    changes=True,
)
def pause(
    run: Run,
    ids: _Chains = None,
    types: _Types = None,
    all_: Annotated[bool, typer.Option("--all", help="All there are, of whatever type.")] = False,
    dry_run: DryRun = False,
    actor: Actor = None,
    note: Note = None,
    json: Json = False,
) -> None:
    """Have nothing of types, chains, or at all be claimed.

    What runs goes on; what follows it in its chain waits. What is paused already stays so. 'jobctl paused' lists what
    is. With several, all are paused or none.
    """
    names = _named(ids, types, everything=all_)
    with run.acting(dry_run=dry_run) as (client, conn):
        paused = client.pause(ids or (), types=names, everything=all_, actor=actor, note=note, conn=conn)
        unknown = [each for each in names if not client.list_jobs(ListFilter(type_name=each, limit=1), conn=conn).items]
    if json:
        run.json({"items": [pause_document(each) for each in paused], "dry_run": dry_run})
    for each in paused:
        run.say(f"{_said(each)} paused")
    for name in unknown:
        run.say(f"there is no job of the type {plain(name)} yet: is that its name?")


@command(
    "resume",
    section="Work",
    examples=(("jobctl resume --type charge-card", ""), ("jobctl resume $id", ""), ("jobctl resume --all", "")),
    changes=True,
)
def resume(
    run: Run,
    ids: _Chains = None,
    types: _Types = None,
    all_: Annotated[bool, typer.Option("--all", help="What 'pause --all' did; other pauses stay.")] = False,
    dry_run: DryRun = False,
    actor: Actor = None,
    note: Note = None,
    json: Json = False,
) -> None:
    """End pauses, each in the way it was made.

    What is not paused is passed over. What is still paused otherwise is told on stderr.
    """
    names = _named(ids, types, everything=all_)
    with run.acting(dry_run=dry_run) as (client, conn):
        ended = client.resume(ids or (), types=names, everything=all_, actor=actor, note=note, conn=conn)
        left = client.pauses(conn=conn)
    if json:
        run.json({"items": [pause_document(each) for each in ended], "dry_run": dry_run})
    for each in ended:
        run.say(f"{_said(each)} resumed")
    if not ended:
        run.say("nothing of it was paused")
    if left.items:
        more = " and more" if left.cursor else ""
        run.say(f"still paused: {len(left.items)}{more}; see 'jobctl paused'")


@command(
    "paused",
    section="Look",
    examples=(("jobctl paused", ""), ("jobctl paused | grep -c ^chain", "")),
)
def paused(run: Run, limit: Limit = "50", cursor: Cursor = None, json: Json = False, jsonl: JsonLines = False) -> None:
    """List what is paused: all there are, types, chains.

    Off a terminal: a line for each with what it is (all, type or chain), its name, since when, who paused it and the
    note, separated by tabs, - for nothing, times in UTC.
    """
    if json and jsonl:
        raise UsageError("--json and --jsonl exclude each other: give one of them")
    with run.client() as client:
        page = client.pauses(limit=parse.whole("--limit", limit, range(1, 1001)), cursor=cursor)
    if json:
        run.json(page_document(page, pause_document))
        return
    if jsonl:
        for each in page.items:
            run.json(pause_document(each))
    else:
        write_list(run, PAUSE_COLUMNS, page.items)
    if not page.items and run.talks_to_person:
        run.say("nothing is paused")
    if page.cursor is not None:
        run.say(f"there are more: --cursor {page.cursor}")


def _named(ids: Sequence[str] | None, types: Sequence[str] | None, *, everything: bool) -> list[str]:
    names = parse.names("--type", types)
    if not ids and not names and not everything:
        raise UsageError("say what: ids of chains, --type TYPE, or --all")
    return names


def _said(each: Pause) -> str:
    match each.what:
        case Paused.ALL:
            return "all types are"
        case Paused.TYPE:
            return f"the type {plain(each.name or '')} is"
    return f"the chain {each.name} is"
