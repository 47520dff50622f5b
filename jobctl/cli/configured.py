"""``config``: what is set, and by what."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from jobctl.cli import settings
from jobctl.cli.command import command
from jobctl.cli.config import Configuration, Found
from jobctl.cli.documents import to_json
from jobctl.cli.options import Json
from jobctl.cli.render import Column, plain, write_list
from jobctl.cli.run import Run, is_terminal
from jobctl.cli.settings import Setting
from jobctl.passwords import without_password

Line = tuple[Setting[Any], Found[Any]]


def _value(line: Line) -> str | None:
    """The value as a person would write it: a text as it is, anything else as JSON."""
    value = _shown(*line)
    return value if isinstance(value, str | None) else to_json(value)


def _shown(setting: Setting[Any], found: Found[Any]) -> Any:
    """The value as JSON, its secrets hidden."""
    return None if found.value is None else _hidden(setting.kind.shown(found.value))


COLUMNS: Sequence[Column[Line]] = (
    Column("setting", lambda line: line[0].key, lambda line, _: line[0].key),
    Column("value", _value, lambda line, _: _value(line), flexible=True),
    Column(
        "from",
        lambda line: str(line[1].source),
        lambda line, _: str(line[1].source),
        style=lambda line: "dim" if line[1].source.kind == "default" else "",
        flexible=True,
    ),
)


@command(
    "config",
    section="Database",
    examples=(
        ("jobctl config", "what is set, and by what"),
        ("jobctl config --json", ""),
    ),
)
def config(run: Run, json: Json = False) -> None:
    """Show the effective settings, and where each came from.

    That is an option, a variable, a profile, the file, or the default. Passwords are starred out. Off a terminal: a
    line per setting with its key, its value and its source, separated by tabs, - for nothing.
    """
    configuration = run.configuration
    lines = [(each, _found(run, each)) for each in settings.SETTINGS]
    if json:
        run.json(_document(configuration, lines))
        return
    if run.talks_to_person:
        run.say(_chosen(configuration))
    write_list(run, COLUMNS, lines)
    if is_terminal(sys.stdout) and configuration.profiles:
        run.say(f"profiles: {', '.join(map(plain, configuration.profiles))}")


def _found(run: Run, setting: Setting[Any]) -> Found[Any]:
    return run.configuration.find(setting, run.common.database if setting is settings.DATABASE else None)


def _hidden(value: Any) -> Any:
    match value:
        case str():
            return without_password(value)
        case list():
            return [_hidden(each) for each in value]
        case dict():
            return {name: _hidden(each) for name, each in value.items()}
        case _:
            return value


def _chosen(configuration: Configuration) -> str:
    if configuration.file is None:
        return "no configuration file"
    if configuration.profile is None:
        return f"file {configuration.file.absolute()}, no profile"
    return f"file {configuration.file.absolute()}, profile {configuration.profile} ({configuration.profile_source})"


def _document(configuration: Configuration, lines: list[Line]) -> dict[str, Any]:
    return {
        "file": None if configuration.file is None else str(configuration.file.absolute()),
        "profile": configuration.profile,
        "profiles": list(configuration.profiles),
        "settings": [
            {
                "key": setting.key,
                "value": _shown(setting, found),
                "source": found.source.kind,
                "where": found.source.where,
                "option": setting.option,
                "variable": setting.variable,
            }
            for setting, found in lines
        ],
    }
