"""One run of a command: its streams, its database and its processors."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TextIO

from jobctl.cli.config import Configuration, database_url, read_configuration
from jobctl.cli.documents import to_json
from jobctl.cli.options import Common
from jobctl.cli.parse import names

if TYPE_CHECKING:
    from rich.console import Console

    from jobctl.client import Client
    from jobctl.processors import AnyProcessor
    from jobctl.registry import Registry


class Run:
    """What a command works with.

    Data goes to stdout, what is said to a person to stderr; neither is closed or replaced here.
    """

    def __init__(self, common: Common) -> None:
        self.common = common

    # --- streams -------------------------------------------------------------------------------------------------

    @staticmethod
    def out(text: str) -> None:
        """Write a line of data."""
        sys.stdout.write(f"{text}\n")

    @staticmethod
    def flush() -> None:
        """Let a reader have at once what was written."""
        sys.stdout.flush()

    def json(self, document: Any) -> None:
        """Write a JSON document on one line."""
        self.out(to_json(document))

    def say(self, text: str) -> None:
        """Tell a person something that is no error."""
        if not self.common.quiet:
            sys.stderr.write(f"{text}\n")

    @property
    def talks_to_person(self) -> bool:
        """Whether a person reads what is said; cron mails it."""
        return is_terminal(sys.stderr)

    def colored(self, stream: TextIO) -> bool:
        """Whether the stream takes colour."""
        return (
            is_terminal(stream)
            and not self.common.no_color
            and not os.environ.get("NO_COLOR")
            and os.environ.get("TERM") != "dumb"
        )

    def console(self) -> Console:
        """A console on stdout, for a terminal alone."""
        from rich.console import Console

        return Console(
            file=sys.stdout,
            color_system="auto" if self.colored(sys.stdout) else None,
            markup=False,
            highlight=False,
            emoji=False,
        )

    # --- database and processors ---------------------------------------------------------------------------------

    @cached_property
    def configuration(self) -> Configuration:
        """What the configuration file says."""
        return read_configuration(self.common.config)

    @property
    def database(self) -> str:
        """The selected database's URL."""
        return database_url(self.common.database, self.configuration)

    @contextlib.contextmanager
    def client(self, processors: Registry | None = None) -> Iterator[Client]:
        """A client of the selected database, closed at the end."""
        from jobctl.client import Client

        with Client(self.database, processors=processors, require_note=self.configuration.require_note) as client:
            yield client

    def registry(self, modules: Sequence[str] | None, others: Sequence[AnyProcessor] | None = None) -> Registry:
        """The processors of these modules, or else of those that the configuration names; maybe none.

        Args:
            modules: What ``--processors`` says.
            others: Commands that handle types; None: those of the configuration, which are known then, not run.
        """
        wanted = names("--processors", modules)
        from jobctl.registry import Registry, load_modules

        wanted = wanted or list(self.configuration.processors)
        if others is None and self.configuration.programs:
            from jobctl.cli.working import command_processors
            from jobctl.processes import Commands

            others = command_processors(self.configuration.programs, Commands(), {})
        if not wanted:
            return Registry(others or ())
        with contextlib.redirect_stdout(sys.stderr):  # what a module prints when it is imported is no data
            return load_modules(wanted, others or ())


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person looks at the stream."""
    return stream is not None and not stream.closed and stream.isatty()
