"""Two persons who settle one job at once, or the two blockers of one job: in two processes, hundreds of times."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import psutil
import psycopg
import pytest
from acceptance.observing import check_settled
from acceptance.racing import WAYS, Round, complete_all, race, settle_all
from support import Running, eventually, wait_until_blocked

from jobctl import Chain, Client, Status

ROUNDS = 200
BLOCKED_ROUNDS = 100


def who_is_ahead(number: int) -> int | None:
    """Most come at once; in the others the one or the other holds the job already."""
    return {6: 0, 7: 1}.get(number % 8)


def start_all(client: Client, count: int, *blockers: list[str]) -> list[str]:
    """That many chains in one transaction, each behind its blockers."""
    with client.store.transaction() as conn:
        behind = list(zip(*blockers, strict=True)) if blockers else [()] * count
        return [client.start("step", n, blocked_by=behind[n], conn=conn).id for n in range(count)]


def test_two_persons(client: Client, database_url: str):
    """Of two who settle one job at the same moment exactly one does, and the other has a conflict."""
    rounds = [
        Round(chain, WAYS[n // 8 % len(WAYS)], who_is_ahead(n)) for n, chain in enumerate(start_all(client, ROUNDS))
    ]
    won = [0, 0]
    for each, tries in zip(rounds, race(settle_all, database_url, rounds), strict=True):
        winners = [number for number, one in enumerate(tries) if one.lost is None]
        assert len(winners) == 1, (each, tries)
        (winner,) = winners
        won[winner] += 1
        assert each.ahead in {None, winner}
        # who meets the successor is told by the guard
        continued = each.continues[winner]
        assert tries[1 - winner].lost == ("GuardError" if continued else "AlreadySettledError", 4)
        check_settled(client.show(each.chain), tries[winner].mark, continued=continued, by_hand=True)
    assert sum(won) == ROUNDS
    assert min(won) > 0


def test_two_blockers(client: Client, database_url: str):
    """Two who complete the two blockers of a job at the same moment always free it."""
    blockers = list(zip(start_all(client, BLOCKED_ROUNDS), start_all(client, BLOCKED_ROUNDS), strict=True))
    waiting = start_all(client, BLOCKED_ROUNDS, *(list(each) for each in zip(*blockers, strict=True)))
    assert {client.get(each).status for each in waiting} == {Status.BLOCKED}
    done = race(complete_all, database_url, blockers, [who_is_ahead(n) for n in range(BLOCKED_ROUNDS)])
    assert done == blockers
    assert {client.get(each).status for each in waiting} == {Status.READY}


@contextmanager
def nobody_writes(url: str, chain: Chain) -> Iterator[Callable[[list[Running]], None]]:
    """Hold the chain, or the whole file; gives what waits until these processes have run into that."""
    if url.startswith("postgresql"):
        with psycopg.connect(url) as holder:
            holder.execute("SELECT 1 FROM jobctl_current WHERE chain_id = %s FOR UPDATE", [chain.id])
            yield lambda processes: wait_until_blocked(url, len(processes))
        return
    path = url.removeprefix("sqlite:///")

    def has_opened(process: Running) -> bool:
        return any(file.path == path for file in psutil.Process(process.pid).open_files())

    def opened(processes: list[Running]) -> None:
        for each in processes:
            eventually(lambda each=each: has_opened(each), what="the command has opened the file")

    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        yield opened
        holder.execute("COMMIT")


@pytest.mark.parametrize("ways", WAYS[:3])
def test_two_commands(client: Client, database_url: str, spawn: Callable[..., Running], ways: tuple[bool, bool]):
    """Of two ``jobctl complete`` one ends with 0; the other one says in a line who was first, and ends with 4."""
    chain = client.start("step", "in")
    with nobody_writes(database_url, chain) as until_all_wait:
        running = [
            spawn(
                *("complete", chain.id, "--expect", "step", "--actor", f"p{number}", "--quiet"),
                *(("--continue", "next", "--input") if continues else ("--output",)),
                f'"p{number}"',
            )
            for number, continues in enumerate(ways)
        ]
        until_all_wait(running)
        assert [each.code for each in running] == [None, None]
    results = [each.wait() for each in running]
    assert sorted(each.code for each in results) == [0, 4]
    winner, loser = sorted((0, 1), key=lambda number: results[number].code)
    assert results[loser].out == ""
    assert results[loser].err.startswith("jobctl: the chain ")
    assert results[loser].err.count("\n") == 1
    assert results[winner].err == ""
    check_settled(client.show(chain.id), f"p{winner}", continued=ways[winner], by_hand=True)
    successors = [job.id for job in client.show(chain.id).jobs[1:]]
    assert results[winner].lines == successors
