"""Commands: run in process groups of their own, fed and read within limits, and ended for certain."""

from __future__ import annotations

import math
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from typing import IO, Final, NamedTuple

from jobctl import warden
from jobctl.forking import in_forked_children

SHELL: Final = "/bin/sh"

MAX_OUTPUT: Final = 1_000_000
"""Bytes that a command may write to stdout, unless it says otherwise."""

TAIL_BYTES: Final = 8_000
"""What is kept of stderr: its end."""

LOOK_SECONDS: Final = 0.05
"""How often to look whether a command has ended, or is to be ended, while it writes nothing."""

PIPE_SECONDS: Final = 0.5
"""How long to read on after a command has ended: what it left running may hold its pipes open for ever."""


@dataclass(frozen=True, slots=True)
class Command:
    """What to run, and its limits.

    Attributes:
        words: The program and its arguments.
        timeout: Seconds after which it is ended; None: never.
        max_output: Bytes that it may write to stdout.
    """

    words: tuple[str, ...]
    timeout: float | None = None
    max_output: int = MAX_OUTPUT

    @property
    def name(self) -> str:
        """What to call it: the program, or all that a shell is to run."""
        program, *rest = self.words
        return rest[1] if program == SHELL and rest[:1] == ["-c"] else os.path.basename(program)  # noqa: PTH119


class Stopped(Enum):
    """Why a command was ended before its time."""

    TIMEOUT = "timeout"
    OUTPUT = "output"
    ASKED = "asked"


class Ran(NamedTuple):
    """How a command ran.

    Attributes:
        code: Its exit code; negative: the signal that ended it.
        out: What it wrote to stdout.
        err: The end of what it wrote to stderr.
        stopped: Why it was ended; None: it ended by itself.
    """

    code: int
    out: bytes
    err: str
    stopped: Stopped | None


def never() -> bool:
    """Nobody asks for an end."""
    return False


class Commands:
    """Runs commands, each on the thread that asks for it, and ends those that still run when it is closed.

    Should this process be killed, another one ends them: see ``warden``.
    """

    def __init__(self, echo: Callable[[bytes], object] | None = None) -> None:
        """Make one; nothing is started before the first command.

        Args:
            echo: Called with what commands write to stderr, as they do.
        """
        self._echo = echo
        self._closing = False
        self._running = 0
        self._changed = threading.Condition()
        self._warden = _Warden()

    def run(
        self, command: Command, given: bytes, environment: Mapping[str, str], asked: Callable[[], bool] = never
    ) -> Ran:
        """Run a command to its end.

        Args:
            command: What to run.
            given: Its stdin.
            environment: All of its environment; the program is looked for in its PATH.
            asked: Asked about twenty times a second; once true, the command is ended.

        Raises:
            OSError: It cannot be run.
        """
        with self._counted():
            self._warden.start()  # before: from the command's first moment on, a line is all that it takes
            process = subprocess.Popen(  # noqa: S603 - what to run is the user's to say
                command.words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=environment,
                start_new_session=True,  # a group of its own, which the terminal's Ctrl-C does not reach
            )
            self._warden.tell("+", process.pid)  # before its stdin: who has read that is known to be there
            try:
                return _Talk(command, process, given, lambda: self._closing or asked(), self._echo).to_the_end()
            finally:
                self._warden.tell("-", process.pid)

    def close(self) -> None:
        """End what runs, and wait until it has."""
        with self._changed:
            self._closing = True
            self._changed.wait_for(lambda: self._running == 0, warden.GRACE_SECONDS + 1)
        self._warden.close()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._changed:
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()


