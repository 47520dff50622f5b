"""Waiting for chains: by notification, with polling as the fall-back."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from jobctl.errors import UnsuccessfulError, WaitTimeoutError
from jobctl.finding import one
from jobctl.model import Chain, Status
from jobctl.storage import reading
from jobctl.storage.decoding import chain_of
from jobctl.storage.records import CLOSED
from jobctl.storage.store import Store
from jobctl.wording import said

POLL_SECONDS = 1.0
"""Between two looks at awaited chains when no notification comes."""

ASK_SECONDS = 0.1
"""How often the caller is asked whether to go on."""

MOST_NAMED = 3
"""How many of the chains still open an error names in its message; it has all of them as a fact."""


def wait_for(
    store: Store,
    wanted: Sequence[str],
    enough: int,
    timeout: float | None,
    on_closed: Callable[[Chain], None],
    cancelled: Callable[[], bool],
) -> dict[str, Chain]:
    """Wait until enough of these chains are closed, or have failed; see ``Client.wait``.

    Raises:
        NotFoundError: There is no such chain, or it was deleted meanwhile.
        WaitTimeoutError: The seconds ran out.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    done: dict[str, Chain] = {}
    watch = store.watch(CLOSED)
    try:
        watch.wait(0)  # listen before the first look, so that nothing falls between
        while True:
            _collect(store, wanted, done, on_closed)
            open_ = [each for each in wanted if each not in done]
            if len(done) >= enough or cancelled():
                return {each: done[each] for each in wanted if each in done}
            next_look = time.monotonic() + POLL_SECONDS
            while (now := time.monotonic()) < next_look and not cancelled():
                if deadline is not None and now >= deadline:
                    raise WaitTimeoutError(_still_open(open_, len(wanted)), open=open_)
                if watch.wait(min(ASK_SECONDS, next_look - now, (deadline or next_look) - now)):
                    break
    finally:
        watch.close()


def _collect(store: Store, wanted: Sequence[str], done: dict[str, Chain], on_closed: Callable[[Chain], None]) -> None:
    """Add the chains that closed since."""
    open_ = [each for each in wanted if each not in done]
    with store.transaction(read_only=True) as conn:
        rows = reading.chains(conn, open_)
    for id_ in open_:
        chain = chain_of(one(rows, id_, "chain"))
        if chain.status.closed or chain.status is Status.FAILED:
            done[id_] = chain
            on_closed(chain)


def require_completed(chain: Chain) -> Chain:
    """The chain, if it ended with an output.

    Raises:
        UnsuccessfulError: It failed or was cancelled.
    """
    if chain.status is not Status.COMPLETED:
        reason = f": {said(chain.last_error)}" if chain.last_error else ""
        raise UnsuccessfulError(f"the chain {chain.id} is {chain.status}{reason}", id=chain.id, status=chain.status)
    return chain


def _still_open(open_: Sequence[str], awaited: int) -> str:
    if awaited == 1:
        return f"the chain {open_[0]} is still open"
    more = f" and {len(open_) - MOST_NAMED} more" if len(open_) > MOST_NAMED else ""
    return f"{len(open_)} of {awaited} chains are still open: {', '.join(open_[:MOST_NAMED])}{more}"
