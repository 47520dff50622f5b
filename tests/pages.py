"""README.md and the guides as something that can be run: their blocks, a shell session of a page, and what to compare.

Every fenced block is of one of these kinds, and there is no other way to write one:

=========  =============================================================================================
``sh``     a session: commands after ``$ ``, their further lines after ``> ``, and what they print
``cron``   a crontab: each line's command is run
others     a file, whose name stands in a comment in its first lines: ``# approval.py``
=========  =============================================================================================

``python tests/pages.py DATABASE [PAGE…]`` runs these pages, else README.md, with an empty PostgreSQL database, and
writes into them what their commands print.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shlex
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jobctl.storage.open import open_store

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
GUIDES = ROOT / "docs" / "guides"
COLUMNS = 120

SET_UP = {
    "pip install .": "the tests run the code that they stand beside",
    "make demo": "has tests of its own",
    "make test": "runs this test",
    "make check": "runs this test",
}
"""The only commands that are not run, and why."""

FOLDER = "/srv/app"
"""Stands for the folder that a page is run in."""

PROGRAMS = "/srv/app/.venv/bin/"
"""Stands for where jobctl is installed."""

DATABASE = re.compile(r"(postgresql)(\+psycopg)?://app@db\.example/app")
"""Stands for the PostgreSQL database that a page is run on."""

FILES = {"python": ".py", "toml": ".toml", "ini": ".service", "bash": ".sh"}
"""The kinds of blocks that are files, and how their names end."""

_NAME = re.compile(r"\A(?:#!.*\n)?# (\S+)\n")
_CALL = re.compile(r"(?<![\w./-])jobctl(?= [a-z-])")


class BadPageError(Exception):
    """Something in a page would not be run."""


@dataclass
class Command:
    """A command of a session."""

    line: int
    text: str
    shown: list[str] = field(default_factory=list)

    @property
    def calls(self) -> int:
        """How often jobctl stands in it."""
        return len(_CALL.findall(self.text))


@dataclass(frozen=True)
class File:
    """A file that is written before what follows is run."""

    line: int
    kind: str
    name: str
    text: str

    @property
    def calls(self) -> int:
        """How often jobctl stands in it."""
        return len(_CALL.findall(self.text))


Step = Command | File


@dataclass(frozen=True)
class Ran:
    """What a command printed, its exit code, and how often it called jobctl."""

    out: str
    code: int
    calls: int


# --- reading ---------------------------------------------------------------------------------------------------------


def steps(text: str) -> list[Step]:
    """What a page has to be run, in its order.

    Raises:
        BadPageError: There is something that would not be run.
    """
    found: list[Step] = []
    for line, kind, body in _blocks(text):
        if kind == "sh":
            found += _session(line, body)
        elif kind == "cron":
            found += [Command(line + place, _cron(line + place, each)) for place, each in enumerate(body, 1)]
        elif kind in FILES:
            found.append(_file(line, kind, body))
        else:
            raise BadPageError(f"line {line}: a block must be sh, cron or one of {', '.join(FILES)}, not {kind!r}")
    _refuse_inline(text, [each for each in found if isinstance(each, Command)])
    return found


def _blocks(text: str) -> Iterator[tuple[int, str, list[str]]]:
    opened: tuple[int, str] | None = None
    body: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if opened is not None:
            if line == "```":
                yield *opened, body
                opened, body = None, []
            else:
                body.append(line)
        elif match := re.fullmatch(r"```(\w*)", line):
            opened = number, match[1]
        elif re.match(r"\s*(```|~~~)|\t| {4,}", line) or re.search(r"<(pre|code|details)\b", line):
            raise BadPageError(f"line {number}: write code between lines of ``` that begin at the margin")
    if opened is not None:
        raise BadPageError(f"line {opened[0]}: the block is not closed")


def _session(line: int, body: Sequence[str]) -> list[Command]:
    found: list[Command] = []
    for number, each in enumerate(body, line + 1):
        if each.startswith("$ "):
            found.append(Command(number, each[2:]))
        elif not found:
            raise BadPageError(f"line {number}: a session begins with a command after '$ '")
        elif each.startswith("> ") and not found[-1].shown:
            found[-1].text += f"\n{each[2:]}"
        else:
            found[-1].shown.append(each)
    for each in found:
        if re.search(r"(^|\s)#", each.text):
            raise BadPageError(f"line {each.line}: a comment in a command hides what is not run")
    return found


def _cron(number: int, line: str) -> str:
    match = re.fullmatch(r"(?:[\d*/,-]+ +){5}(\S.*)", line)
    if match is None:
        raise BadPageError(f"line {number}: a line of a crontab has five fields and a command")
    return match[1]


def _file(line: int, kind: str, body: Sequence[str]) -> File:
    text = "\n".join([*body, ""])
    match = _NAME.match(text)
    if match is None or not match[1].endswith(FILES[kind]):
        raise BadPageError(f"line {line}: the first line must name the file: # name{FILES[kind]}")
    return File(line, kind, match[1], text)


def _refuse_inline(text: str, commands: Sequence[Command]) -> None:
    """A command line in the running text must be one that is run elsewhere, or the beginning of one."""
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    if outside.count("`") % 2:
        raise BadPageError("a ` in the running text has no partner")
    for span in re.findall(r"`([^`]+)`", " ".join(outside.split())):
        if re.match(r"(jobctl|python|pip|make|git) ", span) and not any(span in each.text for each in commands):
            raise BadPageError(f"`{span}` is not run anywhere in the page")


# --- running ---------------------------------------------------------------------------------------------------------


def run(
    todo: Sequence[Step],
    folder: Path,
    environment: Mapping[str, str],
    database: str,
    *,
    jobctl: Sequence[str] = (sys.executable, "-m", "jobctl"),
) -> list[Ran | None]:
    """Run all steps in one shell on a terminal; what is not run, a file or set-up, has None.

    ``jobctl`` is the command line that stands for it.
    """
    place, work = folder / "place", folder / "work"
    for each in (place, work):
        each.mkdir()
    for name, line in (("jobctl", jobctl), ("python", (sys.executable,))):
        _write_script(place / name, f'exec {shlex.join(line)} "$@"', counted=name == "jobctl")
    script = ["unset OLDPWD"]
    for number, step in enumerate(todo):
        if isinstance(step, File):
            (place / str(number)).write_text(_real(step.text, work, place, database), encoding="utf-8")
            if step.kind != "ini":
                script.append(f"cp {place / str(number)} {work / step.name}")
        if isinstance(step, Command) and step.text in SET_UP:
            continue
        if isinstance(step, Command):
            text = _real(step.text, work, place, database, quote=True)
        elif step.kind == "ini":
            text = _unit((place / str(number)).read_text(encoding="utf-8"))
        else:
            continue
        script += [f"export PAGE_STEP={number}; printf '\\036{number}:'", text, "printf '\\036%d\\036' $?"]
    (place / "script").write_text("\n".join([*script, ""]), encoding="utf-8")
    given = {**environment, "PATH": f"{place}:{os.environ['PATH']}", "PAGE_CALLS": str(place / "calls")}
    printed = _on_terminal(["bash", "--norc", str(place / "script")], work, {**given, "NO_COLOR": "1"})
    parts = {int(number): (out, int(code)) for number, out, code in _PART.findall(printed)}
    wanted = sum(not (isinstance(each, File) and each.kind != "ini") for each in todo)
    wanted -= sum(isinstance(each, Command) and each.text in SET_UP for each in todo)
    if len(parts) < wanted:
        raise BadPageError(f"the shell ended after {len(parts)} of {wanted} steps:\n{printed[-2000:]}")
    called = (place / "calls").read_text().split()
    return [
        Ran(_shown(parts[number][0], work, place, database), parts[number][1], called.count(str(number)))
        if number in parts
        else None
        for number in range(len(todo))
    ]


_PART = re.compile(r"\x1e(\d+):(.*?)\x1e(\d+)\x1e", re.DOTALL)


def _write_script(path: Path, text: str, *, counted: bool) -> None:
    count = 'echo "$PAGE_STEP" >> "$PAGE_CALLS"\n' if counted else ""
    path.write_text(f"#!/bin/sh\n{count}{text}\n", encoding="utf-8")
    path.chmod(0o755)


def _real(text: str, work: Path, place: Path, database: str, *, quote: bool = False) -> str:
    """The text with the real folder, programs and database."""

    def url(found: re.Match[str]) -> str:
        real = f"{found[1]}{found[2] or ''}:{database.partition(':')[2]}"
        return shlex.quote(real) if quote else real

    text = text.replace(PROGRAMS, f"{place}/").replace(FOLDER, str(work))
    return DATABASE.sub(url, text)


def _shown(text: str, work: Path, place: Path, database: str) -> str:
    """What was printed, as a page would have it."""
    text = text.replace("\r\n", "\n").replace(str(place), PROGRAMS.rstrip("/")).replace(str(work), FOLDER)
    store = open_store(database)
    store.close()
    text = _ERASED.sub("", text)
    text = _STATE.sub("sqlite:////home/ada/.local/state/jobctl/jobctl.db", text)
    return text.replace(store.label, "postgresql://app@db.example/app")


_ERASED = re.compile(r"[^\n]*\r\x1b\[2K")
"""A line that was drawn to be redrawn in place: what is left of it is nothing."""

_STATE = re.compile(r"sqlite:///\S*/jobctl/jobctl\.db")
"""The database where none is named: in the home folder of whoever runs the page."""


def _unit(text: str) -> str:
    """A systemd unit as systemd runs and stops it, in a shell of its own."""
    found = dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))
    good = found.get("SuccessExitStatus", "0")
    return f"""(
        cd {shlex.quote(found["WorkingDirectory"])}
        export {shlex.quote(found["Environment"])}
        : > unit.log
        {found["ExecStart"]} 2> unit.log &
        until grep -q worker_started unit.log; do kill -0 $! || exit 1; sleep 0.02; done
        kill -TERM $!
        wait $!
        [ $? -eq {good} ]
    )"""


def _on_terminal(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> str:
    """Run a command on a terminal; returns what it shows."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    process = subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        env={**environment, "TERM": "xterm-256color"},
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""
    deadline = time.monotonic() + 100
    try:
        while select.select([ours], [], [], max(0.0, deadline - time.monotonic()))[0]:
            piece = os.read(ours, 65536)
            if not piece:
                break
            shown += piece
    except OSError:  # how Linux says that the other side is closed
        pass
    finally:
        os.close(ours)
        if process.poll() is None and time.monotonic() >= deadline:
            os.killpg(process.pid, 9)
        process.wait()
    return shown.decode()