class _Warden:
    """The process that outlives this one for as long as it takes to end its commands; started with the first."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._ends = ExitStack()

    def start(self) -> None:
        with self._guard:
            if self._process is None:
                self._process = subprocess.Popen(  # noqa: S603 - this interpreter, and a file of ours
                    [sys.executable, "-I", "-S", warden.__file__],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    bufsize=0,
                    cwd="/",
                    start_new_session=True,
                )
                # a handler's child that held the pipe, too, would keep it from ending with this process
                self._ends.callback(in_forked_children(_pipe(self._process.stdin).close))

    def tell(self, sign: str, group: int) -> None:
        with self._guard:
            if self._process is not None:
                with suppress(OSError):  # somebody killed it: there is nothing to be done about that
                    _pipe(self._process.stdin).write(f"{sign}{group}\n".encode())

    def close(self) -> None:
        with self._guard:
            if self._process is not None:
                self._ends.close()
                _pipe(self._process.stdin).close()
                self._process.wait()
                self._process = None


class _Talk:
    """Feeds a process, reads what it writes, and ends its group when there is a reason to."""

    def __init__(
        self,
        command: Command,
        process: subprocess.Popen[bytes],
        given: bytes,
        asked: Callable[[], bool],
        echo: Callable[[bytes], object] | None,
    ) -> None:
        self._command = command
        self._process = process
        self._asked = asked
        self._echo = echo
        self._given = memoryview(given)
        self._out, self._err = bytearray(), bytearray()
        self._err_cut = False
        self._stopped: Stopped | None = None
        self._killed = False
        self._deadline = math.inf if command.timeout is None else time.monotonic() + command.timeout
        self._kill_at = self._leave_at = math.inf
        self._selector = selectors.PollSelector()
        os.set_blocking(_pipe(process.stdin).fileno(), False)
        self._reading = 2  # pipes
        self._selector.register(_pipe(process.stdin), selectors.EVENT_WRITE, self._feed)
        self._selector.register(_pipe(process.stdout), selectors.EVENT_READ, self._read_out)
        self._selector.register(_pipe(process.stderr), selectors.EVENT_READ, self._read_err)

    def to_the_end(self) -> Ran:
        """Talk until the process has ended, and its pipes have or are given up."""
        try:
            while not self._is_over():
                self._exchange()
                self._stop_if_due()
        finally:
            self._leave()
        text = bytes(self._err).decode("utf-8", "replace")
        if self._err_cut:
            _, _, whole = text.partition("\n")  # its first line has lost its beginning
            text = f"…{whole or text}"
        return Ran(self._process.returncode, bytes(self._out), text.strip(), self._stopped)

    # --- pipes ---------------------------------------------------------------------------------------------------

    def _exchange(self) -> None:
        """Write and read what can be, or wait a moment."""
        if not self._selector.get_map():
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(LOOK_SECONDS)
            if self._process.returncode is not None and self._stopped is not None:
                time.sleep(warden.LOOK_SECONDS)  # the rest of its group takes longer
            return
        for key, _ in self._selector.select(LOOK_SECONDS):
            key.data(key.fileobj)

    def _feed(self, pipe: IO[bytes]) -> None:
        try:
            self._given = self._given[os.write(pipe.fileno(), self._given[:65536]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # it does not want to read on
            self._given = memoryview(b"")
        if not self._given:
            self._close(pipe)

    def _read_out(self, pipe: IO[bytes]) -> None:
        self._out += self._read(pipe)
        del self._out[self._command.max_output + 1 :]

    def _read_err(self, pipe: IO[bytes]) -> None:
        data = self._read(pipe)
        if data and self._echo is not None:
            self._echo(data)
        self._err += data
        if len(self._err) > TAIL_BYTES:
            del self._err[:-TAIL_BYTES]
            self._err_cut = True

    def _read(self, pipe: IO[bytes]) -> bytes:
        data = os.read(pipe.fileno(), 65536)
        if not data:
            self._reading -= 1
            self._close(pipe)
        return data

    def _close(self, pipe: IO[bytes]) -> None:
        self._selector.unregister(pipe)
        pipe.close()

    # --- the end -------------------------------------------------------------------------------------------------

    def _is_over(self) -> bool:
        if self._process.poll() is None:
            return False
        if self._stopped is not None and not self._killed and warden.send(self._process.pid, 0):
            return False  # some of its group are still at it
        self._leave_at = min(self._leave_at, time.monotonic() + PIPE_SECONDS)
        return time.monotonic() >= self._leave_at or not self._reading

    def _stop_if_due(self) -> None:
        """End the group when there is a reason to, and kill it when it does not end."""
        if self._stopped is None:
            self._stopped = self._reason()
            if self._stopped is not None:
                self._kill_at = time.monotonic() + warden.GRACE_SECONDS
                warden.send(self._process.pid, signal.SIGTERM)
        elif not self._killed and time.monotonic() >= self._kill_at:
            self._kill()

    def _reason(self) -> Stopped | None:
        if len(self._out) > self._command.max_output:
            return Stopped.OUTPUT
        if self._process.returncode is not None:
            return None
        if time.monotonic() >= self._deadline:
            return Stopped.TIMEOUT
        return Stopped.ASKED if self._asked() else None

    def _kill(self) -> None:
        self._killed = True
        warden.send(self._process.pid, signal.SIGKILL)

    def _leave(self) -> None:
        """Close what is open; whatever was raised here, no process is left."""
        if self._process.returncode is None:
            self._kill()
            self._process.wait()
        for key in list(self._selector.get_map().values()):
            self._close(key.fileobj)  # type: ignore[arg-type]
        self._selector.close()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None  # noqa: S101 - every process here is made with its pipes
    return pipe
