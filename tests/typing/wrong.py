"""What users get wrong: mypy --strict says so in every line that ends with the code of an error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jobctl import Attempt, Client, Job, ListFilter, WorkerOptions, continue_with, processor, reschedule


@dataclass
class Card:
    cents: int


@processor("a")
def a(job: Job[Card]) -> int:
    return int(job.input.cent)  # [attr-defined]


@processor("b")
def b(job: Job[Card]) -> str:
    return job.input.cents  # [return-value]


@processor("c")  # [arg-type]
def c() -> None: ...


@processor("d")  # [arg-type]
def d(card: Card) -> None: ...


@processor("e", max_attempts="3")  # [arg-type]
def e(job: Job[Any]) -> None: ...


@processor("f", continues="a")
def f(job: Job[Any], attempt: Attempt) -> None:
    with attempt.prepare() as conn:
        conn.exec("SELECT 1")  # [attr-defined]
    attempt.lost = None  # [misc]
    reschedule(after=5)  # [arg-type]


@processor("g")
async def g(job: Job[Any], attempt: Attempt) -> Any:
    async with attempt.complete() as conn:
        return conn.scalar("SELECT 1")  # [arg-type]


def calls(client: Client) -> None:
    continue_with(7)  # [arg-type]
    client.start("a", priority="high")  # [arg-type]
    client.start("a", inputs={})  # [call-arg]
    client.settle("id").complete()  # [attr-defined]
    with client.settle("id", expects="a") as current:  # [call-arg]
        current.continue_with()  # [call-arg]
    ListFilter(statuses=("ready",))  # [arg-type]
    WorkerOptions(concurrent=10)  # [call-arg]
