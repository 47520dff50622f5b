"""READ COMMITTED, on which jobctl's locks rely: what is read after a lock is newer than the lock.

Under REPEATABLE READ and SERIALIZABLE a transaction reads what there was at its beginning. Of two chains that complete
at once, the later one would not see the earlier one, and the job that waits for both would stay blocked for ever.

What the server, the database, the role or the URL makes the default does not matter: each transaction of several
statements says how it is meant. To say it once per connection would not do: a pooler hands out others, or forbids it.
A statement that is a transaction by itself reads what there is when it begins, whatever the default.
"""

from __future__ import annotations

import weakref

from sqlalchemy import Connection, text

from jobctl.errors import UsageError

BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"

READ_COMMITTED = text("SET transaction_isolation TO 'read committed'")
"""Says it where there is no BEGIN, before anything is read: for the rest of a transaction of several statements."""

OWN = "jobctl_own"
"""The execution option of connections whose transactions begin like this: they need not be looked at."""

_FIT = ("read committed", "read uncommitted")  # to PostgreSQL the second one is the first

_FOUND_FIT = "jobctl_found_fit"
"""Where a caller's connection keeps the transaction that was looked at last, if that is fit."""


def refuse_unless_read_committed(conn: Connection) -> None:
    """Look at a caller's transaction, once: nothing can change its isolation afterwards.

    Raises:
        UsageError: It reads what there was at its beginning.
    """
    if conn.get_execution_options().get(OWN):
        return
    found: weakref.ref[object] | None = conn.info.get(_FOUND_FIT)
    if found is not None and found() is not None and found() is conn.get_transaction():
        return
    # by a statement that reads: SHOW would leave it open to be changed
    level = str(conn.exec_driver_sql("SELECT current_setting('transaction_isolation')").scalar_one())
    if level not in _FIT:
        raise UsageError(
            f"the transaction of conn is {level.upper()}, in which jobctl cannot see what others have completed since "
            "it began: run it at READ COMMITTED, as after conn.execution_options(isolation_level='READ COMMITTED')"
        )
    conn.info[_FOUND_FIT] = weakref.ref(conn.get_transaction())
