"""What the worker's tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from worker.workshop import MODES, TRANSACTIONAL, Workshop

from jobctl.storage.open import open_store
from jobctl.storage.store import Store


@pytest.fixture
def open_stores() -> Iterator[Callable[[str], Store]]:
    """Opens stores that are closed after the test."""
    opened: list[Store] = []

    def open_one(url: str) -> Store:
        opened.append(open_store(url))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


@pytest.fixture
def shop(store: Store, database_url: str, open_stores: Callable[[str], Store]) -> Iterator[Workshop]:
    """A database, of each kind, and workers on it that end with the test."""
    made = Workshop(store, lambda: open_stores(database_url))
    yield made
    made.end()


@pytest.fixture
def postgres_shop(postgres_url: str, open_stores: Callable[[str], Store]) -> Iterator[Workshop]:
    """The same on PostgreSQL."""
    made = Workshop(open_stores(postgres_url), lambda: open_stores(postgres_url))
    yield made
    made.end()


@pytest.fixture
def sqlite_shop(sqlite_url: str, open_stores: Callable[[str], Store]) -> Iterator[Workshop]:
    """The same on SQLite."""
    made = Workshop(open_stores(sqlite_url), lambda: open_stores(sqlite_url))
    yield made
    made.end()


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    """Each mode of handlers."""
    return str(request.param)


@pytest.fixture(params=TRANSACTIONAL)
def transactional(request: pytest.FixtureRequest) -> str:
    """Each mode of handlers with a completing transaction."""
    return str(request.param)
