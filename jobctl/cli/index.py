"""The commands as the help lists them, without importing them: that would take most of the time of ``jobctl --help``.

A test holds this to what the commands themselves say.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from jobctl.cli.command import Command


COMPLETE_VARIABLE = "_JOBCTL_COMPLETE"
"""Set by a shell that asks what to complete; the line that is typed comes in variables too."""


class Listed(NamedTuple):
    """A command that is not imported yet.

    Attributes:
        name: Its name.
        section: Under which heading the help lists it.
        summary: The first line of its own help.
        place: Its module in this package and its name there.
    """

    name: str
    section: str
    summary: str
    place: str

    def load(self) -> Command:
        """Import it."""
        module, _, name = self.place.partition(":")
        found: Command = getattr(import_module(f"jobctl.cli.{module}"), name)
        return found


INDEX = (
    Listed("start", "Work", "Start a chain and print its id.", "start:start"),
    Listed("worker", "Work", "Run jobs until stopped, and log on stderr what happens.", "worker:worker"),
    Listed("run", "Work", "Work one job here and now, as a worker would.", "single:run"),
    Listed("complete", "Work", "Settle a chain's current job by hand.", "complete:complete"),
    Listed("trigger", "Work", "Have scheduled jobs run now, in the order given.", "edit:trigger"),
    Listed("reschedule", "Work", "Move waiting jobs to another time or priority.", "edit:reschedule"),
    Listed("retry", "Work", "Give failed jobs another round of attempts.", "operate:retry"),
    Listed("cancel", "Work", "Close chains as cancelled, wherever they stand.", "operate:cancel"),
    Listed("restart", "Work", "Start a new chain from a job of an old one.", "operate:restart"),
    Listed("pause", "Work", "Have nothing of types, chains, or at all be claimed.", "pause:pause"),
    Listed("resume", "Work", "End pauses, each in the way it was made.", "pause:resume"),
    Listed("delete", "Work", "Delete chains with all that belongs to them.", "edit:delete"),
    Listed("list", "Look", "List chains, by the time they were started.", "listing:list_"),
    Listed("jobs", "Look", "List jobs, by the time they were created.", "listing:jobs"),
    Listed("show", "Look", "Show a chain with its jobs, errors and history.", "show:show"),
    Listed("history", "Look", "List what was done by hand: who, when, from where, why.", "history:history"),
    Listed("paused", "Look", "List what is paused: all there are, types, chains.", "pause:paused"),
    Listed("wait", "Look", "Wait until chains are closed, and print the output as JSON.", "wait:wait"),
    Listed("stats", "Look", "Count jobs by type and status, and what was done to them.", "stats:stats"),
    Listed("top", "Look", "Watch what goes on: types, what runs, what fails, workers.", "top:top"),
    Listed("why", "Look", "Say what a job waits for, and what would move it.", "why:why"),
    Listed("workers", "Look", "List the workers, dead ones too.", "workers:workers"),
    Listed("types", "Look", "List the types, what waits and who takes it.", "types:types"),
    Listed("doctor", "Database", "Check whether all is well, and say what to do.", "doctor:doctor"),
    Listed("migrate", "Database", "Bring the database's schema up to date.", "schema:migrate"),
    Listed("schema", "Database", "Print the schema of a new database as SQL, without connecting.", "schema:schema"),
    Listed("prune", "Database", "Delete chains that are over and old enough.", "prune:prune"),
    Listed("vacuum", "Database", "Give back the room that deleted chains took.", "prune:vacuum"),
    Listed("config", "Database", "Show the effective settings, and where each came from.", "configured:config"),
    Listed("completion", "Database", "Print the script with which a shell completes.", "completion:completion"),
    Listed("demo", "Try", "Play the approval workflow with real processes.", "demo:demo"),
)
"""In the order in which the help lists them."""

BY_NAME = {each.name: each for each in INDEX}
