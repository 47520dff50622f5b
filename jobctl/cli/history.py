"""``history``: who did what by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from jobctl.cli import parse
from jobctl.cli.command import command
from jobctl.cli.documents import act_document, iso, page_document
from jobctl.cli.options import Cursor, Json, JsonLines, Limit, Order
from jobctl.cli.render import Column, relative, what_changed, write_list
from jobctl.cli.run import Run
from jobctl.errors import UsageError
from jobctl.model import Act


@command(
    "history",
    section="Look",
    examples=(
        ("jobctl history", "what was done lately"),
        ("jobctl history $id --order oldest", "also of a chain that is deleted"),
        ("jobctl history --jsonl --limit 1000 | grep -c '\"delete\"'", ""),
    ),
)
def history(
    run: Run,
    id_: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="The chain, deleted or not, or any of its jobs; else all.")
    ] = None,
    limit: Limit = "50",
    cursor: Cursor = None,
    order: Order = "newest",
    json: Json = False,
    jsonl: JsonLines = False,
) -> None:
    """List what was done by hand: who, when, from where, why.

    Off a terminal: a line for each act with time, action, who, host, chain, job, type, what changed and the note,
    separated by tabs, - for nothing, times in UTC.
    """
    if json and jsonl:
        raise UsageError("--json and --jsonl exclude each other: give one of them")
    newest_first = parse.one_of("--order", order, ("newest", "oldest")) == "newest"
    number = parse.whole("--limit", limit, range(1, 1001))
    with run.client() as client:
        page = client.history(id_, newest_first=newest_first, limit=number, cursor=cursor)
    if json:
        run.json(page_document(page, act_document))
        return
    if jsonl:
        for each in page.items:
            run.json(act_document(each))
    else:
        write_list(run, _columns(of_one=id_ is not None), page.items)
    if not page.items and run.talks_to_person:
        run.say("nothing was done by hand")
    if page.cursor is not None:
        run.say(f"there are more: --cursor {page.cursor}")


def _columns(*, of_one: bool) -> Sequence[Column[Act]]:
    """The same fields for scripts; for people the chain only where there are several."""
    hidden = 10_000
    return (
        Column("at", lambda act: iso(act.at), lambda act, now: relative(act.at, now)),
        Column("action", lambda act: act.action, lambda act, _: act.action, style=lambda _: "bold"),
        Column("who", lambda act: act.actor, lambda act, _: act.actor, flexible=True),
        Column("from", lambda act: act.origin, lambda act, _: act.origin, width=150, flexible=True),
        Column(
            "chain",
            lambda act: act.chain_id,
            lambda act, _: act.chain_id or _all_of_it(act),
            width=hidden if of_one else 0,
            style=lambda _: "dim",
        ),
        Column("job", lambda act: act.job_id, lambda act, _: act.job_id, width=hidden, style=lambda _: "dim"),
        Column("type", _type, lambda act, _: _type(act), width=0 if of_one else 96, flexible=True),
        Column(
            "change",
            what_changed,
            lambda act, _: what_changed(act, people=True),
            width=0 if of_one else 110,
            flexible=True,
        ),
        Column("note", lambda act: act.note, lambda act, _: act.note, width=1, flexible=True),
    )


def _all_of_it(act: Act) -> str:
    """What an act was done to that was not done to a chain."""
    name = _type(act)
    return "all types" if name is None else f"type {name}"


def _type(act: Act) -> str | None:
    name = act.details.get("type")
    return None if name is None else str(name)
