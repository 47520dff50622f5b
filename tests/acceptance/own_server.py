"""A server that a test may stop."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import psycopg
from postgres_server import server_url

START_AND_STOP_WITHIN = 60.0


class OwnServer:
    """A PostgreSQL server besides the one of the test run."""

    def __init__(self, folder: Path) -> None:
        self.url = server_url(folder)
        self.data = folder / "data"
        postgres, *_ = shlex.split((self.data / "postmaster.opts").read_text())
        self._pg_ctl = Path(postgres).with_name("pg_ctl")
        self._user = self.data.stat().st_uid  # not root, as which no server runs
        with psycopg.connect(self.url, autocommit=True) as conn:
            conn.execute("ALTER SYSTEM SET synchronous_commit = on")  # what is committed outlives stop()
        self.reload()

    @property
    def pid(self) -> int:
        """Its first process, whose children the others are."""
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def stop(self) -> None:
        """End it as a crash of its machine does."""
        self._control("stop", "--mode", "immediate")

    def start(self) -> None:
        """Start it again as it was, and wait until it answers."""
        self._control("restart")

    def reload(self) -> None:
        """Have it read its configuration again."""
        self._control("reload")

    def _control(self, action: str, *options: str) -> None:
        subprocess.run(
            [self._pg_ctl, action, "--wait", "--silent", "--pgdata", self.data, "--log", self.data / "log", *options],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            user=self._user if os.geteuid() == 0 else None,
            timeout=START_AND_STOP_WITHIN,
        )
