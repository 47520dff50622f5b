"""One attempt at a job: its phases, their transactions and savepoints, and whether it still holds the job."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from enum import Enum
from types import TracebackType

from sqlalchemy import Connection, PoolProxiedConnection, RootTransaction
from sqlalchemy.exc import SQLAlchemyError

from jobctl.errors import AttemptLostError, ProcessorError, TryAgainError
from jobctl.lane import Lane, LaneConnection
from jobctl.middlewares import Around
from jobctl.model import Chain, LostReason
from jobctl.storage.database import COMMIT_GUARD, Translated
from jobctl.storage.decoding import lost_reason
from jobctl.storage.inside import SettledAs, settled_inside
from jobctl.storage.records import Held, JobRow, Locked, Outcome, Settled, Settlement
from jobctl.storage.store import Store, is_held

_MAKING = threading.Lock()


class _Stage(Enum):
    """How far a staged handler has come."""

    BEGUN = "begun"
    PREPARING = "in prepare"
    PREPARED = "after prepare"
    COMPLETING = "in complete"
    COMPLETED = "after complete"


class Attempt:
    """What a staged handler is given: when its transactions begin and end, and whether it still holds the job.

    Both phases are used with ``with`` in a function and with ``async with`` in a coroutine function, where the
    connection's calls are awaited.

    Example:
        ::

            @processor("charge-card")
            def charge_card(job: Job[Card], attempt: Attempt) -> dict:
                with attempt.prepare() as conn:
                    amount = conn.scalar(select(order.c.amount).where(order.c.id == job.input.order))
                receipt = bank.charge(job.input.token, amount)      # no transaction is open
                with attempt.complete() as conn:
                    conn.execute(insert(payment).values(order=job.input.order, receipt=receipt))
                return {"receipt": receipt}
    """

    def __init__(
        self, store: Store, row: JobRow, held: Held, blockers: tuple[Chain, ...], turns: threading.Semaphore
    ) -> None:
        self.row = row
        self.held = held
        self.blockers = blockers
        self.renewed_at = 0.0  # by time.monotonic(); kept by whoever renews the lease
        self.begun_at: float | None = None  # by time.monotonic(); kept by whoever runs the handler
        self._store = store
        self._turns = turns  # as many transactions of handlers as may be open at once
        self._lost: LostReason | None = None
        self._lost_told: threading.Event | None = None  # made for who waits: it takes as long as all else here
        self._on_lost: Callable[[], object] | None = None
        self.settled_by_its_command: SettledAs | None = None
        """It lost its job to nobody else: a command that it ran has settled it, and as what."""
        self.interrupted_by: BaseException | None = None
        """What the database failed with when a phase began or ended, or its connection broke within."""
        self.around: Around | None = None
        """Enters the middleware of a phase."""
        self._stage = _Stage.BEGUN
        self._conn: Connection | None = None
        self._info: dict[object, object] | None = None  # of the connection, which is pooled
        self._transaction: RootTransaction | None = None
        self._locked: Locked | None = None
        self._committing = False
        self._lane: Lane | None = None

    # --- what handlers use ---------------------------------------------------------------------------------------

    @property
    def lost(self) -> LostReason | None:
        """Why the job is not this attempt's any more; None while it is. Nothing that a lost attempt does is kept."""
        return self._lost

    def wait(self, seconds: float) -> LostReason | None:
        """Sleep, at most until the attempt is lost; returns the reason if it is."""
        with _MAKING:
            told = self._lost_told = self._lost_told or threading.Event()
        if self._lost is None:
            told.wait(seconds)
        return self._lost

    def raise_if_lost(self) -> None:
        """End the handler if the attempt is lost.

        Raises:
            AttemptLostError: It is.
        """
        if self._lost is not None:
            raise AttemptLostError(f"the attempt lost its job {self.held.id}: {self._lost}", reason=self._lost)

    def prepare(self) -> Phase:
        """A transaction to read what the work needs; committed at the end of the block."""
        return Phase(self, "prepare", self._open_prepare, self._close_prepare)

    def complete(self) -> Phase:
        """The completing transaction: the block's SQL, the output and what follows commit together.

        They do so once the handler has returned; an error after the block undoes it too.
        """
        return Phase(self, "complete", self._open_complete, self._close_complete)

    # --- phases, run on the attempt's own thread -----------------------------------------------------------------

    def _open_prepare(self) -> Connection:
        if self._stage is not _Stage.BEGUN:
            raise self._wrong_call("prepare")
        conn = self._begin()
        self._stage = _Stage.PREPARING
        return conn

    def _close_prepare(self, error: BaseException | None) -> None:
        try:
            if error is not None:
                self._notice_break(error)
            else:
                conn = self._own_connection()
                with self._database():
                    self._store.release_savepoint(conn)
                self._commit()
                self._stage = _Stage.PREPARED
        finally:
            self.roll_back()

    def _open_complete(self) -> Connection:
        if self._stage not in {_Stage.BEGUN, _Stage.PREPARED}:
            raise self._wrong_call("complete")
        before, self._stage = self._stage, _Stage.COMPLETING
        try:
            return self._begin()
        except BaseException:
            self._stage = before
            raise

    def _close_complete(self, error: BaseException | None) -> None:
        self._stage = _Stage.PREPARED  # the handler may catch an error and complete otherwise
        if error is not None:
            self._notice_break(error)
            self.roll_back()
            return
        try:
            self._own_connection()
        except BaseException:
            self.roll_back()
            raise
        self._stage = _Stage.COMPLETED

    def _wrong_call(self, name: str) -> ProcessorError:
        return ProcessorError(f"the handler of '{self.held.type_name}' called {name}() {self._stage.value}")

    def _begin(self) -> Connection:
        """Begin a transaction that holds the chain, with a savepoint for the handler's SQL."""
        self._turns.acquire()
        try:
            self.raise_if_lost()
            with self._database():
                conn = self._conn = self._store.engine.connect()
        except BaseException:
            self._turns.release()
            raise
        with self._database():
            try:
                self._transaction = conn.begin()
                self._info = conn.info
                self._info[COMMIT_GUARD] = self._refuse_commit
                self._locked = self._store.hold(conn, self.held.chain_id)
                if self._locked is not None and is_held(self._locked, self.held):
                    return conn
                state = lost_reason(self._store.states(conn, [self.held.id]).get(self.held.id))
            except BaseException:
                self.roll_back()
                raise
        self.roll_back()
        self.lose(state)
        raise AttemptLostError(f"the attempt lost its job {self.held.id}: {state}", reason=state)

    def _own_connection(self) -> Connection:
        """The connection, if its transaction is still the one that the phase began."""
        conn, transaction = self._conn, self._transaction
        if conn is None or transaction is None or not transaction.is_active or conn.closed:
            raise self._not_its_own()
        return conn

    def _commit(self) -> None:
        assert self._transaction is not None  # noqa: S101 - _own_connection looked
        self._committing = True
        try:
            with self._database():
                self._transaction.commit()
        finally:
            self._committing = False

    def _refuse_commit(self, driver: PoolProxiedConnection) -> None:
        """Called before a commit: the handler's SQL is only kept together with its outcome."""
        if not self._committing:
            driver.rollback()  # here, because SQLAlchemy takes a commit that failed for the end
            raise self._not_its_own()

    def _notice_break(self, error: BaseException) -> None:
        """Remember an error of the handler's SQL that is none of its making: the connection broke under it."""
        if self._conn is not None and isinstance(error, Exception) and self._store.is_broken(self._conn, error):
            self.interrupted_by = error

    def _not_its_own(self) -> ProcessorError:
        return ProcessorError(f"the handler of '{self.held.type_name}' ended a transaction that is not its own")

    def _database(self) -> Translated:
        """Raise the driver's errors as jobctl's, and remember that it was not the handler who failed."""
        return self._store.translated(self._heed)

    def _heed(self, error: BaseException) -> None:
        if isinstance(error, TryAgainError):
            self.interrupted_by = error

    # --- what the worker uses ------------------------------------------------------------------------------------

    def lose(self, reason: LostReason) -> None:
        """Tell the handler that the job is not its any more."""
        if self._lost is None:
            self._lost = reason
            if self._lost_told is not None:
                self._lost_told.set()
            if self._on_lost is not None:
                self._on_lost()

    def on_lost(self, call: Callable[[], object]) -> None:
        """Have this called, from any thread, when the attempt is lost."""
        self._on_lost = call
        if self._lost is not None:
            call()

    def settled_inside(self) -> bool:
        """Ask the database whether a command of this attempt has settled the job, which then is lost, and all is well.

        Raises:
            TryAgainError: It cannot be asked.
        """
        with self._store.work(read_only=True) as conn:
            self.settled_by_its_command = settled_inside(conn, self.held)
        if self.settled_by_its_command is None:
            return False
        self.lose(LostReason.ALREADY_COMPLETED)
        return True

    @property
    def completing(self) -> bool:
        """Whether the handler's completing transaction is open, waiting for the outcome."""
        return self._stage is _Stage.COMPLETED

    def settle(self, outcome: Outcome) -> Settled:
        """Settle the job in the completing transaction and commit. Nobody is told yet: that is the worker's to do."""
        conn, locked = self._own_connection(), self._locked
        assert locked is not None  # noqa: S101 - the phase began with it
        try:
            with self._database():
                settled = self._store.settle_held(conn, Settlement(self.held, outcome), locked)
            self._commit()
        finally:
            self.roll_back()
        return settled

    def roll_back(self) -> None:
        """Undo what is open, and give the connection back. Does nothing when nothing is open."""
        conn, self._conn = self._conn, None
        if conn is None:
            return
        try:
            if self._info is not None:  # the handler may have closed the connection, and somebody else will have it
                self._info.pop(COMMIT_GUARD, None)
            with suppress(SQLAlchemyError):  # a connection that is lost is rolled back by the database
                self._store.give_back(conn)
        finally:
            self._turns.release()

    def disconnect(self) -> None:
        """Cut the connection from another thread, so that the database lets go of what the attempt has locked."""
        conn = self._conn
        if conn is not None:
            with suppress(SQLAlchemyError):  # its own thread has closed it in this moment
                self._store.cut(conn)

    def lane(self) -> Lane:
        """The thread on which a coroutine's phases run: a database connection belongs to one thread."""
        if self._lane is None:
            self._lane = Lane(f"jobctl-attempt-{self.held.id}")
        return self._lane

    def close_lane(self) -> None:
        """End that thread."""
        if self._lane is not None:
            self._lane.close()


class Phase:
    """A transaction of a staged attempt, as a context manager for functions and for coroutines."""

    def __init__(
        self,
        attempt: Attempt,
        name: str,
        open_: Callable[[], Connection],
        close: Callable[[BaseException | None], None],
    ) -> None:
        self._attempt = attempt
        self._name = name
        self._open = open_
        self._close = close
        self._middleware: ExitStack | None = None

    def __enter__(self) -> Connection:
        conn = self._open()
        if self._attempt.around is not None:
            try:
                self._middleware = self._attempt.around(self._name, conn)
            except BaseException as error:
                self._close(error)
                raise
        return conn

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._middleware is None:
            self._close(error)
            return
        try:
            swallowed = self._middleware.__exit__(kind, error, trace)
        except BaseException as raised:
            self._close(raised)
            raise
        self._close(error)
        if swallowed:
            raise ProcessorError("a middleware has swallowed the error of a block: raise it again") from error

    async def __aenter__(self) -> LaneConnection:
        lane = self._attempt.lane()
        return LaneConnection(lane, await lane.run(self.__enter__))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._attempt.lane().run(self.__exit__, kind, error, trace)
