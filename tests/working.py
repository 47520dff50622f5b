"""Claims and settlements as a worker makes them, each in a transaction of its own."""

from __future__ import annotations

from jobctl.ids import new_id
from jobctl.model import NOW, Schedule
from jobctl.storage.records import Complete, Continue, Held, JobRow, NewJob, Outcome, Settled, Settlement
from jobctl.storage.store import Store


def claim(
    store: Store,
    *types: str,
    limit: int = 100,
    seconds: float = 60.0,
    worker: str = "worker-1",
    leases: dict[str, float] | None = None,
) -> list[JobRow]:
    """Claim jobs of these types; ``leases`` gives each type its own seconds."""
    wanted = leases or dict.fromkeys(types, seconds)
    with store.transaction() as conn:
        return store.claim(conn, wanted, limit, worker=worker, lease=new_id())


def held(row: JobRow) -> Held:
    """What a worker keeps of a job it claimed."""
    return Held(row.id, row.chain_id, row.type_name, row.lease, row.worker, row.attempt)


def completed(row: JobRow, output: str = "null") -> Settlement:
    return Settlement(held(row), Complete(output))


def continued(
    row: JobRow,
    type_name: str,
    *,
    input: str = "null",  # noqa: A002 - the field's name everywhere
    schedule: Schedule = NOW,
    blocked_by: tuple[str, ...] = (),
) -> Settlement:
    successor = NewJob(
        id=new_id(),
        chain_id=row.chain_id,
        chain_index=row.chain_index + 1,
        chain_type=row.chain_type,
        type_name=type_name,
        input=input,
        priority=row.priority,
        schedule=schedule,
        blocked_by=blocked_by,
    )
    return Settlement(held(row), Continue(successor))


def with_outcome(row: JobRow, outcome: Outcome) -> Settlement:
    return Settlement(held(row), outcome)


def settle(store: Store, *settlements: Settlement) -> Settled:
    """Settle them as one batch."""
    with store.transaction() as conn:
        settled = store.settle(conn, settlements)
        store.notify(conn, settled.told)
        return settled


def run(store: Store, chain_id: str, output: str = "null") -> None:
    """Complete a chain whose current job is ready, as a worker does."""
    with store.transaction() as conn:
        row = store.lock_last(conn, chain_id)
    assert row is not None
    rows = claim(store, row.type_name)
    (mine,) = [each for each in rows if each.chain_id == chain_id]
    with store.transaction() as conn:
        store.release(conn, [held(each) for each in rows if each is not mine])
    assert settle(store, completed(mine, output)).won == {mine.id}
