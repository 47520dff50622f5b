"""systemd hears that a worker is ready, that it stops, and that it is alive."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import Running, eventually

from jobctl.cli.supervision import Supervisor

HANDLERS = """
from jobctl import Job, processor

@processor("a")
def a(job: Job): ...
"""


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[socket.socket]:
    """A datagram socket, as systemd has one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as found:
        found.bind(str(tmp_path / "notify"))
        found.settimeout(20)
        yield found


@pytest.fixture
def spawn_worker(workplace: Path, tmp_path: Path, spawn: Callable[..., Running]) -> Callable[..., Running]:
    """Starts a worker that is told of the socket."""
    (workplace / "handlers.py").write_text(HANDLERS)

    def start(*args: str, **env: str) -> Running:
        return spawn(
            *("worker", "--processors", "handlers", *args), env={"NOTIFY_SOCKET": str(tmp_path / "notify"), **env}
        )

    return start


def heard(listening: socket.socket) -> list[str]:
    return listening.recv(4096).decode().split("\n")


@pytest.mark.usefixtures("database_url")
def test_ready_alive_stopping(listening: socket.socket, spawn_worker: Callable[..., Running]):
    """A worker tells that it is ready, then that it is alive, however seldom it polls, and that it stops."""
    working = spawn_worker("--poll", "1h", WATCHDOG_USEC="300000")
    assert heard(listening) == ["READY=1", "STATUS=works a"]
    for _ in range(3):
        assert heard(listening) == ["WATCHDOG=1"]
    working.send(signal.SIGTERM)
    told = heard(listening)
    while told == ["WATCHDOG=1"]:
        told = heard(listening)
    assert told == ["STOPPING=1", "STATUS=stopping, 0 running"]
    assert working.wait().code == 143


@pytest.mark.usefixtures("sqlite_url")
def test_without_watchdog(listening: socket.socket, spawn_worker: Callable[..., Running]):
    """Without a watchdog, or with that of another process, only the beginning and the end are told."""
    for env in ({}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}):
        working = spawn_worker(**env)
        assert heard(listening)[0] == "READY=1"
        assert working.stop().code == 143
        assert heard(listening)[0] == "STOPPING=1"


@pytest.mark.usefixtures("sqlite_url")
def test_nobody_listens(tmp_path: Path, spawn_worker: Callable[..., Running]):
    """A supervisor that does not hear stops no work."""
    working = spawn_worker("--drain", NOTIFY_SOCKET=str(tmp_path / "gone"), WATCHDOG_USEC="1000")
    assert working.wait().code == 0


class Stuck:
    """A worker whose loop does not go around."""

    def __init__(self) -> None:
        self.asked = 0

    def answers(self, within: float) -> bool:
        self.asked += 1
        return False


def test_stuck_worker_is_not_alive(listening: socket.socket, tmp_path: Path):
    """A process whose worker does not answer does not pretend that it is alive."""
    stuck = Stuck()
    with Supervisor(str(tmp_path / "notify"), 0.003).watching(stuck):
        eventually(lambda: stuck.asked > 3)
    listening.setblocking(False)
    with pytest.raises(BlockingIOError):
        listening.recv(100)


def test_children_do_not_see_it(monkeypatch: pytest.MonkeyPatch):
    """What names the supervisor is taken out of the environment; a socket may have an abstract name."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as abstract:
        abstract.bind(f"\0jobctl-test-{os.getpid()}")
        monkeypatch.setenv("NOTIFY_SOCKET", f"@jobctl-test-{os.getpid()}")
        monkeypatch.setenv("WATCHDOG_USEC", "1000000")
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
        Supervisor.of_environment().notify(READY="1")
        assert abstract.recv(100) == b"READY=1"
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & os.environ.keys()
