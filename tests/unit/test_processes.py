"""Commands are fed and read within their limits, and none is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import InThread, eventually

from jobctl import warden
from jobctl.processes import TAIL_BYTES, Command, Commands, Ran, Stopped

HERE = {"PATH": os.environ["PATH"]}


@pytest.fixture
def commands() -> Iterator[Commands]:
    made = Commands()
    yield made
    made.close()


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warden, "GRACE_SECONDS", 0.2)


def sh(text: str, **limits) -> Command:
    return Command(("sh", "-c", text), **limits)


def python(text: str, **limits) -> Command:
    return Command((sys.executable, "-S", "-c", text), **limits)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be looked after by its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def pid_in(file: Path) -> int:
    return int(eventually(lambda: file.exists() and file.read_text().endswith("\n") and file.read_text()))


def test_streams_and_code(commands: Commands):
    """What was given is on stdin, stdout is what came, stderr apart, and the exit code is told."""
    ran = commands.run(sh("cat; echo no >&2; exit 3"), "grüße".encode(), HERE)
    assert ran == Ran(3, "grüße".encode(), "no", None)


def test_environment_is_all(commands: Commands):
    """The environment is the one given and no other."""
    assert commands.run(Command(("env",)), b"", {**HERE, "A": "1"}).out.decode() == f"PATH={HERE['PATH']}\nA=1\n"


def test_much_both_ways(commands: Commands):
    """Megabytes in and out at the same time, far more than pipes hold, do not stop each other."""
    given = b"x" * 3_000_000
    ran = commands.run(Command(("cat",), max_output=len(given)), given, HERE)
    assert (ran.code, ran.out == given, ran.stopped) == (0, True, None)


@pytest.mark.parametrize("text", ["exec <&-; sleep 0.1; echo done", "echo done"])
def test_stdin_is_not_read(commands: Commands, text: str):
    """A command that does not read its stdin, or closes it, ends like any other."""
    assert commands.run(sh(text), b"x" * 1_000_000, HERE) == Ran(0, b"done\n", "", None)


def test_output_limit(commands: Commands):
    """More on stdout than allowed ends the command, and exactly as much as allowed does not."""
    assert commands.run(sh("printf 12345", max_output=5), b"", HERE) == Ran(0, b"12345", "", None)
    ran = commands.run(sh("yes", max_output=5000), b"", HERE)
    assert (ran.stopped, len(ran.out)) == (Stopped.OUTPUT, 5001)
    assert commands.run(sh("printf 123456", max_output=5), b"", HERE).stopped is Stopped.OUTPUT


def test_tail_of_stderr(commands: Commands):
    """Of a stderr without end only the last whole lines are kept, and the command is not ended."""
    ran = commands.run(sh("seq 100000 >&2; echo last >&2"), b"", HERE)
    assert ran.stopped is None
    first, *lines = ran.err.splitlines()
    assert first.startswith("…")
    assert [*range(100001 - len(lines), 100001)] == list(map(int, [first[1:], *lines[:-1]]))
    assert lines[-1] == "last"
    assert TAIL_BYTES - 10 < len(ran.err.encode()) <= TAIL_BYTES


def test_echo():
    """What goes to stderr can be seen while the command runs."""
    seen: list[bytes] = []
    commands = Commands(seen.append)
    commands.run(sh("echo one >&2; echo two >&2"), b"", HERE)
    commands.close()
    assert b"".join(seen) == b"one\ntwo\n"


def test_cannot_be_run(commands: Commands, tmp_path: Path):
    """What is not there, or no program, is an error."""
    (tmp_path / "text").write_text("no program")
    with pytest.raises(FileNotFoundError):
        commands.run(Command(("/nowhere/to/be/found",)), b"", HERE)
    with pytest.raises(PermissionError):
        commands.run(Command((str(tmp_path / "text"),)), b"", HERE)


# --- ending ----------------------------------------------------------------------------------------------------------


def test_timeout_ends_the_group(commands: Commands, tmp_path: Path):
    """After the timeout SIGTERM goes to the command and all that it started."""
    file = tmp_path / "pid"
    ran = commands.run(sh(f"sleep 600 & echo $! > {file}; wait", timeout=0.3), b"", HERE)
    assert (ran.stopped, ran.code) == (Stopped.TIMEOUT, -15)
    assert not is_alive(pid_in(file))


def test_last_words(commands: Commands):
    """A command may clean up and say so before it ends."""
    text = "trap 'echo bye >&2; exit 0' TERM; echo up >&2; while :; do sleep 0.01; done"
    ran = commands.run(sh(text, timeout=0.3), b"", HERE)
    assert (ran.stopped, ran.code) == (Stopped.TIMEOUT, 0)
    assert ran.err.startswith("up\n")
    assert ran.err.endswith("\nbye")


def test_the_rest_of_the_group_has_the_grace_too(commands: Commands, tmp_path: Path):
    """A shell that dies at once does not take the time to clean up from the program that it has started."""
    program = "trap 'sleep 0.3; echo clean > file; exit' TERM; touch up; while :; do sleep 0.01; done"
    text = f'cd {tmp_path}; sh -c "{program}" & wait'
    asked = threading.Event()
    running = InThread(lambda: commands.run(sh(text), b"", HERE, asked.is_set))
    eventually((tmp_path / "up").exists)
    asked.set()
    assert running.result().stopped is Stopped.ASKED
    assert (tmp_path / "file").read_text() == "clean\n"


@pytest.mark.usefixtures("short_grace")
def test_sigterm_is_ignored(commands: Commands, tmp_path: Path):
    """What ignores SIGTERM is killed after the grace, the command and what it started."""
    text = "trap '' TERM; sleep 600 & echo $! > pid; touch up; while :; do sleep 0.01; done"
    asked = threading.Event()
    running = InThread(lambda: commands.run(sh(f"cd {tmp_path}; {text}"), b"", HERE, asked.is_set))
    child = pid_in(tmp_path / "pid")
    asked.set()
    assert running.result() == Ran(-9, b"", "", Stopped.ASKED)
    eventually(lambda: not is_alive(child))


def test_left_behind(commands: Commands, tmp_path: Path):
    """What a command leaves running may hold its pipes: its output is taken, and nobody waits for that one."""
    file = tmp_path / "pid"
    since = time.monotonic()
    ran = commands.run(sh(f"echo 1; sleep 600 & echo $! > {file}"), b"x" * 1_000_000, HERE)
    assert ran == Ran(0, b"1\n", "", None)
    assert time.monotonic() - since < 10
    left = pid_in(file)
    assert is_alive(left)  # it ended by itself, so what it left is meant
    os.kill(left, 9)


def test_left_writing(commands: Commands):
    """One that is left and writes without end is not read without end."""
    ran = commands.run(sh("yes >&2 & echo 1"), b"", HERE)
    assert (ran.code, ran.out, ran.stopped) == (0, b"1\n", None)


def test_pipes_closed_early(commands: Commands):
    """A command that closes its streams and works on is waited for."""
    ran = commands.run(sh("exec >&- 2>&-; sleep 0.3; exit 4"), b"", HERE)
    assert (ran.code, ran.stopped) == (4, None)


def test_timeout_with_pipes_closed(commands: Commands):
    """It is ended by its timeout all the same."""
    ran = commands.run(sh("exec >&- 2>&-; sleep 600", timeout=0.2), b"", HERE)
    assert ran.stopped is Stopped.TIMEOUT


def test_close_ends_all(tmp_path: Path):
    """Closing ends all commands and waits until they have; what is asked for later is ended at once."""
    commands = Commands()
    running = [InThread(lambda n=n: commands.run(sh(f"touch {tmp_path}/{n}; sleep 600"), b"", HERE)) for n in range(3)]
    eventually(lambda: len(list(tmp_path.iterdir())) == 3)
    commands.close()
    assert [each.result(1).stopped for each in running] == [Stopped.ASKED] * 3
    assert commands.run(Command(("sleep", "600")), b"", HERE).stopped is Stopped.ASKED
    commands.close()


def test_no_descriptor_is_left(commands: Commands):
    """However a command ends, nothing of it stays open."""
    commands.run(Command(("true",)), b"", HERE)  # with it the process that watches
    before = sorted(Path("/proc/self/fd").iterdir())
    commands.run(sh("sleep 600", timeout=0.1), b"x" * 1_000_000, HERE)
    commands.run(sh("sleep 0.1 & yes", max_output=1), b"x" * 1_000_000, HERE)
    commands.run(sh("sleep 0.6 &"), b"x" * 1_000_000, HERE)
    with pytest.raises(FileNotFoundError):
        commands.run(Command(("/nowhere/to/be/found",)), b"", HERE)
    assert sorted(Path("/proc/self/fd").iterdir()) == before


# --- the process that outlives this one ------------------------------------------------------------------------------

RUNNING = """
import os, sys, threading
from jobctl.processes import Command, Commands
commands = Commands()
text = "cat; sleep 600 & echo $! > child; echo $$ > leader; wait"
commands.run(Command(("true",)), b"", dict(os.environ))
commands.run(Command(("sh", "-c", text)), b"", dict(os.environ))
"""


def test_killed(tmp_path: Path, spawn: Callable):
    """When this process is killed, its commands are ended with all that they started."""
    running = spawn("-c", RUNNING, python=True, cwd=tmp_path)
    leader, child = pid_in(tmp_path / "leader"), pid_in(tmp_path / "child")
    running.kill()
    eventually(lambda: not is_alive(leader) and not is_alive(child))


def test_warden_ends_what_is_left(tmp_path: Path):
    """At the end of its input it ends the groups that are left, and none that has ended before; it ignores signals."""
    groups = [subprocess.Popen(["sleep", "600"], start_new_session=True) for _ in range(2)]
    process = subprocess.Popen([sys.executable, "-I", "-S", warden.__file__], stdin=subprocess.PIPE)
    lines = f"+{groups[0].pid}\n+{groups[1].pid}\n-{groups[1].pid}\n"
    process.communicate(lines.encode(), timeout=20)
    assert process.returncode == 0
    assert groups[0].wait(20) == -15
    assert groups[1].poll() is None
    groups[1].kill()
    groups[1].wait()
