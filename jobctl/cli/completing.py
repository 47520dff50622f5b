"""What a shell offers while a command line is typed: types, recent chains, words.

Whatever goes wrong here, nothing is offered, and nothing is said: a person is typing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, TypeVar

Item = TypeVar("Item")

Offer = str | tuple[str, str]
"""A word, and what it is."""

PATIENCE = 1.0
"""Seconds after which a database that does not answer has nothing to offer."""


def chains(ctx: Any, incomplete: str) -> Iterable[Offer]:
    """The chains that were started last, each with its type and age."""

    def ask(url: str) -> list[Offer]:
        from jobctl.cli.render import plain
        from jobctl.storage.recent import recent_chains
        from jobctl.wording import span

        now = time.time()
        return [
            (each.id, f"{plain(each.type_name)}, {span(max(0.0, now - each.created_at))} ago")
            for each in recent_chains(url, incomplete)
        ]

    return _asked(ctx, ask)


def types(ctx: Any, incomplete: str) -> Iterable[Offer]:
    """The types there are; of several with commas, the last one is completed."""
    before, comma, last = incomplete.rpartition(",")

    def ask(url: str) -> list[Offer]:
        from jobctl.storage.recent import known_types

        return [f"{before}{comma}{each}" for each in known_types(url, last)]

    return _asked(ctx, ask)


def statuses(incomplete: str) -> Iterable[Offer]:
    """The statuses; of several with commas, the last one is completed."""
    from jobctl.model import Status

    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{each.value}" for each in Status if each.value.startswith(last)]


def settings(incomplete: str) -> Iterable[Offer]:
    """The settings, to be followed by their values."""
    from jobctl.cli.settings import SETTINGS

    return [f"{each.key}=" for each in SETTINGS if not each.of_profile and each.key.startswith(incomplete)]


def profiles(ctx: Any, incomplete: str) -> Iterable[Offer]:
    """The profiles of the configuration."""
    try:
        return [each for each in _configuration(ctx, profile=None).profiles if each.startswith(incomplete)]
    except Exception:  # noqa: BLE001 - as said above
        return []


def words(*known: str) -> Callable[[str], Iterable[Offer]]:
    """Some words."""

    def offer(incomplete: str) -> Iterable[Offer]:
        return [each for each in known if each.startswith(incomplete)]

    return offer


def _asked(ctx: Any, ask: Callable[[str], list[Offer]]) -> list[Offer]:
    """What the database that is selected so far answers in time."""
    answer: list[Offer] = []
    try:
        from jobctl.cli.settings import DATABASE
        from jobctl.storage.recent import import_driver

        configuration = _configuration(ctx, _given(ctx, "profile"))
        url = configuration.find(DATABASE, _given(ctx, "database")).value
        import_driver(url)
    except Exception:  # noqa: BLE001 - as said above
        return []

    def run() -> None:
        with suppress(Exception):
            answer.extend(ask(url))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return list(answer)


def _configuration(ctx: Any, profile: str | None) -> Any:
    from jobctl.cli.config import read_configuration

    return read_configuration(_given(ctx, "config"), profile, _all_given(ctx, "setting"))


def _all_given(ctx: Any, name: str) -> list[str]:
    """All that a repeatable option of every command says on the line, the last last."""
    found: list[str] = []
    while ctx is not None:
        found[:0] = ctx.params.get(name) or ()
        ctx = ctx.parent
    return found


def _given(ctx: Any, name: str) -> str | None:
    """An option of every command that stands on the line, behind the command's name or before it."""
    while ctx is not None:
        if (value := ctx.params.get(name)) is not None:
            return str(value)
        ctx = ctx.parent
    return None
