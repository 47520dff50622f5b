"""What the acceptance tests look at: a table of the handlers' own, a worker's log, files that handlers leave."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from support import Running, eventually

from jobctl import ChainDetail, Client, Status

EFFECT = sa.table("effect", sa.column("chain_id"), sa.column("note"))


def make_effects(client: Client) -> None:
    """A table of the handlers' own, which would take any row any number of times."""
    with client.store.transaction() as conn:
        conn.execute(sa.text("CREATE TABLE effect (chain_id text NOT NULL, note text NOT NULL)"))


def effects(client: Client) -> Counter[tuple[str, str]]:
    """How often each chain had each effect, as committed."""
    with client.store.transaction(read_only=True) as conn:
        return Counter((row.chain_id, row.note) for row in conn.execute(sa.select(EFFECT)))


def log(process: Running) -> list[dict[str, Any]]:
    """The log that a worker has written so far as JSON, whole lines only."""
    whole, _, _ = process.err.rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


def events(process: Running, *names: str) -> list[dict[str, Any]]:
    """Those lines of a worker's log that tell of one of these."""
    return [line for line in log(process) if line["event"] in names]


def appear(files: Iterable[Path], *processes: Running) -> None:
    """Wait until handlers have made all these files; a process that ends before they did will never."""
    for file in files:

        def there(file: Path = file) -> bool:
            ended = [each for each in processes if each.code is not None]
            return file.exists() or bool(ended)

        eventually(there, what=f"{file.name} exists")
        assert file.exists(), [each.err for each in processes]


def check_settled(detail: ChainDetail, who: str, *, continued: bool, by_hand: bool) -> None:
    """The chain is as its one winner left it, who gave their name to what they wrote."""
    first, *others = detail.jobs
    assert first.completed_by == (None if by_hand else who)
    if continued:
        (successor,) = others
        assert first.status is Status.CONTINUED
        assert (successor.type_name, successor.input, successor.status) == ("next", who, Status.READY)
    else:
        assert others == []
        assert (first.status, first.output) == (Status.COMPLETED, who)
    assert [act.actor for act in detail.history] == ([who] if by_hand else [])
    assert detail.errors == ()
