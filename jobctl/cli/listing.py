"""``list`` and ``jobs``: pages of chains and jobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from jobctl.asking import ListFilter, Page
from jobctl.cli import parse
from jobctl.cli.command import Command, command
from jobctl.cli.documents import chain_document, job_document, page_document, to_json
from jobctl.cli.options import (
    Actor,
    ChainType,
    Cursor,
    Json,
    JsonLines,
    Limit,
    Note,
    OfChain,
    OfJob,
    OfType,
    OnlyIds,
    Order,
    Reveal,
    Roots,
    Since,
    Statuses,
    Until,
)
from jobctl.cli.render import CHAIN_COLUMNS, JOB_COLUMNS, Column, write_list
from jobctl.cli.run import Run
from jobctl.errors import UsageError
from jobctl.model import Chain, Job

if TYPE_CHECKING:
    from jobctl.client import Client

Item = TypeVar("Item", Chain, Job[Any])

_LIST_HELP = """List chains, by the time they were started.

Off a terminal: a line per chain with id, type, status, current job's type, started, due, closed, attempts and
the last error, separated by tabs, - for nothing, times in UTC.
"""

_JOBS_HELP = """List jobs, by the time they were created.

Off a terminal: a line per job with id, chain, type, status, created, due, settled, attempts, worker and
the last error, separated by tabs, - for nothing, times in UTC.
"""


def _say_more(run: Run, page: Page[Any]) -> None:
    if not page.items and run.talks_to_person:
        run.say("nothing matches")
    if page.cursor is not None:
        run.say(f"there are more: --cursor {page.cursor}")


def _listing(
    name: str,
    help_: str,
    columns: Sequence[Column[Item]],
    document: Callable[[Item], dict[str, Any]],
    read: Callable[[Client, ListFilter], Page[Item]],
    examples: Sequence[tuple[str, str]],
) -> Command:
    """A command that lists something."""

    def list_(
        run: Run,
        type_name: OfType = None,
        status: Statuses = None,
        since: Since = None,
        until: Until = None,
        chain: OfChain = None,
        job: OfJob = None,
        chain_type: ChainType = None,
        roots: Roots = False,
        limit: Limit = "50",
        cursor: Cursor = None,
        order: Order = "newest",
        json: Json = False,
        jsonl: JsonLines = False,
        ids: OnlyIds = False,
        reveal: Reveal = False,
        actor: Actor = None,
        note: Note = None,
    ) -> None:
        if json + jsonl + ids > 1:
            raise UsageError("--json, --jsonl and --ids exclude each other: give one of them")
        wanted = ListFilter(
            type_name=type_name,
            statuses=parse.statuses(status),
            since=parse.ago("--since", since, run.say),
            until=parse.ago("--until", until, run.say),
            chain_id=chain,
            job_id=job,
            chain_type=chain_type,
            roots_only=roots,
            newest_first=parse.one_of("--order", order, ("newest", "oldest")) == "newest",
            limit=parse.whole("--limit", limit, range(1, 1001)),
            cursor=cursor,
        )
        if reveal and not (json or jsonl):
            raise UsageError("--reveal is about inputs and outputs, which --json and --jsonl print: give one of them")
        with run.client() as client:
            page = read(client, wanted)
            if reveal:
                from jobctl.cli.revealing import reveal as showing_all

                showing_all(run, client, page.items, actor=actor, note=note)
        if json:
            run.json(page_document(page, document))
            return
        if jsonl or ids:
            for each in page.items:
                run.out(each.id if ids else to_json(document(each)))
        else:
            write_list(run, columns, page.items)
        _say_more(run, page)

    list_.__doc__ = help_
    return command(name, section="Look", examples=examples)(list_)


list_ = _listing(
    "list",
    _LIST_HELP,
    CHAIN_COLUMNS,
    chain_document,
    lambda client, wanted: client.list_chains(wanted),
    (
        ("jobctl list --status failed,blocked --since 1d", ""),
        ("jobctl list --type await-approval --ids | jobctl wait - --timeout 0s", ""),
    ),
)

jobs = _listing(
    "jobs",
    _JOBS_HELP,
    JOB_COLUMNS,
    job_document,
    lambda client, wanted: client.list_jobs(wanted),
    (
        ("jobctl jobs --status running", ""),
        ("jobctl jobs --chain $id --order oldest --json", ""),
    ),
)
