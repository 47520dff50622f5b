"""What all calls of a client share: the store, the processors, and whose transaction it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from jobctl.errors import UsageError
from jobctl.registry import Registry
from jobctl.storage.migrate import check_schema
from jobctl.storage.store import Store

if TYPE_CHECKING:
    from jobctl.acts import Hand


class Connected:
    """A store whose schema is looked at before the first call."""

    def __init__(self, store: Store, processors: Registry, *, require_note: bool = False) -> None:
        self.store = store
        self.processors = processors
        self.require_note = require_note
        self._checked = False

    def _ready(self) -> Store:
        """The store, once its schema is known to fit."""
        if not self._checked:
            check_schema(self.store)
            self._checked = True
        return self.store

    def _hand(self, actor: str | None, note: str | None) -> Hand:
        """Who acts by hand, and why, for the history.

        Raises:
            UsageError: The note is missing, and required.
        """
        from jobctl.acts import Hand

        self._check_note(note)
        return Hand.of(actor, note)

    def _check_note(self, note: str | None) -> None:
        """Refuse what is done by hand without the note that is required.

        Raises:
            UsageError: It is missing.
        """
        if self.require_note and not (note or "").strip():
            raise UsageError("what is done by hand needs a note here: say why, with note=… or --note TEXT")

    @contextmanager
    def _writing(self, conn: Connection | None) -> Iterator[tuple[Store, Connection]]:
        """The store and a transaction: its own, or the caller's.

        In a caller's transaction, what was written is undone when the call fails, and nothing else.
        """
        store = self._ready()
        with store.on(conn) as on, nullcontext() if conn is None else on.begin_nested():
            yield store, on
