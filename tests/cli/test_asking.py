"""What a person is asked before much is changed, on a terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from collections.abc import Callable

import pytest
from support import Result, jobctl_command

CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r|^on sqlite:.*\r\n", re.MULTILINE)
"""What moves the cursor, and the line about the database."""


@pytest.fixture
def answered(environment: dict[str, str], sqlite_url: str) -> Callable[..., tuple[int, str]]:
    """Runs a command on a terminal and types an answer once it asks; returns the exit code and what was shown."""

    def run(answer: str, *args: str) -> tuple[int, str]:
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            jobctl_command(*args),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**environment, "JOBCTL_DATABASE": sqlite_url, "TERM": "xterm-256color"},
        )
        os.close(theirs)
        shown = b""
        typed = False
        try:
            while piece := os.read(ours, 65536):
                shown += piece
                if b"[y/N] " in shown and not typed:
                    os.write(ours, answer.encode())
                    typed = True
        except OSError:  # how Linux says that the other side is closed
            pass
        os.close(ours)
        return process.wait(30), CODES.sub("", shown.decode())

    return run


@pytest.fixture
def seven(call: Callable[..., Result], sqlite_url: str) -> list[str]:
    """Chains that are due in an hour, the oldest first."""
    at = ("--after", "1h", "--database", sqlite_url)
    return [call("start", "a", *at).out.strip() for _ in range(7)]


def left(call: Callable[..., Result], sqlite_url: str) -> int:
    return len(call("list", "--database", sqlite_url).lines)


@pytest.mark.parametrize("answer", ["y\n", "YES\n"])
def test_yes(call: Callable[..., Result], sqlite_url: str, seven: list[str], answered, answer: str):
    """A filter shows how many match and some of them, the first first, asks, and goes on when told yes."""
    code, shown = answered(answer, "delete", "--type", "a")
    lines = shown.splitlines()
    assert code == 0
    assert lines[0] == "7 chains match:"
    assert [line.split()[:3] for line in lines[1:6]] == [[each, "a", "scheduled"] for each in seven[:1:-1]]
    assert lines[6] == "  and 2 more"
    assert lines[7].startswith("Delete all of them? [y/N] ")
    assert lines[-1] == "deleted 7 chains"
    assert left(call, sqlite_url) == 0


@pytest.mark.parametrize("answer", ["n\n", "\n", "yess\n", "\x04"])
def test_anything_else(call: Callable[..., Result], sqlite_url: str, seven: list[str], answered, answer: str):
    """Anything else, or nothing, changes nothing."""
    code, shown = answered(answer, "delete", "--type", "a")
    assert code == 2
    assert shown.splitlines()[-1] == "jobctl: not confirmed: nothing is changed"
    assert left(call, sqlite_url) == 7


def test_nothing_to_ask(call: Callable[..., Result], sqlite_url: str, seven: list[str], answered):
    """Ids, --yes and --dry-run are not asked about; a script is told what to do instead."""
    for arguments in (["--type", "a", "--dry-run"], ["--type", "b"], [seven[0]], ["--type", "a", "--yes"]):
        code, shown = answered("", "delete", *arguments)
        assert code == 0
        assert "[y/N]" not in shown
    assert left(call, sqlite_url) == 0
