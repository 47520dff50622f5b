"""Commands that a user names for jobctl to run, by ``--exec`` and ``--on-failed`` or in the configuration."""

from __future__ import annotations

import dataclasses
import difflib
import re
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from jobctl.cli import parse
from jobctl.errors import UsageError
from jobctl.processes import MAX_OUTPUT, SHELL, Command

HOOK_FIELDS: Final = ("command", "shell", "timeout", "max_output")
FIELDS: Final = (*HOOK_FIELDS, "max_attempts")
SHORTEST_TIMEOUT: Final = "1ms"

_SIZE: Final = re.compile(r"(\d+)\s*(|B|kB|KB|MB|GB|KiB|MiB|GiB)")
_BYTES: Final = {
    "": 1,
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A command as a user has named it; what is None is for somebody else to say.

    Attributes:
        words: The program and its arguments.
        timeout: Seconds that it may run.
        max_output: Bytes that it may write to stdout.
        max_attempts: Of a type whose handler it is.
        where: Where it was named, for messages.
    """

    words: tuple[str, ...]
    where: str = field(compare=False)
    timeout: float | None = None
    max_output: int | None = None
    max_attempts: int | None = None

    def within(self, timeout: float | None, max_output: int | None) -> Program:
        """The same with these limits where it has none."""
        return dataclasses.replace(
            self,
            timeout=timeout if self.timeout is None else self.timeout,
            max_output=max_output if self.max_output is None else self.max_output,
        )

    @property
    def command(self) -> Command:
        """What to run, and its limits."""
        return Command(self.words, self.timeout, MAX_OUTPUT if self.max_output is None else self.max_output)

    def check(self) -> None:
        """Refuse a program that is not there, before there is a job for it.

        Raises:
            UsageError: It is not.
        """
        if shutil.which(self.words[0]) is None:
            raise UsageError(
                f"{self.where}: there is no program '{self.words[0]}' that can be run; give its path, "
                "or let a shell look: --exec-shell, or shell = true in the configuration"
            )


def program_of_text(where: str, text: str, *, shell: bool = False) -> Program:
    """A command as one text: words as a shell would split them, or with ``shell`` what a shell is to run.

    Raises:
        UsageError: It is none.
    """
    if shell:
        words = [SHELL, "-c", text] if text.strip() else []
    else:
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise UsageError(f"{where}: {text!r} is no command: {str(error).lower()}") from error
    if not words or not words[0]:
        raise UsageError(f"{where} is empty: give a command")
    return Program(words=tuple(words), where=where)


def program_of_toml(where: str, value: Any, folder: Path, fields: Sequence[str] = FIELDS) -> Program:
    """A command as a configuration file in this folder has it: a text, a list of words, or a table with these fields.

    Raises:
        UsageError: It is none.
    """
    if not isinstance(value, dict):
        return _words_of_toml(where, value, folder, shell=False)
    for key in value:
        if key not in fields:
            close = difflib.get_close_matches(key, fields, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(fields)}"
            raise UsageError(f"{where} has an unknown key '{key}'; {hint}")
    shell = value.get("shell", False)
    if not isinstance(shell, bool):
        raise UsageError(f"{where}, 'shell' must be true or false")
    if shell and not isinstance(value.get("command"), str):
        raise UsageError(f"{where}, 'command' must be a text for a shell to run")
    return dataclasses.replace(
        _words_of_toml(where, value.get("command"), folder, shell=shell),
        timeout=_timeout(f"{where}, 'timeout'", value.get("timeout")),
        max_output=_max_output(f"{where}, 'max_output'", value.get("max_output")),
        max_attempts=_max_attempts(f"{where}, 'max_attempts'", value.get("max_attempts")),
    )


def exec_arguments(pairs: Sequence[str], *, shell: bool) -> dict[str, Program]:
    """The commands of ``--exec TYPE=COMMAND``, by type.

    Raises:
        UsageError: One cannot be read, or a type has two.
    """
    found: dict[str, Program] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"--exec {pair!r} is not TYPE=COMMAND: write --exec 'resize=./resize.sh --fast'")
        name = name.strip()
        program = program_of_text(f"--exec {name}", text, shell=shell)
        if name in found:
            raise UsageError(
                f"'{name}' has two commands: {shlex.join(found[name].words)} and {shlex.join(program.words)}"
            )
        found[name] = program
    return found


def timeout_argument(option: str, text: str | None) -> float | None:
    """How many seconds a command may run."""
    return None if text is None else parse.duration(option, text, SHORTEST_TIMEOUT).total_seconds()


def size_argument(option: str, text: str | None) -> int | None:
    """A number of bytes such as ``64KB`` or ``10MiB``.

    Raises:
        UsageError: It is none.
    """
    if text is None:
        return None
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{option}: '{text}' is not a size: write 64KB, 10MB or a number of bytes")
    return int(match[1]) * _BYTES[match[2]]


def _words_of_toml(where: str, value: Any, folder: Path, *, shell: bool) -> Program:
    if isinstance(value, str):
        program = program_of_text(where, value, shell=shell)
    elif isinstance(value, list) and value and all(isinstance(each, str) for each in value) and value[0]:
        program = Program(words=tuple(value), where=where)
    else:
        raise UsageError(f"{where} must be a command: a text, a list of words, or a table with 'command'")
    first, *rest = program.words
    if "/" in first and not shell:
        first = str(folder / Path(first).expanduser())
    return dataclasses.replace(program, words=(first, *rest))


def _timeout(where: str, value: Any) -> float | None:
    if not isinstance(value, str | None):
        raise UsageError(f'{where} must be a duration in quotes, such as "30s"')
    return timeout_argument(where, value)


def _max_output(where: str, value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, str | int | None):
        raise UsageError(f'{where} must be a size, such as "10MB"')
    return size_argument(where, None if value is None else str(value))


def _max_attempts(where: str, value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"{where} must be a whole number, 1 or more")
    return value
