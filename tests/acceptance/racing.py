"""Two processes that meet in round after round, so that hundreds of races cost two interpreters."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from typing import Any, Concatenate, ParamSpec, TypeVar

from jobctl import Client
from jobctl.errors import ConflictError

PATIENCE = 60.0

WAYS = [(False, False), (True, True), (False, True), (True, False)]
"""Who of the two hands over, and who completes."""

P = ParamSpec("P")
Result = TypeVar("Result")

_barrier: Barrier


def _enter(barrier: Barrier) -> None:
    global _barrier  # noqa: PLW0603 - a barrier is handed to a process when it begins, and never again
    _barrier = barrier


def meet() -> None:
    """Wait until the other process is here too."""
    _barrier.wait(PATIENCE)


def race(act: Callable[Concatenate[int, P], Sequence[Any]], *args: P.args, **kwargs: P.kwargs) -> list[tuple[Any, Any]]:
    """Run ``act(0, …)`` and ``act(1, …)`` in two processes; returns what they did, round by round."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    with ProcessPoolExecutor(2, mp_context=context, initializer=_enter, initargs=(barrier,)) as pool:
        running = [pool.submit(_one, act, number, *args, **kwargs) for number in (0, 1)]
        return list(zip(*(each.result() for each in running), strict=True))


def _one(act: Callable[Concatenate[int, P], Result], number: int, *args: P.args, **kwargs: P.kwargs) -> Result:
    try:
        return act(number, *args, **kwargs)
    except BaseException:
        _barrier.abort()  # the other one need not wait any more
        raise


@dataclass(frozen=True)
class Round:
    """A chain that both want to settle.

    Attributes:
        chain: Its id.
        continues: By process, whether it hands over instead of completing.
        ahead: The process that holds the job when the other one comes; None when both come at once.
    """

    chain: str
    continues: tuple[bool, bool]
    ahead: int | None


@dataclass(frozen=True)
class Try:
    """What a process did in a round; ``lost`` is the kind and the exit code of its error."""

    mark: str
    lost: tuple[str, int] | None


def settle_all(number: int, url: str, rounds: Sequence[Round]) -> list[Try]:
    """A person who settles each chain at the moment in which the other does."""
    tries = []
    with Client(url) as client:
        client.list_chains()  # connected before the first round
        for each in rounds:
            mark = f"process {number}"
            meet()
            lost = None
            if each.ahead == 1 - number:
                meet()  # the other one is inside
            try:
                with client.settle(each.chain, expect="step", actor=mark) as current:
                    if each.ahead == number:
                        meet()
                    if each.continues[number]:
                        current.continue_with("next", mark)
                    else:
                        current.complete(mark)
            except ConflictError as error:
                lost = (type(error).__name__, error.exit_code)
            tries.append(Try(mark, lost))
    return tries


def complete_all(number: int, url: str, blockers: Sequence[tuple[str, str]], ahead: Sequence[int | None]) -> list[str]:
    """A person who completes the one or the other blocker of a job at the moment in which the other does."""
    done = []
    with Client(url) as client:
        client.list_chains()
        for each, first in zip(blockers, ahead, strict=True):
            meet()
            if first == 1 - number:
                meet()  # the other one has completed its blocker, and not committed
            with client.store.transaction() as conn:
                with client.settle(each[number], conn=conn) as current:
                    current.complete(number)
                if first == number:
                    meet()
            done.append(each[number])
    return done
