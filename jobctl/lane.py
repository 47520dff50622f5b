"""A thread for a coroutine's database work: a connection belongs to one thread, and must not block an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import Connection, Executable, Row

P = ParamSpec("P")
Result = TypeVar("Result")


class Lane:
    """Runs calls one after another on a thread of its own, which ends with close and never keeps a process alive."""

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()

    async def run(self, call: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
        """Await what the call returns or raises; cancelling gives up the answer, not the call."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Result] = loop.create_future()

        def answer(result: Result | None, error: BaseException | None) -> None:
            if done.cancelled():
                return
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(result)  # type: ignore[arg-type]  # without an error there is one

        def work() -> None:
            try:
                result = call(*args, **kwargs)
            except (StopIteration, GeneratorExit) as error:  # which mean something else to whoever awaits
                other = RuntimeError(f"{type(error).__name__} was raised")
                other.__cause__ = error
                loop.call_soon_threadsafe(answer, None, other)
            except BaseException as error:  # noqa: BLE001 - raised where it is awaited
                loop.call_soon_threadsafe(answer, None, error)
            else:
                loop.call_soon_threadsafe(answer, result, None)

        self._calls.put(work)
        return await done

    def close(self) -> None:
        """End the thread after the calls it was given."""
        self._calls.put(None)


class LaneConnection:
    """A connection as a coroutine uses it: its calls run on the connection's thread and are awaited."""

    def __init__(self, lane: Lane, conn: Connection) -> None:
        self._lane = lane
        self._conn = conn

    async def execute(self, statement: Executable, parameters: Any = None) -> Sequence[Row[Any]]:
        """Run a statement; returns its rows, or none if it returns none."""

        def work() -> Sequence[Row[Any]]:
            result = self._conn.execute(statement, parameters)
            return result.all() if result.returns_rows else ()

        return await self._lane.run(work)

    async def scalar(self, statement: Executable, parameters: Any = None) -> Any:
        """Run a statement; returns the first column of its first row, or None."""
        return await self._lane.run(self._conn.scalar, statement, parameters)

    async def run(self, call: Callable[..., Result], *args: Any) -> Result:
        """Run ``call(connection, *args)`` with the SQLAlchemy connection itself; returns what it returns."""
        return await self._lane.run(call, self._conn, *args)
