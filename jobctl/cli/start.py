"""``start``: a chain begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobctl.asking import KEY_CONFLICTS, KEY_SCOPES, Key, NewChain, Slot
from jobctl.cli import completing, parse
from jobctl.cli.command import command
from jobctl.cli.documents import iso, started_document
from jobctl.cli.hiding import output_of, without_secrets
from jobctl.cli.options import After, At, BlockedBy, DryRun, Json, Processors, Timeout
from jobctl.cli.render import plain
from jobctl.cli.run import Run
from jobctl.errors import UsageError
from jobctl.model import Chain, Paused, Status

if TYPE_CHECKING:
    from jobctl.client import Client


@command(
    "start",
    section="Work",
    examples=(
        ('jobctl start await-approval --input \'{"requestId": "123"}\' --after 2h', ""),
        ("jobctl start resize --set path=a.png --set width:=300", "a text and a number"),
        ("jobctl start import --input @rows.json --wait --timeout 5m", "prints the output"),
        ("id=$(jobctl start nightly --at 2030-01-31T03:00)", "local time"),
        ("jobctl start report --key 2030-01 --key-scope any", "once, however often it is run"),
        ("jobctl start report --key-slot 1h", "once an hour, from however many hosts"),
        ("jobctl start resize --batch images.jsonl", "a chain for each line"),
    ),
    changes=True,
)
def start(
    run: Run,
    type_name: Annotated[
        str | None,
        typer.Argument(metavar="TYPE", help="The type of the chain's first job.", autocompletion=completing.types),
    ] = None,
    input_: Annotated[
        str | None, typer.Option("--input", metavar="JSON", help="The input: JSON, @FILE, or - for stdin; else null.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Input field; KEY:=JSON if not a text; repeatable."),
    ] = None,
    after: After = None,
    at: At = None,
    blocked_by: BlockedBy = None,
    priority: Annotated[
        str, typer.Option("--priority", metavar="N", help="Higher goes first, -1000 to 1000.", show_default=True)
    ] = "0",
    id_: Annotated[str | None, typer.Option("--id", metavar="UUID", help="The chain's id; else a new one.")] = None,
    key: Annotated[
        str | None, typer.Option("--key", metavar="KEY", help="Start nothing if a chain of this type has this key.")
    ] = None,
    key_scope: Annotated[
        str | None,
        typer.Option(
            "--key-scope",
            metavar="SCOPE",
            help="Which chains count: incomplete (the default) or any.",
            autocompletion=completing.words(*KEY_SCOPES),
        ),
    ] = None,
    key_window: Annotated[
        str | None,
        typer.Option("--key-window", metavar="DURATION", help="Only chains that were started so long ago count."),
    ] = None,
    key_exclude: Annotated[
        list[str] | None,
        typer.Option("--key-exclude", metavar="CHAIN", help="This chain does not count; repeatable."),
    ] = None,
    key_conflict: Annotated[
        str | None,
        typer.Option(
            "--key-conflict",
            metavar="WHAT",
            help="return the chain that has the key (the default), or fail: exit 4.",
            autocompletion=completing.words(*KEY_CONFLICTS),
        ),
    ] = None,
    key_slot: Annotated[
        str | None,
        typer.Option("--key-slot", metavar="DURATION", help="Once per input and slot of time, instead of --key."),
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option("--batch", metavar="FILE", help="Start one chain for each JSON line of the file; - for stdin."),
    ] = None,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="With --batch: skip lines that cannot be started, and exit 5.")
    ] = False,
    dry_run: DryRun = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is closed and print its output.")] = False,
    timeout: Timeout = None,
    reveal: Annotated[
        bool, typer.Option("--reveal", help="With --wait: print what is sensitive too; the history keeps it.")
    ] = False,
    processors: Processors = None,
    json: Json = False,
) -> None:
    """Start a chain and print its id.

    With --wait its output is printed instead, as JSON, and the id is told on stderr.

    With --key, the id of the chain that has the key is printed if there is one, and stderr says so. --key-slot makes
    the key of type, input and the slot of time in which the database's clock is; closed chains count.

    With --batch, a line is an object with type, input, after, at, blocked_by, priority, id, key, key_scope, key_window,
    key_exclude, key_conflict and key_slot; what it leaves out is as TYPE and the options say. Ids are printed in the
    order of the lines. A thousand lines are started at once, all or none.
    """
    limit = _wait_limit(timeout, wait=wait, reveal=reveal, dry_run=dry_run)
    value = parse.input_argument(input_, set_)
    due = parse.schedule(after, at, run.say)
    number = parse.whole("--priority", priority)
    keys = _key_options(key_scope, key_window, key_exclude, key_conflict, key_slot)
    if batch is not None:
        _refuse_with_batch({"--wait": wait, "--id": id_, "--key": key})
        given = {"type": type_name, "input": value, "blocked_by": blocked_by, "priority": number, **due, **keys}
        with run.acting(run.registry(processors), dry_run=dry_run) as (client, conn):
            from jobctl.cli.batch import start_batch

            defaults = {name: each for name, each in given.items() if each is not None}
            start_batch(run, client, batch, defaults, keep_going=keep_going, json=json, conn=conn)
        return
    if keep_going:
        raise UsageError("--keep-going is about the lines of --batch: give both")
    if type_name is None:
        raise UsageError("a chain has a type: give TYPE, or --batch FILE")
    first = NewChain(type_name, value, due["after"], due["at"], blocked_by or (), number, id_, _key(key, keys))
    with run.acting(run.registry(processors), dry_run=dry_run) as (client, conn):
        (chain,) = client.start_many([first], conn=conn)
        _tell(run, chain, client.get(chain.id, conn=conn).paused if run.talks_to_person else None, awaited=wait)
        if wait:
            chain = _closed(run, client, chain, limit, reveal=reveal)
    if json:
        run.json(started_document(chain, dry_run=dry_run))
    elif not wait:
        run.out(chain.id)
    if wait:
        from jobctl.waiting import require_completed

        require_completed(without_secrets(chain))
        if not json:
            run.json(output_of(chain))


def _closed(run: Run, client: Client, chain: Chain, limit: timedelta | None, *, reveal: bool) -> Chain:
    """The chain, once it is closed."""
    run.flush()
    closed = client.wait([chain.id], timeout=limit)[chain.id]
    if reveal:
        from jobctl.cli.revealing import reveal as showing_all

        showing_all(run, client, [closed], actor=None, note=None)
    return replace(closed, deduplicated=chain.deduplicated)


def _tell(run: Run, chain: Chain, paused: Paused | None, *, awaited: bool) -> None:
    """Say what became of it; to a script only what it could not know else."""
    held = "" if paused is None else f", but {'its type is' if paused is Paused.TYPE else 'all types are'} paused"
    if chain.deduplicated:
        run.say(f"nothing is started: the chain {chain.id} has the key '{plain(chain.key or '')}'")
    elif awaited:
        run.say(f"started {chain.id}{held}")
    elif run.talks_to_person:
        run.say(f"started {plain(chain.type_name)}: {_state(chain)}{held}")


def _key(key: str | None, more: Mapping[str, Any]) -> Key | Slot | None:
    if "key_slot" in more:
        if key is not None or more.keys() - {"key_slot", "key_conflict"}:
            raise UsageError("--key-slot makes a key of its own: leave out --key and what is about it")
        return Slot(more["key_slot"], more.get("key_conflict", "return"))
    if key is None and more:
        raise UsageError("--key-scope, --key-window, --key-exclude and --key-conflict are about a key: give --key too")
    return None if key is None else Key(key, **{name.removeprefix("key_"): each for name, each in more.items()})


def _wait_limit(timeout: str | None, *, wait: bool, reveal: bool, dry_run: bool) -> timedelta | None:
    """How long to wait."""
    if reveal and not wait:
        raise UsageError("--reveal is about the output of --wait: give both")
    if timeout is not None and not wait:
        raise UsageError("--timeout limits --wait: give both")
    if dry_run and wait:
        raise UsageError("--dry-run starts nothing that could be waited for: leave out --wait")
    return None if timeout is None else parse.duration("--timeout", timeout)


def _state(chain: Chain) -> str:
    return f"due {iso(chain.scheduled_at)}" if chain.status is Status.SCHEDULED else chain.status.value


def _key_options(
    scope: str | None, window: str | None, exclude: list[str] | None, conflict: str | None, slot: str | None
) -> dict[str, Any]:
    """What is said of the key, or of the keys of a batch."""
    found: dict[str, Any] = {}
    if scope is not None:
        found["key_scope"] = parse.one_of("--key-scope", scope, KEY_SCOPES)
    if window is not None:
        parse.duration("--key-window", window, "1ms")
        found["key_window"] = window
    if exclude:
        found["key_exclude"] = exclude
    if conflict is not None:
        found["key_conflict"] = parse.one_of("--key-conflict", conflict, KEY_CONFLICTS)
    if slot is not None:
        parse.duration("--key-slot", slot, "1s")
        found["key_slot"] = slot
    return found


def _refuse_with_batch(given: Mapping[str, Any]) -> None:
    for option, value in given.items():
        if value:
            raise UsageError(f"{option} is about one chain: leave it out with --batch")
