"""Side effects that run once a transaction has committed, never when it, or their savepoint, is rolled back."""

from __future__ import annotations

import logging
from collections.abc import Callable

from sqlalchemy import Connection, event

logger = logging.getLogger(__name__)

SideEffect = Callable[[], object]

_PENDING = "jobctl_after_commit"
"""Where a connection keeps what is to be done once its transaction has committed."""


class _Pending:
    """The side effects of one transaction, with how many there were when each open savepoint began.

    Savepoints end in the opposite order of their beginning; SQLAlchemy names them only when they end.
    """

    def __init__(self, conn: Connection) -> None:
        self.calls: list[SideEffect] = []
        self.marks: list[int] = []
        event.listen(conn, "savepoint", self._savepoint)
        event.listen(conn, "release_savepoint", self._release_savepoint)
        event.listen(conn, "rollback_savepoint", self._rollback_savepoint)
        event.listen(conn, "rollback", self._rollback)
        event.listen(conn, "commit", self._commit)

    def _savepoint(self, _: Connection, __: str | None) -> None:
        self.marks.append(len(self.calls))

    def _mark(self) -> int:
        """How many there were when the last savepoint began; none, if it began before the first was registered."""
        return self.marks.pop() if self.marks else 0

    def _release_savepoint(self, _: Connection, __: str, ___: None) -> None:
        self._mark()

    def _rollback_savepoint(self, _: Connection, __: str, ___: None) -> None:
        del self.calls[self._mark() :]

    def _rollback(self, _: Connection) -> None:
        self.calls.clear()
        self.marks.clear()

    def _commit(self, conn: Connection) -> None:
        """Commit here, because SQLAlchemy tells only that it is about to; its own commit then finds nothing to do."""
        calls, self.calls = self.calls, []
        self.marks.clear()
        if not calls:
            return
        conn.dialect.do_commit(conn.connection)
        for call in calls:
            try:
                call()
            except Exception:  # one shall not stop the others, and nothing can be undone any more
                logger.exception("a side effect after the commit failed")


def after_commit(conn: Connection, call: SideEffect) -> None:
    """Have this called once the connection's transaction has committed; see ``Client.after_commit``."""
    pending: dict[Connection, _Pending] = conn.info.setdefault(_PENDING, {})
    for other in [each for each in pending if each.closed]:  # the driver's connection is pooled, and outlives them
        del pending[other]
    if conn not in pending:
        pending[conn] = _Pending(conn)
    pending[conn].calls.append(call)
