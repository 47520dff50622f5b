"""``types``: what waits under which name, and who takes it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobctl.cli.command import command
from jobctl.cli.documents import iso
from jobctl.cli.options import Json, JsonLines, Processors
from jobctl.cli.render import Column, plain, relative, write_list
from jobctl.cli.run import Run
from jobctl.errors import UsageError

if TYPE_CHECKING:
    from jobctl.reports import TypeReport


def _remark(each: TypeReport) -> str | None:
    """What stands out of a type."""
    found = []
    if each.paused is not None:
        found.append("paused" if each.paused == "type" else "all paused")
    elif each.paused_chains:
        found.append(f"{each.paused_chains} of paused chains")
    if each.unattended:
        found.append("unattended")
    if each.alias_of is not None:
        found.append(f"alias of {each.alias_of}")
    if each.aliases:
        found.append(f"also {', '.join(each.aliases)}")
    if each.entry is False:
        found.append("no entry")
    return ", ".join(found) or None


def _count(name: str) -> Column[TypeReport]:
    def text(each: TypeReport) -> str:
        return str(getattr(each, name))

    style = "bold red" if name == "failed" else ""
    return Column(name, text, lambda each, _: text(each), style=lambda each: style if getattr(each, name) else "dim")


def _oldest(each: TypeReport, now: datetime) -> str | None:
    return None if each.oldest_ready_at is None else relative(each.oldest_ready_at, now)


COLUMNS: Sequence[Column[TypeReport]] = (
    Column("type", lambda each: each.type_name, lambda each, _: each.type_name, flexible=True),
    *(_count(name) for name in ("ready", "scheduled", "blocked", "running", "failed")),
    Column(
        "oldest",
        lambda each: None if each.oldest_ready_at is None else iso(each.oldest_ready_at),
        _oldest,
        width=96,
    ),
    Column(
        "workers",
        lambda each: str(len(each.workers)),
        lambda each, _: str(len(each.workers)),
        style=lambda each: "bold red" if each.unattended else "",
    ),
    Column("remarks", _remark, lambda each, _: _remark(each), width=1, flexible=True),
)


@command(
    "types",
    section="Look",
    examples=(
        ("jobctl types", ""),
        ("jobctl types --unattended | cut -f 1", "what waits and no live worker takes"),
        ("jobctl types --processors mymod --json", "with what is known of their processors"),
    ),
)
def types(
    run: Run,
    processors: Processors = None,
    unattended: Annotated[
        bool, typer.Option("--unattended", help="Only those under whose names jobs wait that no live worker takes.")
    ] = False,
    json: Json = False,
    jsonl: JsonLines = False,
) -> None:
    """List the types, what waits and who takes it.

    These are the types of open jobs, of live workers, and of the processors that are given or configured.

    Off a terminal: a line per type with type, ready, scheduled, blocked, running, failed, since when the oldest is
    ready, how many live workers take it, and remarks, separated by tabs, - for nothing, times in UTC.
    """
    if json and jsonl:
        raise UsageError("--json and --jsonl exclude each other: give one of them")
    with run.client(run.registry(processors)) as client:
        found = [each for each in client.types() if each.unattended or not unattended]
    if json:
        run.json({"items": [type_document(each) for each in found]})
    elif jsonl:
        for each in found:
            run.json(type_document(each))
    else:
        write_list(run, COLUMNS, found)
    if run.talks_to_person:
        if not found:
            run.say("no job waits unattended" if unattended else "there is no type")
        for each in found:
            if each.similar:
                meant = " or ".join(plain(name) for name in each.similar)
                run.say(f"no live worker takes {plain(each.type_name)}: was it renamed to {meant} without an alias?")


def type_document(each: TypeReport) -> dict[str, Any]:
    """A type."""
    return {
        "type": each.type_name,
        "ready": each.ready,
        "scheduled": each.scheduled,
        "blocked": each.blocked,
        "running": each.running,
        "failed": each.failed,
        "paused_chains": each.paused_chains,
        "oldest_ready_at": None if each.oldest_ready_at is None else iso(each.oldest_ready_at),
        "paused": each.paused,
        "workers": list(each.workers),
        "unattended": each.unattended,
        "similar": list(each.similar),
        "known": each.known,
        "alias_of": each.alias_of,
        "aliases": list(each.aliases),
        "entry": each.entry,
        "where": each.where,
    }
