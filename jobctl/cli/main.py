"""The process: its streams and signals, and the one place where errors become a line and an exit code.

What commands are made of is imported when one is called: then an interrupt ends that quietly too, and the garbage
collector has been told to wait.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import io
import json
import os
import re
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from jobctl.errors import JobctlError, UsageError
from jobctl.passwords import without_password

if TYPE_CHECKING:
    from typer.exceptions import TyperException

GARBAGE = 100_000
"""How many new objects make the garbage collector look. What is imported and rows of jobs are no garbage: by default it
would look every 700 objects, for a tenth of a worker's time and of a short command's, which ends before there are so
many as these."""

BROKEN_PIPE = 128 + signal.SIGPIPE
"""How a shell sees the end of a tool whose reader went away: what it wrote was not all read."""


class Terminated(BaseException):
    """SIGTERM came: leave, undoing what is not committed."""


def run(arguments: Sequence[str]) -> int:
    """Run a command line; returns the exit code."""
    code = _guarded(arguments)
    try:
        sys.stdout.flush()
    except (OSError, ValueError) as error:
        return _report(error, arguments)
    return code


def _guarded(arguments: Sequence[str]) -> int:
    try:
        _refuse_bytes(arguments)
        result = _call(arguments)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except Terminated:
        code = 128 + signal.SIGTERM
    except Exception as error:  # noqa: BLE001 - whatever it is, one line tells it; --debug shows the traceback
        code = _report(error, arguments)
    else:
        code = result if isinstance(result, int) else 0
    return code


def _refuse_bytes(arguments: Sequence[str]) -> None:
    for each in arguments:
        try:
            each.encode()
        except UnicodeEncodeError:
            raise UsageError(f"the argument {each!a} is not text in UTF-8") from None


def _call(arguments: Sequence[str]) -> Any:
    from jobctl.cli.application import application
    from jobctl.cli.index import COMPLETE_VARIABLE

    command = application()
    if arguments or COMPLETE_VARIABLE in os.environ:
        return command.main(args=list(arguments), prog_name="jobctl", standalone_mode=False)
    with contextlib.redirect_stdout(sys.stderr):  # nothing was asked: the help is no answer
        command.main(args=["--help"], prog_name="jobctl", standalone_mode=False)
    return UsageError.exit_code


# --- errors ------------------------------------------------------------------------------------------------------


def _report(error: Exception, arguments: Sequence[str]) -> int:
    """Tell an error in one line, or as one JSON object, and give its exit code."""
    from jobctl.cli.command import ReaderGoneError

    if isinstance(error, BrokenPipeError | ReaderGoneError):
        _abandon(sys.stdout)
        return BROKEN_PIPE
    if "--debug" in arguments:
        _tell("".join(traceback.format_exception(error)).rstrip("\n"))
    code, kind, message, details = describe(error)
    if isinstance(error, OSError):
        _abandon(sys.stdout)  # it may be what failed: what is left in its buffer would fail again at the exit
    if _wants_json(arguments):
        _tell(
            json.dumps(
                {"error": {**details, "code": code, "kind": kind, "message": message}}, ensure_ascii=False, default=str
            )
        )
    else:
        _tell(f"jobctl: {message}")
    return code


def describe(error: Exception) -> tuple[int, str, str, dict[str, object]]:
    """An error's exit code, kind, message and details."""
    from typer.exceptions import TyperException

    if isinstance(error, JobctlError):
        return error.exit_code, kind_of(error), one_line(str(error)), error.details
    if isinstance(error, TyperException):
        return 2, "usage", one_line(_usage_message(error)), {}
    said = one_line(f"{type(error).__name__}: {error}")
    return 1, "unexpected", f"{said}; run again with --debug for the traceback", {}


def kind_of(error: JobctlError) -> str:
    """The class's name in the way of JSON: ``not_found`` for NotFoundError."""
    name = type(error).__name__.removesuffix("Error")
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _usage_message(error: TyperException) -> str:
    """What is wrong with the command line, in the way of all other messages, and where to read on."""
    possibilities = getattr(error, "possibilities", None)
    text = error.message if possibilities else error.format_message()
    text = (text[:1].lower() + text[1:].rstrip(".")).replace(". Did you", "; did you")
    if possibilities:
        text += f"; did you mean {' or '.join(possibilities)}?"
    context: Any = getattr(error, "ctx", None)
    where = "jobctl" if context is None else context.command_path
    return f"{text}{'' if text.endswith('?') else ';'} see '{where} --help'"


def one_line(text: str) -> str:
    """The text on one line, without a password."""
    return without_password(" ".join(text.split()))


def _wants_json(arguments: Sequence[str]) -> bool:
    joined = " ".join(arguments)
    return (
        any(each in {"--json", "--jsonl"} for each in arguments)
        or re.search(r"--log-format[ =]json\b", joined) is not None
    )


def _tell(text: str) -> None:
    try:
        sys.stderr.write(f"{without_password(text)}\n")
    except (OSError, ValueError):
        return


def _abandon(stream: TextIO) -> None:
    """Let what is left in a stream's buffer go nowhere, without a complaint at the exit."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        return


def _terminate(_: int, __: FrameType | None) -> NoReturn:
    raise Terminated


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - a stream for the whole run


def main() -> NoReturn:
    """The console script."""
    gc.set_threshold(GARBAGE)
    atexit.register(gc.freeze)  # else all memory is searched for garbage before it goes: a fifth of a command's time
    signal.signal(signal.SIGTERM, _terminate)
    sys.stdout = sys.stdout or _nowhere()  # closed by the caller
    sys.stderr = sys.stderr or _nowhere()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            encoding = stream.encoding if stream.isatty() else "utf-8"  # as JSON is, whatever the locale
            stream.reconfigure(encoding=encoding, errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))
