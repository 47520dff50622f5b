"""``why``: what a job waits for, and what would move it."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobctl.cli.command import command
from jobctl.cli.documents import iso
from jobctl.cli.hiding import error_of_job
from jobctl.cli.options import Json
from jobctl.cli.render import plain, relative
from jobctl.cli.run import Run, is_terminal

if TYPE_CHECKING:
    from jobctl.client import Client
    from jobctl.reasons import Why


@command(
    "why",
    section="Look",
    examples=(
        ("jobctl why $id", ""),
        ("jobctl why $id --json | python -m json.tool", ""),
    ),
)
def why(
    run: Run,
    id_: Annotated[str, typer.Argument(metavar="ID", help="The chain, or any of its jobs.")],
    json: Json = False,
) -> None:
    """Say what a job waits for, and what would move it.

    In one sentence, for a chain's current job: for its time, for other chains, for a person, for a worker, or for
    nothing any more. The exit code is 0 whatever it is.
    """
    from jobctl.reasons import sentence

    with run.client() as client:
        found = _as_shown(client, client.why(id_))
    if json:
        run.json(why_document(found))
        return
    if is_terminal(sys.stdout):
        run.out(plain(sentence(found, lambda instant: relative(instant, found.at))))
    else:
        run.out(plain(sentence(found)))


def _as_shown(client: Client, why: Why) -> Why:
    """What a job waits for, with errors as they may be shown."""
    blockers = tuple(_as_shown(client, each) for each in why.blockers)
    return replace(why, error=error_of_job(client, why.job_id, why.error), blockers=blockers)


def why_document(each: Why) -> dict[str, Any]:
    """What a job waits for."""
    return {
        "id": each.id,
        "chain_id": each.chain_id,
        "job_id": each.job_id,
        "type": each.type_name,
        "status": None if each.status is None else each.status.value,
        "reason": each.reason.value,
        "sentence": str(each),
        "remedy": each.remedy,
        "at": iso(each.at),
        "since": _iso(each.since),
        "until": _iso(each.until),
        "seen_at": _iso(each.seen_at),
        "by": each.by,
        "by_hand": each.by_hand,
        "note": each.note,
        "paused": each.paused,
        "attempt": each.attempt,
        "error": each.error,
        "waits_for": list(each.waits_for),
        "blockers": [why_document(blocker) for blocker in each.blockers],
        "workers": list(each.workers),
        "others": list(each.others),
        "similar": list(each.similar),
    }


def _iso(instant: datetime | None) -> str | None:
    return None if instant is None else iso(instant)
