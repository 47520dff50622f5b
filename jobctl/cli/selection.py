"""Acts on many chains: which they are, what a person is asked before, and how the work goes, in whole batches."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import typer

from jobctl.asking import ListFilter
from jobctl.cli import parse
from jobctl.cli.confirm import can_ask, confirm
from jobctl.cli.documents import job_document
from jobctl.cli.options import (
    All,
    AtMost,
    By,
    ChainType,
    Confirm,
    DryRun,
    FailEmpty,
    Ids,
    OfType,
    Roots,
    Since,
    Statuses,
    Until,
    Yes,
)
from jobctl.cli.production import confirm_production
from jobctl.cli.progress import Stop, progress
from jobctl.cli.render import plain, relative
from jobctl.cli.run import Run
from jobctl.errors import ConflictError, JobctlError, UsageError
from jobctl.ids import batches, unique_ids
from jobctl.model import Job, Status

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from jobctl.client import Client

Item = TypeVar("Item")
Result = TypeVar("Result", covariant=True)  # noqa: PLC0105 - a protocol's, named as in the others

BATCH = 500
"""How many chains are changed at once, all or none."""

MOST_NAMED = 3
"""How many of the chains that had to stay an error names."""

SAMPLE = 5
"""How many of the chains that match a person is shown before they are asked."""


@dataclass(frozen=True, slots=True)
class Which:
    """The options that say which chains an act is for, and how it goes.

    Attributes:
        ids: Chains or jobs; ``-`` for stdin.
        type_name: The chain's type.
        chain_type: The same.
        status: Any of these.
        since: Started then or later.
        until: Started before.
        roots: None that others wait for.
        all_: All there are.
        limit: At most so many.
        yes: Do not ask.
        confirm: The name of the profile, if it is one of production.
        dry_run: Roll it back.
        fail_empty: Nothing matching is exit code 3.
    """

    ids: Ids = None
    type_name: OfType = None
    chain_type: ChainType = None
    status: Statuses = None
    since: Since = None
    until: Until = None
    roots: Roots = False
    all_: All = False
    limit: AtMost = None
    yes: Yes = False
    confirm: Confirm = None
    dry_run: DryRun = False
    fail_empty: FailEmpty = False

    @property
    def filtered(self) -> bool:
        """Whether a filter is given."""
        return any((self.type_name, self.chain_type, self.status, self.since, self.until, self.roots))


class Call(Protocol[Result]):
    """What is done to a batch, all or none: a call of the client's."""

    def __call__(
        self,
        client: Client,
        ids: Sequence[str],
        *,
        within: ListFilter | None,
        actor: str | None,
        note: str | None,
        conn: Connection | None,
    ) -> Sequence[Result]: ...


@dataclass(frozen=True, slots=True)
class Deed(Generic[Item]):
    """An act, and how to speak of it.

    Attributes:
        verb: What is done: ``trigger``.
        done: What it was then: ``triggered``.
        thing: To what.
        statuses: Which chains a filter is about; empty for all.
        id_of: The id to print of what comes out.
        chain_of: Its chain.
        key: Its place in the document of --json.
        document: It there.
        told: A line about it, for a person; None: only how many there are.
        awaited_stay: What an open chain waits for stays: it is passed over, which is told at the end. Who waits goes
            first, therefore the newest, and a dry run of several batches is one transaction: one counts for the next.
    """

    verb: str
    done: str
    thing: str
    statuses: tuple[Status, ...]
    id_of: Callable[[Item], str]
    chain_of: Callable[[Item], str]
    key: str
    document: Callable[[Item], Any]
    told: Callable[[Item], str] | None = None
    awaited_stay: bool = False

    def counted(self, number: int) -> str:
        """So many of these things."""
        return f"{number:,} {self.thing}{'' if number == 1 else 's'}"


def on_jobs(verb: str, done: str, statuses: tuple[Status, ...], told: Callable[[Job[Any]], str]) -> Deed[Job[Any]]:
    """An act on chains' current jobs."""
    return Deed(verb, done, "job", statuses, lambda job: job.id, lambda job: job.chain_id, "items", job_document, told)


