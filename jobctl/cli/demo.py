"""``demo``: the approval workflow, played by real processes on a database made for it."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from jobctl.cli.command import command
from jobctl.cli.documents import to_json
from jobctl.cli.options import Json
from jobctl.cli.run import Run
from jobctl.cli.stories import STORIES, WORKER, Ending, Story
from jobctl.errors import UnsuccessfulError, UsageError


@command(
    "demo",
    section="Try",
    examples=(
        ("jobctl demo", "on an SQLite file of its own"),
        ("jobctl demo --database postgresql://app@db/app", "in a schema of its own"),
    ),
)
def demo(run: Run, json: Json = False) -> None:
    """Play the approval workflow with real processes.

    Four chains are started; they are approved and rejected by hand, left alone, and settled while a worker is at it.
    Every command line is shown with what came out. Exit code 8 when a story did not end as told.

    The database is made for it and gone afterwards: an SQLite file, or with --database postgresql://… a schema of its
    own. JOBCTL_DATABASE and configurations are not read.
    """
    given = run.common.database
    if given is not None and not given.startswith("postgres"):
        raise UsageError("the demo makes an SQLite file of its own: give --database postgresql://… or leave it out")
    from tempfile import TemporaryDirectory

    from jobctl.cli.stage import Interruptions, stage
    from jobctl.storage.scratch import scratch_database

    transcript = Transcript(run, silent=json)
    interruptions = Interruptions()
    with ExitStack() as stack:
        stack.callback(interruptions.let)  # called last: what cleans up is not interrupted
        url = stack.enter_context(scratch_database(given))
        interruptions.keep()
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="jobctl-demo-")))
        playing = stack.enter_context(stage(folder, url, transcript, interruptions))
        transcript.say(f"The approval workflow with real processes, on {_kind(given)[1]} that is gone afterwards.")
        transcript.line(f"jobctl worker --processors approval.py --name {WORKER} 2>worker.log &")
        endings = [playing.play(number, story) for number, story in enumerate(STORIES, start=1)]
    interruptions.follow()
    transcript.ends(endings)
    if json:
        run.json(demo_document(_kind(given)[0], endings))
    _require_as_told(endings)


def _kind(given: str | None) -> tuple[str, str]:
    """The kind of database, for the document and for people."""
    return ("sqlite", "an SQLite file") if given is None else ("postgresql", "a PostgreSQL schema")


def demo_document(database: str, endings: list[Ending]) -> dict[str, Any]:
    """How all of it ended."""
    return {
        "database": database,
        "worker": WORKER,
        "stories": [_story_document(each) for each in endings],
        "passed": all(each.wrong is None for each in endings),
    }


def _story_document(ending: Ending) -> dict[str, Any]:
    return {
        "name": ending.story.name,
        "title": ending.story.title,
        "id": ending.id,
        "status": ending.status,
        "completed_by": list(ending.completed_by),
        "output": ending.output,
        "passed": ending.wrong is None,
        "wrong": ending.wrong,
    }


def _require_as_told(endings: list[Ending]) -> None:
    wrong = [
        (f"story {number} ({each.story.title}) did not end as told: {each.wrong}", each)
        for number, each in enumerate(endings, start=1)
        if each.wrong is not None
    ]
    if wrong:
        first = wrong[0][1]
        raise UnsuccessfulError("; ".join(text for text, _ in wrong), id=first.id, status=first.status)


class Transcript:
    """What is done and what comes out, line by line; nothing when a document is asked for."""

    def __init__(self, run: Run, *, silent: bool) -> None:
        self._run = run
        self._silent = silent
        self._colored = run.colored(sys.stdout)

    def say(self, text: str, style: str = "") -> None:
        """Write a line, to be read at once."""
        if self._silent:
            return
        self._run.out(f"\x1b[{style}m{text}\x1b[0m" if style and self._colored else text)
        self._run.flush()

    def begins(self, number: int, story: Story) -> None:
        """A story begins."""
        self.say("")
        self.say(f"{number}. {story.title}", "1")
        self.say(story.about)

    def line(self, line: str) -> None:
        """A command line."""
        self.say(f"$ {line}", "36")

    def came_out(self, data: str, said: str) -> None:
        """What a command wrote to stdout and to stderr."""
        for each in data.splitlines():
            self.say(each)
        for each in said.splitlines():
            self.say(each, "2")

    def logged(self, line: str) -> None:
        """A line of the worker's log."""
        self.say(f"worker.log: {line}", "35")

    def ends(self, endings: list[Ending]) -> None:
        """How it all ended."""
        self.say("")
        self.say("What jobctl show --json says of each", "1")
        width = max(len(each.story.title) for each in endings)
        for number, each in enumerate(endings, start=1):
            if each.wrong is None:
                who = ", ".join(f"by {name or 'hand'}" for name in each.completed_by)
                what, style = f"as told: settled {who}; output {to_json(each.output)}", "32"
            else:
                what, style = f"NOT AS TOLD: {each.wrong}", "31"
            self.say(f"{number}. {each.story.title:{width}}  {what}", style)
