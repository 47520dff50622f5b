"""One run of a command: its streams, its database and its processors."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import sys
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from jobctl.cli import settings
from jobctl.cli.config import Configuration, Found, read_configuration
from jobctl.cli.documents import to_json
from jobctl.cli.options import Common
from jobctl.cli.values import Text
from jobctl.errors import JobctlError
from jobctl.passwords import without_password

if TYPE_CHECKING:
    from rich.console import Console
    from sqlalchemy import Connection

    from jobctl.client import Client
    from jobctl.processors import AnyProcessor
    from jobctl.registry import Registry
    from jobctl.sensitive import Sensitive
    from jobctl.storage.store import Store

T = TypeVar("T")


class Run:
    """What a command works with.

    Data goes to stdout, what is said to a person to stderr; neither is closed or replaced here.
    """

    def __init__(self, common: Common, *, changes: bool = False, json: bool = False) -> None:
        """Make the run of a command.

        Args:
            common: The options of every command.
            changes: Whether it changes data: then it is said which database it acts on.
            json: Whether JSON is asked for: then stderr has one object when it fails, and nothing else.
        """
        self.common = common
        self._changes = changes
        self._registry: Registry | None = None
        self._json = json
        self._mark = ""
        self._place = ""

    # --- streams -------------------------------------------------------------------------------------------------

    def out(self, text: str) -> None:
        """Write a line of data."""
        self.say_place()
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
        self.say_place()
        if not self.common.quiet:
            sys.stderr.write(f"{self._mark}{text}\n")

    def say_place(self) -> None:
        """Tell which database is acted on, before anything else is told; of a call that is refused at once, nothing."""
        place, self._place = self._place, ""
        if place and not self.common.quiet:
            sys.stderr.write(f"{place}\n")

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

    def console(self, stream: TextIO | None = None) -> Console:
        """A console on stdout, or another stream, for a terminal alone."""
        from rich.console import Console

        stream = stream or sys.stdout
        return Console(
            file=stream,
            color_system="auto" if self.colored(stream) else None,
            markup=False,
            highlight=False,
            emoji=False,
        )

    # --- configuration, database and processors ------------------------------------------------------------------

    @cached_property
    def configuration(self) -> Configuration:
        """What the configuration file and its profile say."""
        return read_configuration(self.common.config, self.common.profile, self.common.setting or ())

    def setting(self, setting: settings.Setting[T], option: Text | None = None) -> T:
        """The value of a setting: the option's if it was given, else that of the variable, file or default."""
        return self.configuration.find(setting, option).value

    @property
    def database(self) -> str:
        """The selected database's URL."""
        return self._database.value

    @property
    def _database(self) -> Found[str]:
        return self.configuration.find(settings.DATABASE, self.common.database)

    @contextlib.contextmanager
    def store(self, *, pool_size: int = 5, told: bool = False) -> Iterator[Store]:
        """The selected database, closed at the end. A command that changes data says which it is.

        Args:
            pool_size: How many connections are kept open.
            told: The command says it in a way of its own.
        """
        from jobctl.storage.open import open_store

        store = open_store(self.database, pool_size=pool_size)
        place = self._place_of(store.label) if self._changes and not told else ""
        try:
            self._place = "" if self._json else place
            yield store
            self._place = place if self._json else self._place
            self.say_place()
        except JobctlError as error:
            self._place = ""
            if self._changes:
                vars(error).setdefault("database", without_password(store.label))  # a fact of it, for --json
            raise
        finally:
            store.close()

    def _place_of(self, label: str) -> str:
        """The database, for a person: and the profile, and what went over the profile's own."""
        text, source, profile = f"on {without_password(label)}", self._database.source, self.configuration.profile
        if profile is None:
            return text
        ignored = source.kind in {"option", "environment"} and settings.DATABASE.key in self.configuration.values
        return f"{text} ({source}), not that of profile {profile}" if ignored else f"{text} (profile {profile})"

    @contextlib.contextmanager
    def client(self, processors: Registry | None = None, *, dry_run: bool = False) -> Iterator[Client]:
        """A client of the selected database, closed at the end.

        For a dry run, what is said is marked, and where there is no database yet one is lent that is gone at the end.
        """
        from jobctl.client import Client

        with self.store() as store:
            note = self.setting(settings.REQUIRE_NOTE)
            self._mark = "dry run: " if dry_run else ""
            if store.exists() or not dry_run:
                yield Client(store, processors=processors, require_note=note)
                return
            from jobctl.storage.scratch import scratch_database

            with scratch_database(None) as lent, Client(lent, processors=processors, require_note=note) as client:
                yield client

    def ends(self) -> None:
        """Say last what must not be overlooked."""
        if self._mark:
            self.say("nothing was changed")

    @contextlib.contextmanager
    def acting(
        self, processors: Registry | None = None, *, dry_run: bool
    ) -> Iterator[tuple[Client, Connection | None]]:
        """A client to change data with, and for a dry run the one transaction to do it in, rolled back at the end."""
        with (
            self.client(processors, dry_run=dry_run) as client,
            client.dry_run() if dry_run else contextlib.nullcontext() as conn,
        ):
            yield client, conn

    def registry(self, modules: Sequence[str] | None, others: Sequence[AnyProcessor] | None = None) -> Registry:
        """The processors of these modules, or else of those that the configuration names; maybe none.

        Args:
            modules: What ``--processors`` says.
            others: Commands that handle types; None: those of the configuration, which are known then, not run.
        """
        wanted = self.setting(settings.PROCESSORS, modules)
        from jobctl.registry import Registry, load_modules

        if others is None and (programs := self.setting(settings.EXEC)):
            from jobctl.cli.working import command_processors
            from jobctl.processes import Commands

            others = command_processors(programs, Commands(), {})
        registry = Registry(others or ())
        if wanted:
            _search_what_follows()
            with contextlib.redirect_stdout(sys.stderr):  # what a module prints when it is imported is no data
                registry = load_modules(wanted, others or ())
        registry.hide(self.setting(settings.SENSITIVE))
        self._registry = registry
        return registry

    @cached_property
    def sensitive(self) -> Sensitive:
        """What is not shown: what the configuration says, and the processors, if they are given or configured.

        Where these cannot be loaded nobody knows what they call sensitive: then no input and no output is shown.
        """
        from jobctl.sensitive import Sensitive

        try:
            registry = self._registry if self._registry is not None else self.registry(None)
        except JobctlError as error:
            self.say(f"inputs, outputs and errors are hidden: what is sensitive in them is not known; {error}")
            return Sensitive({}, everything=True)
        return registry.sensitive


def _search_what_follows() -> None:
    """Have what a module brings be searched for garbage at the exit: what it leaves open is written and closed then.

    What is imported before goes unsearched, as it does when there is no module.
    """
    import jobctl.client  # noqa: F401 - most of what a command imports

    gc.freeze()
    atexit.unregister(gc.freeze)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person looks at the stream."""
    return stream is not None and not stream.closed and stream.isatty()
