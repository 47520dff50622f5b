"""What a person sees of work that goes in batches, and how they stop it: a bar on stderr, and whole batches."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Self

from jobctl.cli.run import Run, is_terminal


@contextmanager
def progress(run: Run, what: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal's stderr, which is told how many more are done; elsewhere nothing is shown.

    Args:
        run: The command's.
        what: What is done, in a word.
        total: How many there are; None: nobody knows.
    """
    if not run.talks_to_person or run.common.quiet:
        yield lambda _: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=run.console(sys.stderr),
        transient=True,
        redirect_stdout=is_terminal(sys.stdout),  # what is printed meanwhile stands above the bar; a pipe's stays data
        redirect_stderr=False,
    ) as bar:
        task = bar.add_task(what, total=total)
        yield lambda more: bar.advance(task, more)


HOW_TO_STOP = b"stopping once this batch is done; once more to stop at once\n"


class Stop:
    """Whether SIGINT or SIGTERM came; they are kept until a batch has ended. A second one is followed at once."""

    def __init__(self, run: Run) -> None:
        self._quiet = run.common.quiet
        self._came: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            if callable(handler):  # else it is ignored, or the end of everything
                self._before[number] = handler
                signal.signal(number, self._keep)
        return self

    def _keep(self, number: int, frame: FrameType | None) -> None:
        if self._came is not None:
            self._before[number](number, frame)
        self._came = number
        if not self._quiet:
            with suppress(OSError, ValueError):
                os.write(sys.stderr.fileno(), HOW_TO_STOP)  # past its buffer, which may be in use at this moment

    @property
    def asked(self) -> bool:
        """Whether it is time to stop."""
        return self._came is not None

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def follow(self) -> None:
        """Do as the signal says, if one came: raise."""
        if self._came is not None:
            self._before[self._came](self._came, None)
