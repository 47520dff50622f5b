"""``start``: a chain begins."""

from __future__ import annotations

from typing import Annotated

import typer

from jobctl.cli import parse
from jobctl.cli.command import command
from jobctl.cli.documents import chain_document, iso
from jobctl.cli.options import After, At, BlockedBy, Json, Processors, Timeout
from jobctl.cli.render import plain
from jobctl.cli.run import Run
from jobctl.errors import UsageError
from jobctl.model import Chain, Status


@command(
    "start",
    section="Work",
    examples=(
        ('jobctl start await-approval --input \'{"requestId": "123"}\' --after 2h', ""),
        ("jobctl start resize --set path=a.png --set width:=300", "a text and a number"),
        ("jobctl start import --input @rows.json --wait --timeout 5m", "prints the output"),
        ("id=$(jobctl start nightly --at 2030-01-31T03:00)", "local time"),
    ),
)
def start(
    run: Run,
    type_name: Annotated[str, typer.Argument(metavar="TYPE", help="The type of the chain's first job.")],
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
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is closed and print its output.")] = False,
    timeout: Timeout = None,
    processors: Processors = None,
    json: Json = False,
) -> None:
    """Start a chain and print its id.

    With --wait its output is printed instead, as JSON, and the id is told on stderr.
    """
    if timeout is not None and not wait:
        raise UsageError("--timeout limits --wait: give both")
    limit = None if timeout is None else parse.duration("--timeout", timeout)
    value = parse.input_argument(input_, set_)
    due = parse.schedule(after, at, run.say)
    number = parse.whole("--priority", priority)
    with run.client(run.registry(processors)) as client:
        chain = client.start(type_name, value, blocked_by=blocked_by or (), priority=number, id=id_, **due)
        if wait:
            run.say(f"started {chain.id}")
            run.flush()
            chain = client.wait([chain.id], timeout=limit)[chain.id]
    if json:
        run.json(chain_document(chain))
    elif not wait:
        run.out(chain.id)
    if wait:
        from jobctl.client import require_completed

        require_completed(chain)
        if not json:
            run.json(chain.output)
    elif run.talks_to_person:
        run.say(f"started {plain(chain.type_name)}: {_state(chain)}")


def _state(chain: Chain) -> str:
    return f"due {iso(chain.scheduled_at)}" if chain.status is Status.SCHEDULED else chain.status.value
