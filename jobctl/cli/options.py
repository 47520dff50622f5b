"""The options that several commands share, each written once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from jobctl.cli import completing

COMMON_PANEL = "Options of every command"


@dataclass(frozen=True, slots=True)
class Common:
    """The options of every command, which may also stand before its name.

    Attributes:
        database: A URL.
        config: A configuration file.
        profile: A profile of the configuration.
        setting: Settings, each as KEY=VALUE; the last of a key counts.
        no_color: Write no colour, on a terminal either.
        debug: Show the traceback of an error.
        quiet: Say nothing but errors.
    """

    database: str | None = None
    config: str | None = None
    profile: str | None = None
    setting: Sequence[str] | None = None
    no_color: bool = False
    debug: bool = False
    quiet: bool = False

    def over(self, before: Common) -> Common:
        """These options, completed by those that stood before the command's name."""
        return Common(
            database=self.database if self.database is not None else before.database,
            config=self.config if self.config is not None else before.config,
            profile=self.profile if self.profile is not None else before.profile,
            setting=(*(before.setting or ()), *(self.setting or ())),
            no_color=self.no_color or before.no_color,
            debug=self.debug or before.debug,
            quiet=self.quiet or before.quiet,
        )


Database = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="URL",
        rich_help_panel=COMMON_PANEL,
        help="postgresql://… or sqlite:///path  [$JOBCTL_DATABASE]",
    ),
]
Config = Annotated[
    str | None,
    typer.Option(
        "--config", metavar="FILE", rich_help_panel=COMMON_PANEL, help="Read this configuration.  [$JOBCTL_CONFIG]"
    ),
]
Profile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        metavar="NAME",
        rich_help_panel=COMMON_PANEL,
        help="Of the configuration.  [$JOBCTL_PROFILE]",
        autocompletion=completing.profiles,
    ),
]
Setting = Annotated[
    list[str] | None,
    typer.Option(
        "--setting",
        metavar="KEY=VALUE",
        rich_help_panel=COMMON_PANEL,
        help="A key of the configuration: worker.lease=1m; repeatable.",
        autocompletion=completing.settings,
    ),
]
NoColor = Annotated[bool, typer.Option("--no-color", rich_help_panel=COMMON_PANEL, help="No colour.  [$NO_COLOR]")]
Debug = Annotated[bool, typer.Option("--debug", rich_help_panel=COMMON_PANEL, help="Show an error's traceback.")]
Quiet = Annotated[bool, typer.Option("--quiet", rich_help_panel=COMMON_PANEL, help="Say nothing but errors.")]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
JsonLines = Annotated[bool, typer.Option("--jsonl", help="Print one JSON object per line.")]

OnlyIds = Annotated[bool, typer.Option("--ids", help="Print the ids alone, one per line.")]

Processors = Annotated[
    list[str] | None,
    typer.Option(
        "--processors",
        metavar="MOD",
        help="A processor module, by name or file; repeatable, or several with commas.",
    ),
]

After = Annotated[
    str | None, typer.Option("--after", metavar="DURATION", help="Due after a delay: 90s, 15m, 2h30m, 7d, 500ms.")
]
At = Annotated[
    str | None, typer.Option("--at", metavar="TIME", help="Due at a time: ISO 8601, local unless it has a zone.")
]
BlockedBy = Annotated[
    list[str] | None,
    typer.Option(
        "--blocked-by",
        metavar="CHAIN",
        help="Wait until this chain has completed; repeatable.",
        autocompletion=completing.chains,
    ),
]
Timeout = Annotated[
    str | None, typer.Option("--timeout", metavar="DURATION", help="Give up after so long, with exit code 124.")
]

Ids = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[ID...]",
        help="Chains, or jobs that must still be their chains' current ones; - reads them from stdin, a line each.",
        autocompletion=completing.chains,
    ),
]
All = Annotated[bool, typer.Option("--all", help="All there are, without any of these filters.")]
AtMost = Annotated[str | None, typer.Option("--limit", metavar="N", help="Of what matches, at most so many.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask; needed where there is no terminal to ask on.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Do it all, print it, and roll it back.")]
FailEmpty = Annotated[bool, typer.Option("--fail-empty", help="Exit code 3 when nothing matches.")]
Actor = Annotated[
    str | None, typer.Option("--actor", metavar="WHO", help="Who does it, for the history; else user@host.")
]
Confirm = Annotated[
    str | None,
    typer.Option("--confirm", metavar="NAME", help="The profile's name, where it is one of production."),
]
Note = Annotated[str | None, typer.Option("--note", metavar="TEXT", help="Why, for the history.")]


@dataclass(frozen=True, slots=True)
class By:
    """Who does something by hand, and why.

    Attributes:
        actor: Who; user@host unless given.
        note: Why.
    """

    actor: Actor = None
    note: Note = None


Reveal = Annotated[bool, typer.Option("--reveal", help="Show what is sensitive too; the history keeps who and when.")]

OfType = Annotated[
    str | None, typer.Option("--type", metavar="TYPE", help="Only of this type.", autocompletion=completing.types)
]
Statuses = Annotated[
    list[str] | None,
    typer.Option(
        "--status",
        metavar="STATUS",
        help="Only with this status; repeatable, or several with commas.",
        autocompletion=completing.statuses,
    ),
]
Since = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="Created at this time or later; 2h: two hours ago.")
]
Until = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="Created before this time; 2h: two hours ago.")
]
OfChain = Annotated[
    str | None, typer.Option("--chain", metavar="CHAIN", help="Only of this chain.", autocompletion=completing.chains)
]
OfJob = Annotated[
    str | None, typer.Option("--job", metavar="JOB", help="Only this job; in a list of chains, the one it belongs to.")
]
ChainType = Annotated[
    str | None,
    typer.Option("--chain-type", metavar="TYPE", help="Only of chains of this type.", autocompletion=completing.types),
]
Roots = Annotated[bool, typer.Option("--roots", help="Without chains that others wait or waited for.")]
Limit = Annotated[str, typer.Option("--limit", metavar="N", help="At most so many, 1 to 1000.", show_default=True)]
Cursor = Annotated[
    str | None, typer.Option("--cursor", metavar="CURSOR", help="Where the page before ended, as it said.")
]
Order = Annotated[
    str,
    typer.Option(
        "--order",
        metavar="ORDER",
        help="newest or oldest first.",
        show_default=True,
        autocompletion=completing.words("newest", "oldest"),
    ),
]
