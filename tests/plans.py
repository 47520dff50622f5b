"""What the statements of a call cost: how PostgreSQL and SQLite go about them, and how much they look at."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import event

from jobctl.storage.store import Store

LARGE = ("jobctl_job", "jobctl_current", "jobctl_settled")
"""The tables that have a row for each job, or for each that is waiting."""

_PARAMETER = re.compile(r"%\((\w+)\)s")


@dataclass(frozen=True, eq=False)
class Statement:
    """A statement as it went to the driver."""

    text: str
    parameters: Any


@contextmanager
def recorded(store: Store) -> Iterator[list[Statement]]:
    """The statements that reach the store's drivers within the block, whichever way they are sent."""
    found: list[Statement] = []

    def keep(_conn, _cursor, text, parameters, _context, _many) -> None:
        found.append(Statement(text, parameters))

    run = store.run

    def run_and_keep(conn, statement, parameters) -> Any:
        compiled = statement.compile(dialect=store.engine.dialect)
        values = {**compiled.params, **parameters}
        order = compiled.positiontup
        found.append(Statement(str(compiled), values if order is None else tuple(values[name] for name in order)))
        return run(conn, statement, parameters)

    event.listen(store.engine, "before_cursor_execute", keep)
    store.run = run_and_keep  # type: ignore[method-assign]
    try:
        yield found
    finally:
        del store.run  # type: ignore[attr-defined]
        event.remove(store.engine, "before_cursor_execute", keep)


def statements_of(store: Store, call: Callable[[], object]) -> list[Statement]:
    """The statements of a call that read or write jobs."""
    with recorded(store) as found:
        call()
    return [each for each in found if any(table in each.text for table in LARGE)]


@dataclass(frozen=True)
class Node:
    """A step of a plan of PostgreSQL's.

    Attributes:
        kind: What it does.
        table: The table it reads.
        rows: How many rows it looked at, those it threw away included.
        disabled: Whether the planner was to avoid it, and has found no other way; known from PostgreSQL 18 on.
    """

    kind: str
    table: str | None
    rows: float
    disabled: bool


@contextmanager
def planned(url: str, statements: Iterable[Statement], *off: str) -> Iterator[Callable[[Statement], list[Node]]]:
    """Have PostgreSQL plan statements now for all parameters; the function runs one by that plan, and keeps nothing of it.

    Args:
        url: The database.
        statements: The statements.
        off: What the planner is to avoid: ``seqscan``, ``bitmapscan``.
    """
    calls: dict[Statement, sql.Composed] = {}
    with psycopg.connect(url) as conn:
        for each in ("plan_cache_mode = force_generic_plan", *(f"enable_{each} = off" for each in off)):
            conn.execute(f"SET {each}".encode())
        for number, each in enumerate(statements):
            names: list[str] = []
            text = _PARAMETER.sub(partial(_numbered, names), each.text).replace("%%", "%")
            conn.execute(f"PREPARE it{number} AS {text}".encode())
            values = sql.SQL("({})").format(sql.SQL(", ").join(sql.Literal(each.parameters[name]) for name in names))
            calls[each] = sql.SQL("EXECUTE {} {}").format(
                sql.Identifier(f"it{number}"), values if names else sql.SQL("")
            )
            conn.execute(sql.SQL("EXPLAIN {}").format(calls[each]))
        conn.commit()

        def run(statement: Statement) -> list[Node]:
            row = conn.execute(sql.SQL("EXPLAIN (ANALYZE, FORMAT JSON) {}").format(calls[statement])).fetchone()
            conn.rollback()
            assert row is not None
            return list(_nodes(row[0][0]["Plan"]))

        yield run


def _numbered(names: list[str], match: re.Match[str]) -> str:
    names.append(match[1])
    return f"${len(names)}"


def postgres_plan(url: str, statement: Statement, *off: str) -> list[Node]:
    """How PostgreSQL runs a statement under a plan that knows no parameters; see ``planned``."""
    with planned(url, [statement], *off) as run:
        return run(statement)


def _nodes(plan: dict[str, Any]) -> Iterator[Node]:
    loops = plan.get("Actual Loops", 1)
    seen = (
        plan.get("Actual Rows", 0) + plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Join Filter", 0)
    )
    yield Node(plan["Node Type"], plan.get("Relation Name"), seen * loops, plan.get("Disabled", False))
    for each in plan.get("Plans", ()):
        yield from _nodes(each)


def sqlite_plan(store: Store, statement: Statement) -> list[str]:
    """How SQLite runs a statement, a line for each step."""
    with store.transaction() as conn:
        found = conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement.text}", statement.parameters)
        return [row[-1] for row in found]


def sqlite_steps(store: Store, call: Callable[[], object]) -> int:
    """How many thousands of steps SQLite's machine does for a call, at least one."""
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 1

    def watch(dbapi_connection, *_) -> None:
        dbapi_connection.set_progress_handler(count, 1000)

    def forget(dbapi_connection, _) -> None:
        dbapi_connection.set_progress_handler(None, 0)

    event.listen(store.engine, "checkout", watch)
    event.listen(store.engine, "checkin", forget)
    call()
    event.remove(store.engine, "checkout", watch)
    event.remove(store.engine, "checkin", forget)
    return steps + 1


def touched(url: str, statement: Statement, *off: str) -> int:
    """How many pages a statement of PostgreSQL's looks at; nothing is kept of it. See ``planned`` for what is off."""
    with psycopg.connect(url) as conn:
        for each in off:
            conn.execute(f"SET enable_{each} = off".encode())
        text = b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + statement.text.encode()
        row = conn.execute(text, statement.parameters).fetchone()
        conn.rollback()
    assert row is not None
    plan = row[0][0]["Plan"]

    def pages(node: Any) -> int:
        return int(node["Shared Hit Blocks"] + node["Shared Read Blocks"])

    # what is changed beside what is asked, in a WITH of its own, is not among what the whole is said to look at
    return max(pages(plan), sum(map(pages, plan["Plans"])))
