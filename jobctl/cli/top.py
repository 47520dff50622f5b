"""``top``: the live view of what goes on."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from jobctl.cli import parse
from jobctl.cli.board import ROWS, TEXT_ROWS, Board, Seen
from jobctl.cli.command import command
from jobctl.cli.hiding import error_of_job
from jobctl.cli.keys import Keys
from jobctl.cli.numbers import top_document
from jobctl.cli.options import Json
from jobctl.cli.run import Run, is_terminal
from jobctl.errors import NotFoundError, TryAgainError

if TYPE_CHECKING:
    from rich.live import Live

    from jobctl.client import Client
    from jobctl.model import ChainDetail
    from jobctl.stats import Failure

WINDOW: Final = "5m"

SHARE: Final = 4
"""Between two looks passes this many times as long as a look takes: watching shall not be what the database does."""

TICK: Final = 1.0
"""Seconds after which the screen is drawn again, so that ages move on."""

WIDTH: Final = 120
"""Columns of the text that is printed where there is no screen."""

ITERATIONS: Final = range(1, 1_000_000_001)


@command(
    "top",
    section="Look",
    examples=(
        ("jobctl top", ""),
        ("jobctl top --every 10s", ""),
        ("jobctl top --every 1s --iterations 2 > looks.txt", "two looks as plain text"),
    ),
)
def top(
    run: Run,
    every: Annotated[
        str, typer.Option("--every", metavar="DURATION", help="How often to look, 100ms or more.", show_default=True)
    ] = "2s",
    iterations: Annotated[
        str | None,
        typer.Option("--iterations", metavar="N", help="End after so many looks; off a terminal 1 unless given."),
    ] = None,
    json: Json = False,
) -> None:
    """Watch what goes on: types, what runs, what fails, workers.

    On a terminal it is a screen with keys to sort, to move and to open a chain: ? lists them, q quits. Elsewhere the
    same is printed once as text, or with --iterations again and again; with --json each look is a line.
    """
    pause = parse.duration("--every", every, "100ms").total_seconds()
    looks = None if iterations is None else parse.whole("--iterations", iterations, ITERATIONS)
    with run.client() as client:
        if is_terminal(sys.stdout) and not json and not run.console().is_dumb_terminal:
            _on_screen(run, Look(client, ROWS), pause, looks)
        else:
            _in_text(run, Look(client, TEXT_ROWS), pause, looks or 1, json=json)


class Look:
    """Reads what is shown."""

    def __init__(self, client: Client, limit: int) -> None:
        self._client = client
        self._limit = limit
        self.opened: str | None = None
        """The chain to be read too."""

    def read(self) -> Seen:
        """What is there now."""
        client = self._client
        stats = client.stats(windows=[WINDOW])
        activity = client.activity(limit=self._limit)
        failures = [replace(each, error=self._error(each)) for each in activity.failures]
        activity = replace(activity, failures=tuple(failures))
        detail: ChainDetail | None = None
        missing: str | None = None
        if (opened := self.opened) is not None:
            try:
                detail = client.show(opened)
            except NotFoundError as error:
                missing = str(error)
        return Seen(client.store.label, stats, activity, detail, missing)

    def _error(self, failure: Failure) -> str:
        try:
            return error_of_job(self._client, failure.job_id, failure.error) or ""
        except NotFoundError:  # deleted in this moment
            return ""


# --- text ------------------------------------------------------------------------------------------------------------


def _in_text(run: Run, look: Look, pause: float, looks: int, *, json: bool) -> None:
    for number in range(looks):
        if number:
            time.sleep(pause)
        seen = look.read()
        if json:
            run.json(top_document(seen.stats, seen.activity))
        else:
            for line in [""] * (number > 0) + _text(seen):
                run.out(line)
        run.flush()


def _text(seen: Seen) -> list[str]:
    """The board without a screen: all of it, and no colour."""
    from rich.console import Console

    plain = Console(file=sys.stdout, width=WIDTH, color_system=None, markup=False, highlight=False, emoji=False)
    with plain.capture() as captured:
        for each in Board(ascii_only=plain.options.ascii_only).everything(seen, WIDTH, datetime.now(UTC)):
            plain.print(each)
    return [line.rstrip() for line in captured.get().splitlines()]


# --- a screen --------------------------------------------------------------------------------------------------------


class Feed:
    """Looks again and again, on a thread of its own: keys are answered while the database is slow or away."""

    def __init__(self, look: Look, first: Seen, pause: float, looks: int | None, woken: Callable[[], None]) -> None:
        self.seen = first
        self.left = None if looks is None else looks - 1
        """How many looks are left to be had."""
        self.failure: BaseException | None = None
        """What ended it."""
        self._look = look
        self._pause = pause
        self._cost = 0.0
        self._woken = woken
        self._at_once = threading.Event()
        threading.Thread(target=self._run, name="jobctl-top", daemon=True).start()

    def open(self, chain_id: str | None) -> None:
        """Read this chain too, beginning now."""
        if self._look.opened != chain_id:
            self._look.opened = chain_id
            self.hurry()

    def hurry(self) -> None:
        """Look at once."""
        self._at_once.set()

    def _run(self) -> None:
        try:
            while self.left is None or self.left > 0:
                self._at_once.wait(max(self._pause, SHARE * self._cost))
                self._at_once.clear()
                self._read()
        except BaseException as error:  # noqa: BLE001 - raised again on the thread that has the screen
            self.failure = error
        finally:
            self._woken()

    def _read(self) -> None:
        since = time.monotonic()
        try:
            self.seen = self._look.read()
        except TryAgainError as error:
            self.seen = replace(self.seen, trouble=str(error))
        self._cost = time.monotonic() - since
        if self.left is not None:
            self.left -= 1
        self._woken()


def _on_screen(run: Run, look: Look, pause: float, looks: int | None) -> None:
    from rich.live import Live

    first = look.read()  # what is wrong with the database is told as by any other command
    console = run.console()
    board = Board(ascii_only=console.options.ascii_only)
    with Keys() as keys, Live(console=console, screen=True, auto_refresh=False) as live, _signals(keys, live):
        feed = Feed(look, first, pause, looks, keys.wake)
        while True:
            board.take(feed.seen)
            live.update(board.draw(feed.seen, console, datetime.now(UTC)), refresh=True)
            if feed.failure is not None:
                raise feed.failure
            if feed.left == 0:
                return
            for key in keys.wait(TICK):
                if not board.press(key):
                    return
                if key == " ":
                    feed.hurry()
            feed.open(board.opened)


@contextmanager
def _signals(keys: Keys, live: Live) -> Iterator[None]:
    """Have signals that end or stop the process leave the terminal as it was, and one that resizes it draw anew."""

    def end(number: int, _: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    def stop(_: int, __: FrameType | None) -> None:
        live.stop()
        keys.give_back()
        os.kill(os.getpid(), signal.SIGSTOP)  # until SIGCONT
        keys.take()
        live.start(refresh=True)

    def draw(_: int, __: FrameType | None) -> None:
        """Wake the loop, which draws."""

    handlers = {signal.SIGHUP: end, signal.SIGQUIT: end, signal.SIGTSTP: stop, signal.SIGWINCH: draw}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