@dataclass(slots=True)
class Outcome(Generic[Item]):
    """What has been done so far.

    Attributes:
        within: The filter, if there was one.
        total: How many chains were chosen.
        items: What came out, where it is needed at the end.
        done: How many that were.
        passed_over: Chains that did not match any more when their turn came.
    """

    within: ListFilter | None
    total: int
    items: list[Item] = field(default_factory=list)
    done: int = 0
    passed_over: list[str] = field(default_factory=list)


def carry_out(run: Run, which: Which, by: By, deed: Deed[Item], call: Call[Item], *, json: bool) -> None:
    """Do something to the chains that the options choose, batch by batch; prints what was done.

    Raises:
        UsageError: The options choose nothing, or it was not confirmed.
        JobctlError: A batch was refused; those before it are done, and the message says how many.
        ConflictError: Some had to stay, because open chains wait for them.
        typer.Exit: Nothing matched, and that is to be a failure.
    """
    with run.client(dry_run=which.dry_run) as client:
        outcome = _carry_out(run, client, which, by, deed, call, json=json)
        if deed.awaited_stay:
            _refuse_kept(client, outcome, deed)


def _carry_out(
    run: Run, client: Client, which: Which, by: By, deed: Deed[Item], call: Call[Item], *, json: bool
) -> Outcome[Item]:
    within = _filter(run, which, deed)
    chosen = _chosen(run, which) if within is None else _matching(run, client, which, deed, within)
    outcome: Outcome[Item] = Outcome(within, len(chosen))

    def document() -> None:
        if json:
            items = [deed.document(each) for each in outcome.items]
            run.json({deed.key: items, "passed_over": outcome.passed_over, "dry_run": which.dry_run})

    with Stop(run) as stop:
        try:
            _do_batches(run, client, chosen, which, by, deed, call, outcome, stop, json=json)
        except JobctlError as error:
            if outcome.done and not which.dry_run:
                document()
                error.args = (f"{deed.done} {deed.counted(outcome.done)}, but then: {error}",)
            raise
        except BaseException:
            if stop.asked:  # twice: the batch under way is undone
                document()
                _tell_stopped(run, deed, outcome)
            raise
        document()
        _tell(run, deed, outcome, few=len(chosen) <= BATCH)
        if stop.asked:
            _tell_stopped(run, deed, outcome)
    stop.follow()
    if not chosen and which.fail_empty:
        raise typer.Exit(3)
    return outcome


def _do_batches(
    run: Run,
    client: Client,
    chosen: Sequence[str],
    which: Which,
    by: By,
    deed: Deed[Item],
    call: Call[Item],
    outcome: Outcome[Item],
    stop: Stop,
    *,
    json: bool,
) -> None:
    few = len(chosen) <= BATCH
    bar = nullcontext(_nothing) if few else progress(run, deed.verb, len(chosen))
    with _transactions(client, which, deed) as transaction, bar as advance:
        for batch in batches(chosen, BATCH):
            if stop.asked:
                return
            with transaction() as conn:
                items = call(client, batch, within=outcome.within, actor=by.actor, note=by.note, conn=conn)
            outcome.done += len(items)
            if outcome.within is not None:
                changed = {deed.chain_of(each) for each in items}
                outcome.passed_over += [each for each in batch if each not in changed]
            if json or few:
                outcome.items += items
            if not json:
                for each in items:
                    run.out(deed.id_of(each))
                run.flush()
            advance(len(batch))


@contextmanager
def _transactions(
    client: Client, which: Which, deed: Deed[Any]
) -> Iterator[Callable[[], AbstractContextManager[Connection | None]]]:
    """What each batch is done in: a transaction of its own, rolled back in a dry run."""
    if not which.dry_run:
        yield nullcontext
    elif not deed.awaited_stay:
        yield client.dry_run
    else:
        with client.dry_run() as conn:
            yield lambda: nullcontext(conn)


def _nothing(_: int) -> None:
    """Show no progress."""


def _refuse_kept(client: Client, outcome: Outcome[Any], deed: Deed[Any]) -> None:
    """Say at the end that chains which still match had to stay.

    Raises:
        ConflictError: Some had to.
    """
    if outcome.within is not None and (kept := client.matching(outcome.passed_over, outcome.within)):
        more = f" and {len(kept) - MOST_NAMED:,} more" if len(kept) > MOST_NAMED else ""
        raise ConflictError(
            f"open chains wait for {', '.join(kept[:MOST_NAMED])}{more}: {deed.verb} those too, or first"
        )


