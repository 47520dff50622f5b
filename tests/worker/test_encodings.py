"""A PostgreSQL connection in another encoding than UTF-8."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from worker.workshop import make

from jobctl import Client, Worker, WorkerOptions
from jobctl.registry import Registry
from jobctl.storage.store import Store


@pytest.mark.parametrize("mode", ["plain", "atomic", "staged"])
def test_another_encoding(postgres_url: str, open_stores: Callable[[str], Store], mode: str):
    """What a connection in another encoding can say comes back as it was, types and workers' names too."""
    store = open_stores(f"{postgres_url}&client_encoding=latin1")
    client = Client(store)
    with store.transaction() as conn:
        conn.exec_driver_sql("CREATE TABLE effect (job_id text, note text)")
    chain = client.start("prüfen", {"straße": "ß\\'"}).id
    Worker(store, Registry([make(mode, "prüfen")]), WorkerOptions(name="wörker", drain=True)).run()
    found = client.show(chain)
    assert found.chain.output == {"straße": "ß\\'"}
    assert (found.jobs[0].type_name, found.jobs[0].completed_by) == ("prüfen", "wörker")
