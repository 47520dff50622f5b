"""The command line in the tests' own process, a hundred times quicker than one of its own; and on a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from prepared import Forked
from support import Result

from jobctl.cli.main import run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, as a user who has set nothing up, in the time zone of UTC+2."""
    for name in [each for each in os.environ if each.startswith("JOBCTL_") or each in {"NO_COLOR", "FORCE_COLOR"}]:
        monkeypatch.delenv(name)
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("TZ", "UTC-2")  # POSIX counts westwards
    time.tzset()
    folder = tmp_path / "workplace"
    folder.mkdir()
    monkeypatch.chdir(folder)
    before = set(sys.modules)
    yield folder
    for module in [each for each in set(sys.modules) - before if _is_in(folder, each)]:
        del sys.modules[module]
    monkeypatch.undo()
    time.tzset()


def _is_in(folder: Path, module: str) -> bool:
    """Whether the module was imported from the folder, as a processor module is."""
    file = getattr(sys.modules[module], "__file__", None)
    return file is not None and Path(file).is_relative_to(folder)


@pytest.fixture
def call(here: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Runs a command line in this process, on an SQLite file in the folder ``here`` unless told another."""

    def call_one(*args: object) -> Result:
        arguments = [str(each) for each in args]
        if "--database" not in arguments:
            arguments = ["--database", f"sqlite:///{here / 'jobs.db'}", *arguments]
        capsys.readouterr()
        code = run(arguments)
        out, err = capsys.readouterr()
        return Result(code, out, err)

    return call_one


@pytest.fixture
def on_terminal(
    environment: dict[str, str], sqlite_url: str, workplace: Path, prepared: Callable[..., Forked]
) -> Callable[..., str]:
    """Runs a command on a terminal of so many columns; returns what it shows."""

    def run(*args: str, columns: int = 80, env: Mapping[str, str] | None = None) -> str:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        process = prepared(
            *args,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**environment, "JOBCTL_DATABASE": sqlite_url, "TERM": "xterm-256color", **(env or {})},
            cwd=workplace,
        )
        os.close(theirs)
        shown = b""
        try:
            while select.select([ours], [], [], 30)[0] and (piece := os.read(ours, 65536)):
                shown += piece
        except OSError:  # how Linux says that the other side is closed
            pass
        os.close(ours)
        process.wait(30)
        return shown.decode().replace("\r\n", "\n")

    return run
