"""Where the stories of ``demo`` are played: a folder, a worker, and the processes of the command lines."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import jobctl as package
from jobctl.cli.documents import to_json
from jobctl.cli.stories import WORKER, Ending, Logged, Story

PATIENCE = 30.0
"""Seconds in which the worker must have done its part of a story."""

LOOK_EVERY = 0.02
"""Seconds between two looks at a process or into the worker's log."""

STOP_WITHIN = 5.0
"""Seconds that a process has to end by itself."""


class Tell(Protocol):
    """Is told what is done and what comes out."""

    def begins(self, number: int, story: Story) -> None:
        """A story begins."""

    def line(self, line: str) -> None:
        """A command line."""

    def came_out(self, data: str, said: str) -> None:
        """What a command wrote to stdout and to stderr."""

    def logged(self, line: str) -> None:
        """A line of the worker's log."""


class _NotAsToldError(Exception):
    """A step of a story did not do what it must."""


class Interruptions:
    """Keeps SIGINT and SIGTERM until they can be followed: no process shall be forgotten that is just being made."""

    def __init__(self) -> None:
        self._before: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._came: list[int] = []

    def keep(self) -> None:
        """From now on, keep them."""
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            if callable(handler):  # else it is ignored, or the end of everything
                self._before[number] = handler
                signal.signal(number, lambda came, _: self._came.append(came))

    def follow(self) -> None:
        """Do as the first that came says, if one did: raise."""
        if self._came:
            self._before[self._came[0]](self._came[0], None)

    def let(self) -> None:
        """Let them come as they did before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)


@contextmanager
def stage(folder: Path, url: str, tell: Tell, interruptions: Interruptions) -> Iterator[Stage]:
    """A folder with the processors, and a worker that works them; it has ended when the block has."""
    (folder / "approval.py").write_text(approval_module(), encoding="utf-8")
    (folder / "jobctl.toml").write_text("", encoding="utf-8")
    path = [str(Path(package.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("JOBCTL_")},
        "JOBCTL_DATABASE": url,
        "JOBCTL_CONFIG": str(folder / "jobctl.toml"),  # the user's would be read else
        "PYTHONPATH": os.pathsep.join(path),  # the jobctl that runs, installed or not
    }
    with (folder / "worker.log").open("wb") as log:
        worker = subprocess.Popen(  # noqa: S603 - jobctl itself
            _process(f"jobctl worker --processors approval.py --name {WORKER}"),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            env=environment,
        )
    try:
        yield Stage(folder, environment, worker, tell, interruptions)
    finally:
        _stop(worker)


def _stop(process: subprocess.Popen[Any]) -> None:
    """End a process."""
    process.terminate()
    try:
        process.wait(STOP_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def approval_module() -> str:
    """The source of examples/approval.py."""
    shipped = resources.files("jobctl") / "examples" / "approval.py"
    if shipped.is_file():
        return shipped.read_text(encoding="utf-8")
    return (Path(package.__file__).parents[1] / "examples" / "approval.py").read_text(encoding="utf-8")  # a checkout


def _process(line: str) -> list[str]:
    """The process that a command line of jobctl stands for."""
    return [sys.executable, "-m", *shlex.split(line)]


class Stage:
    """Where the stories are played."""

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        worker: subprocess.Popen[bytes],
        tell: Tell,
        interruptions: Interruptions,
    ) -> None:
        self._folder = folder
        self._environment = environment
        self._worker = worker
        self._tell = tell
        self._interruptions = interruptions

    def play(self, number: int, story: Story) -> Ending:
        """Play a story, and look how it ended."""
        self._tell.begins(number, story)
        chain = job = ""
        try:
            for step in story.steps:
                if isinstance(step, Logged):
                    self._tell.logged(self._log_line(job, step.word))
                    continue
                line = step.replace("$id", chain)
                self._tell.line(line)
                printed = self._run(line, self._tell.came_out).strip()
                if line.startswith("jobctl start "):
                    chain = job = printed
                elif " --continue " in line:
                    job = printed
            return self._ending(story, chain)
        except _NotAsToldError as error:
            return Ending(story, chain or None, None, (), None, str(error))

    def _run(self, line: str, came_out: Callable[[str, str], None] = lambda _, __: None) -> str:
        """Run a command line to its end; returns what it wrote to stdout."""
        process = subprocess.Popen(  # noqa: S603 - jobctl itself, with a line of STORIES
            _process(line),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            cwd=self._folder,
            env=self._environment,
        )
        with process:
            try:
                data, said = self._communicate(process)
            except BaseException:
                _stop(process)
                raise
        self._interruptions.follow()  # it may have been interrupted too: that is no story
        came_out(data, said)
        if process.returncode != 0:
            last = said.rstrip().rpartition("\n")[2]
            raise _NotAsToldError(f"'{line}' ended with exit code {process.returncode}: {last}")
        return data

    def _communicate(self, process: subprocess.Popen[str]) -> tuple[str, str]:
        """What a process writes until its end."""
        while True:
            self._interruptions.follow()
            try:
                return process.communicate(timeout=LOOK_EVERY)
            except subprocess.TimeoutExpired:
                continue

    def _log_line(self, job: str, word: str) -> str:
        """The worker's line with this word about a job, as soon as there is one."""
        deadline = time.monotonic() + PATIENCE
        while True:
            ended = self._worker.poll() is not None  # asked first: a line may come just before the end
            lines = (self._folder / "worker.log").read_text(encoding="utf-8").splitlines()
            for line in lines:
                if f"…{job[-12:]} " in line and word in line.split():
                    return line
            if ended or time.monotonic() > deadline:
                why = f"the worker has ended: {''.join(lines[-1:])}" if ended else f"not within {PATIENCE:g} s"
                raise _NotAsToldError(f"the worker's log has no line '{word}' about the job {job}; {why}")
            self._interruptions.follow()
            time.sleep(LOOK_EVERY)

    def _ending(self, story: Story, chain: str) -> Ending:
        """How a story ended, by what the database holds."""
        shown = json.loads(self._run(f"jobctl show {chain} --json"))
        completed_by = tuple(each["completed_by"] for each in shown["jobs"])
        status, output = shown["chain"]["status"], shown["chain"]["output"]
        facts: tuple[tuple[str, Any, Any], ...] = (
            ("its status", status, "completed"),
            ("completed_by", completed_by, story.completed_by),
            ("its output", output, story.output),
            ("its list of errors", shown["errors"], []),
        )
        wrong = [f"{what} is {to_json(found)}, not {to_json(told)}" for what, found, told in facts if found != told]
        return Ending(story, chain, status, completed_by, output, "; ".join(wrong) or None)