# --- comparing -------------------------------------------------------------------------------------------------------

_UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|…[0-9a-f]{12}\b")
_SPAN = r"(?:<1ms|\b\d+(?:\.\d+)?(?:ms|s|m|h|d)(?:\d+[smh])?\b)"
_VARYING = (
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)?"), "<time>"),
    (re.compile(r"\b[\w.-]*[a-zA-Z][\w.-]*:\d+\b"), "<host:pid>"),
    (re.compile(r"\b[\w.-]+@[\w.-]+\b"), "<user@host>"),
    (re.compile(rf"\bin {_SPAN}|{_SPAN} ago\b|\bnow\b"), "<when>"),
    (re.compile(_SPAN), "<span>"),
    (re.compile(r" {2,}"), " "),
)


class Masked:
    """What varies from run to run made the same: ids by the order in which they appear, times, hosts, durations."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def __call__(self, text: str) -> str:
        """The text, masked; the ids of all texts before are remembered."""
        text = _UUID.sub(lambda found: f"<id {self._number(found[0])}>", text)
        for pattern, instead in _VARYING:
            text = pattern.sub(instead, text)
        return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n")

    def _number(self, id_: str) -> int:
        tail = id_[-12:]
        return self._numbers.setdefault(tail, len(self._numbers) + 1)


def _write(page: Path, database: str) -> None:
    """Write into a page what its commands print."""
    text = page.read_text(encoding="utf-8")
    todo = steps(text)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        home.mkdir()
        given = {"HOME": str(home), "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}
        results = run(todo, Path(folder), given, database)
    lines: list[str | None] = list(text.splitlines())
    for step, result in zip(todo, results, strict=True):
        if not isinstance(step, Command) or result is None:
            continue
        last = step.line + step.text.count("\n") - 1
        shown = "\n".join(line.rstrip() for line in result.out.splitlines())
        lines[last + 1 : last + 1 + len(step.shown)] = [None] * len(step.shown)
        if shown:
            lines[last] = f"{lines[last]}\n{shown}"
    page.write_text("\n".join([*(each for each in lines if each is not None), ""]), encoding="utf-8")


if __name__ == "__main__":
    for page in sys.argv[2:] or [README]:
        _write(Path(page), sys.argv[1])
