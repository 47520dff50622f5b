"""Connections to PostgreSQL: from a URL, and one that listens."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from jobctl.errors import UsageError

CONNECT_TIMEOUT = 10
"""Seconds that a connection may take, unless the URL or PGCONNECT_TIMEOUT says."""

NOTICING = {"tcp_user_timeout": 30_000, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 4}
"""Milliseconds and seconds, unless the URL says: so a server that is gone without a word is given up after half a
minute, as long as a lease holds, and not after the quarter of an hour or the two that systems wait."""

logging.getLogger("psycopg").addHandler(logging.NullHandler())  # who set up no logging gets no lines of its on stderr


class Address:
    """Where a database is, and as whom to connect to it.

    Attributes:
        label: The URL for people: without the password, and without what a libpq variable or file adds.
    """

    def __init__(self, url: str) -> None:
        """Read a URL.

        Raises:
            UsageError: It is none.
        """
        parameters = _read(url)
        user = f"{parameters['user']}@" if "user" in parameters else ""
        port = f":{parameters['port']}" if "port" in parameters else ""
        self.label = f"postgresql://{user}{parameters.get('host', '')}{port}/{parameters.get('dbname', '')}"
        self._url = url
        self._defaults: dict[str, Any] = {}
        if "connect_timeout" not in parameters and "PGCONNECT_TIMEOUT" not in os.environ:
            self._defaults["connect_timeout"] = CONNECT_TIMEOUT
        for name, value in NOTICING.items():
            if name not in parameters:
                self._defaults[name] = value
        if "application_name" not in parameters and "PGAPPNAME" not in os.environ:
            self._defaults["application_name"] = "jobctl"

    def connect(self) -> psycopg.Connection[Any]:
        """A new connection. libpq reads the URL itself: several hosts, service files, .pgpass, PG* variables."""
        conn = psycopg.connect(self._url, **self._defaults)
        conn.isolation_level = psycopg.IsolationLevel.READ_COMMITTED  # said with each BEGIN: see postgres_isolation.py
        return conn


class Listener:
    """A connection of its own that listens; reconnects by itself, at most once per wait."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]], channels: tuple[str, ...]) -> None:
        self._connect = connect
        self._channels = channels
        self._conn: psycopg.Connection[Any] | None = None

    def wait(self, seconds: float) -> Mapping[str, set[str]] | None:
        try:
            fresh = self._conn is None
            conn = self._listen()
            if fresh:
                return None  # what was told before anybody listened is not known
            told: dict[str, set[str]] = {}
            for notice in conn.notifies(timeout=seconds, stop_after=1):
                told.setdefault(notice.channel, set()).add(notice.payload)
        except psycopg.Error:
            broken = self._conn
            self.close()
            if broken is None:
                time.sleep(seconds)  # the server is away: do not ask it again at once
            return None
        return told

    def _listen(self) -> psycopg.Connection[Any]:
        if self._conn is None:
            conn = self._connect()
            conn.autocommit = True
            for channel in self._channels:
                conn.execute(f"LISTEN {channel}".encode())
            self._conn = conn
        return self._conn

    def close(self) -> None:
        if self._conn is not None:
            self._conn.close()
            self._conn = None


def _read(url: str) -> dict[str, Any]:
    """The parts of a URL. Nothing of it is quoted in an error: a part may be a piece of a password."""
    malformed = UsageError(
        "the database URL cannot be read: it is postgresql://user:password@host:port/name, "
        "where special characters of a password are written as %40 and the like"
    )
    try:
        parameters = conninfo_to_dict(url)
    except psycopg.Error:
        raise malformed from None
    hosts = str(parameters.get("host", ""))
    ports = str(parameters.get("port", ""))
    if ("@" in hosts and not hosts.startswith("@")) or not all(port.isdigit() for port in ports.split(",") if port):
        raise malformed
    return parameters
