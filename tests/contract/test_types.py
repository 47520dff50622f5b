"""Which types there are, what waits under their names, and who takes it."""

from __future__ import annotations

import sqlalchemy as sa
from staff import hire
from working import claim

from jobctl import Client, processor
from jobctl.registry import Registry
from jobctl.storage.spelling import now
from jobctl.storage.tables import current, pause


def test_types(client, store):
    """The types of open jobs and of live workers: counts by status, who takes them, and what may be a new name."""
    hire(store, "mail", "idle", name="w1")
    hire(store, "gone", name="w2", seen=60.0)
    first = client.start("mail").id
    client.start("mail", after="1h")
    client.start("mails", blocked_by=[first])
    paused = client.start("order").id
    with store.transaction() as conn:
        conn.execute(sa.update(current).where(current.c.chain_id == paused).values(paused_at=now()))
    client.start("order")
    claim(store, "mail")
    known = Registry([processor("post", aliases=["mails"], entry=False)(lambda job: job.input)])
    types = {each.type_name: each for each in Client(store, processors=known).types()}
    assert list(types) == ["idle", "mail", "mails", "order", "post"]
    assert (types["mail"].ready, types["mail"].scheduled, types["mail"].running) == (0, 1, 1)
    assert (types["mail"].workers, types["mail"].unattended) == (("w1",), False)
    assert (types["order"].ready, types["order"].paused_chains, types["order"].unattended) == (2, 1, True)
    assert types["order"].oldest_ready_at is not None
    assert (types["mails"].blocked, types["mails"].similar, types["mails"].alias_of) == (1, ("mail",), "post")
    assert (types["mails"].entry, types["mails"].known, types["mail"].known) == (False, True, False)
    assert (types["post"].aliases, types["post"].open, types["post"].unattended) == (("mails",), 0, False)
    assert (types["idle"].open, types["idle"].workers) == (0, ("w1",))
    with store.transaction() as conn:
        conn.execute(sa.insert(pause).values(type_name="mail", at=now(), actor="ann"))
    assert {each.type_name: each.paused for each in client.types()}["mail"] == "type"
    with store.transaction() as conn:
        conn.execute(sa.insert(pause).values(type_name="", at=now(), actor="ann"))
    assert [each.paused for each in client.types()] == ["all", "type", "all", "all"]