def _tell(run: Run, deed: Deed[Item], outcome: Outcome[Item], *, few: bool) -> None:
    """Say what was done, each thing if they are few and were named, else how many."""
    if outcome.total == 0:
        run.say("nothing matches" if outcome.within is not None else "no ids are given")
        return
    if outcome.within is None and few and deed.told is not None:
        for each in outcome.items:
            run.say(deed.told(each))
    else:
        run.say(f"{deed.done} {deed.counted(outcome.done)}")
    if outcome.passed_over:
        run.say(f"passed over {len(outcome.passed_over):,} of {outcome.total:,}, which did not match any more")


def _tell_stopped(run: Run, deed: Deed[Item], outcome: Outcome[Item]) -> None:
    run.say(f"stopped: {outcome.done:,} of {outcome.total:,} are {deed.done}")


# --- which -------------------------------------------------------------------------------------------------------


def _filter(run: Run, which: Which, deed: Deed[Any]) -> ListFilter | None:
    """The filter that the options make; None when there are ids."""
    named = which.ids is not None and which.ids != []
    restricted = which.filtered or which.all_
    if named and (restricted or which.limit is not None):
        raise UsageError("ids and filters exclude each other: give the one or the other")
    if named:
        return None
    if not restricted:
        raise UsageError(f"say which to {deed.verb}: ids, - for ids from stdin, a filter such as --type TYPE, or --all")
    if which.filtered and which.all_:
        raise UsageError("--all is for no filter at all: leave it out, or the filters")
    return ListFilter(
        type_name=which.type_name,
        chain_type=which.chain_type,
        statuses=_statuses(which, deed),
        since=parse.ago("--since", which.since, run.say),
        until=parse.ago("--until", which.until, run.say),
        roots_only=which.roots,
        newest_first=deed.awaited_stay,
    )


def _statuses(which: Which, deed: Deed[Any]) -> tuple[Status, ...]:
    """Those asked for, or else all that the act is about."""
    asked = parse.statuses(which.status)
    for each in asked:
        if deed.statuses and each not in deed.statuses:
            about = " or ".join(deed.statuses)
            raise UsageError(f"--status: {deed.verb} is for {about} chains, not for {each} ones")
    return asked or deed.statuses


def _chosen(run: Run, which: Which) -> Sequence[str]:
    """The ids given, each once; in production, those from stdin are confirmed."""
    found: list[str] = []
    for each in which.ids or ():
        if each == "-":
            found += parse.ids_of_stdin("\t")
        else:
            found.append(each)
    if found and "-" in (which.ids or ()) and not which.dry_run:
        confirm_production(run, which.confirm)
    return unique_ids(found)


def _matching(run: Run, client: Client, which: Which, deed: Deed[Any], wanted: ListFilter) -> Sequence[str]:
    """The ids of the chains that match now, once a person has seen how many they are."""
    limit = None if which.limit is None else parse.whole("--limit", which.limit, range(1, sys.maxsize))
    found = list(client.select(wanted, limit=limit))
    if not found or which.dry_run:
        return found
    matching = f"{len(found):,} chain{' matches' if len(found) == 1 else 's match'}"
    if can_ask() and not which.yes:
        _show_sample(client, wanted, matching, len(found))
    confirm(
        run,
        f"{deed.verb.capitalize()} {'it' if len(found) == 1 else 'all of them'}?",
        yes=which.yes,
        refusal=f"{matching}: give --yes to {deed.verb} {'it' if len(found) == 1 else 'them'}, or --dry-run to try",
        name=which.confirm,
    )
    return found


def _show_sample(client: Client, wanted: ListFilter, matching: str, number: int) -> None:
    """Show a person some of the chains that match, the first first."""
    page = client.list_chains(replace(wanted, limit=min(SAMPLE, number)))
    now = datetime.now(UTC)
    lines = [
        f"  {each.id}  {plain(each.type_name)}  {each.status}  {relative(each.created_at, now)}" for each in page.items
    ]
    width = shutil.get_terminal_size().columns
    lines = [line if len(line) < width else f"{line[: width - 2]}…" for line in lines]
    more = number - len(lines)
    sys.stderr.write("\n".join([f"{matching}:", *lines, *([f"  and {more:,} more"] if more > 0 else [])]) + "\n")
