"""Processors in any language: the handler of a type is a command.

It gets the job as JSON on stdin and in its environment, and answers with its exit code and with JSON on stdout; or it
settles the job itself, by ``jobctl complete`` on its own job, which then is the result.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Mapping
from typing import Any, Final

from jobctl.answers import CommandFailedError
from jobctl.attempt import Attempt
from jobctl.codecs import PLAIN, parse_json
from jobctl.errors import InvalidDataError, ProcessorError, TryAgainError
from jobctl.inside import JOB_ID, LEASE
from jobctl.model import Job, LostReason
from jobctl.naming import check_type_name
from jobctl.processes import Command, Commands, Ran, Stopped
from jobctl.processors import AnyProcessor, Processor
from jobctl.signatures import Mode

TRY_AGAIN: Final = 75
"""The exit code that asks for another attempt: EX_TEMPFAIL of sysexits.h."""

SHOWN: Final = 100
"""Characters of an output that is no JSON, in the error."""


def command_processor(
    name: str,
    command: Command,
    commands: Commands,
    describe: Callable[[Job[Any]], Any],
    *,
    environment: Mapping[str, str] | None = None,
    max_attempts: int | None = None,
    where: str,
) -> AnyProcessor:
    """Make a command the handler of a job type.

    Example:
        ::

            commands = Commands()
            resize = command_processor("resize", Command(("./resize.sh",)), commands, job_document, where="here")
            Worker(store, Registry([resize])).run()
            commands.close()

    Args:
        name: The job type.
        command: What to run, and its limits.
        commands: Runs it.
        describe: Makes the JSON document of a job, for the command's stdin.
        environment: Added to this process's environment, as it is when the command is run.
        max_attempts: After so many the job is `failed`.
        where: Where it was asked for, for messages.

    Raises:
        ProcessorError: The name is not that of a type.
    """
    check_type_name(name, ProcessorError)

    def handler(job: Job[Any], attempt: Attempt) -> Any:
        return _run(command, commands, describe, {**os.environ, **(environment or {})}, job, attempt)

    return Processor(
        name=name,
        handler=handler,
        mode=Mode.STAGED,
        is_async=False,
        input_type=Any,
        input_codec=PLAIN,
        output_codec=PLAIN,
        entry=True,
        continues=None,
        blockers=None,
        lease=None,
        backoff=None,
        max_attempts=max_attempts,
        middleware=(),
        where=where,
    )


def facts(job: Job[Any]) -> dict[str, str]:
    """What the environment of a command says of its job."""
    return {
        JOB_ID: job.id,
        "JOBCTL_CHAIN_ID": job.chain_id,
        "JOBCTL_TYPE": job.type_name,
        "JOBCTL_ATTEMPT": str(job.attempt),
    }


def _run(
    command: Command,
    commands: Commands,
    describe: Callable[[Job[Any]], Any],
    environment: Mapping[str, str],
    job: Job[Any],
    attempt: Attempt,
) -> Any:
    attempt.raise_if_lost()
    given = json.dumps(describe(job), ensure_ascii=False).encode("utf-8", "backslashreplace")
    lost = _Lost(attempt)
    try:
        ran = commands.run(
            command, given, {**environment, **facts(job), LEASE: attempt.held.lease or ""}, lost.to_others
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CommandFailedError(f"'{command.name}' cannot be run: {reason}") from error
    if lost.to_itself():
        return None
    attempt.raise_if_lost()
    return _answer(command, ran)


class _Lost:
    """Whether an attempt lost its job, and to whom: what its own command settles is no reason to end that."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._to_itself: bool | None = None  # not asked yet

    def to_others(self) -> bool:
        if self._attempt.lost is None:
            return False
        if self._attempt.lost is not LostReason.ALREADY_COMPLETED:
            return True
        if self._to_itself is None:
            self._to_itself = self.to_itself()
        return not self._to_itself

    def to_itself(self) -> bool:
        try:
            return self._attempt.settled_inside()
        except TryAgainError:
            return False  # who settles next will see that it is lost


def _answer(command: Command, ran: Ran) -> Any:
    """What a command's end means.

    Raises:
        CommandFailedError: The attempt failed.
    """
    if reason := what_went_wrong(command, ran):
        raise CommandFailedError(reason, again=ran.stopped is None and ran.code == TRY_AGAIN)
    return _output(f"'{command.name}'", ran.out)


def what_went_wrong(command: Command, ran: Ran) -> str | None:
    """How a command ended that did not end well, with the end of its stderr; None: it ended with 0, by itself."""
    match ran.stopped:
        case Stopped.TIMEOUT:
            what = f"ran longer than {command.timeout:g} s and was ended"
        case Stopped.OUTPUT:
            what = (
                f"wrote more than {command.max_output} bytes to stdout and was ended: "
                "allow more with --exec-max-output or 'max_output', or write elsewhere"
            )
        case Stopped.ASKED:
            what = "was ended, because its worker ends"
        case _ if ran.code < 0:
            what = f"was ended by {_signal(-ran.code)}"
        case _ if ran.code == TRY_AGAIN:
            what = f"asked for another attempt (exit code {ran.code})"
        case _ if ran.code != 0:
            what = f"ended with exit code {ran.code}"
        case _:
            return None
    return f"'{command.name}' {what}:\n{ran.err}" if ran.err else f"'{command.name}' {what}, with nothing on stderr"


def _output(name: str, out: bytes) -> Any:
    try:
        text = out.decode("utf-8-sig")
        return parse_json(text) if text.strip() else None
    except UnicodeDecodeError as error:
        raise CommandFailedError(f"what {name} wrote to stdout is not JSON: it is not UTF-8 text") from error
    except InvalidDataError as error:
        shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
        raise CommandFailedError(
            f"what {name} wrote to stdout {error}: {shown.strip()!r}; write JSON, or nothing, and all else to stderr"
        ) from error


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
