"""Which log a worker writes: for people on a terminal, for people in a file, or for machines."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from functools import partial
from typing import TextIO, cast

from jobctl.cli.live import Above, LiveLine
from jobctl.cli.log import Log, human_line, json_line
from jobctl.cli.run import Run, is_terminal


@contextlib.contextmanager
def worker_log(run: Run, kind: str, database: str, *, live: bool = True) -> Iterator[Log]:
    """The log of a worker, all of it written at the end.

    Args:
        run: The command's.
        kind: ``human`` or ``json``.
        database: Where the worker works, for people.
        live: On a terminal, a line below the log counts.
    """
    quiet = run.common.quiet
    if kind == "json":
        with Log(partial(json_line, database=database), quiet=quiet) as log:
            yield log
        return
    line = partial(human_line, colored=run.colored(sys.stderr))
    if quiet or not live or not is_terminal(sys.stderr):
        with Log(line, quiet=quiet) as log:
            yield log
        return
    below = LiveLine(sys.stderr, colored=run.colored(sys.stderr))
    with contextlib.ExitStack() as stack:
        for stream, redirected in (
            (sys.stdout, contextlib.redirect_stdout),
            (sys.stderr, contextlib.redirect_stderr),
        ):
            if is_terminal(stream):
                stack.enter_context(redirected(cast("TextIO", Above(stream, below))))
        yield stack.enter_context(Log(line, quiet=False, live=below))
