"""Which database, and which processors: options, environment, configuration file."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobctl.errors import UsageError

if TYPE_CHECKING:
    from jobctl.cli.programs import Program

FILE_NAME = "jobctl.toml"
KEYS = ("database", "processors", "require_note", "exec", "on_failed")


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a configuration file says.

    Attributes:
        database: A URL, or None.
        processors: Modules, by name or by the path of their file.
        require_note: Whether what is done by hand needs a note that says why.
        programs: Commands that handle job types, by type.
        on_failed: What to run for a job that has failed, or None.
    """

    database: str | None = None
    processors: tuple[str, ...] = ()
    require_note: bool = False
    programs: Mapping[str, Program] = field(default_factory=dict)
    on_failed: Program | None = None


def read_configuration(option: str | None) -> Configuration:
    """The configuration: of ``--config``, JOBCTL_CONFIG, the current folder, or the user's; empty without a file.

    Raises:
        UsageError: A file that was named does not exist, or a file cannot be understood.
    """
    named = option if option is not None else os.environ.get("JOBCTL_CONFIG") or None
    if named is not None:
        return _read(Path(named).expanduser())
    here = Path(FILE_NAME)
    if here.is_file():
        return _read(here)
    from platformdirs import user_config_path

    users = user_config_path("jobctl") / FILE_NAME
    return _read(users) if users.is_file() else Configuration()


def database_url(option: str | None, configuration: Configuration) -> str:
    """The selected database: the option, JOBCTL_DATABASE, the configuration, or a file in the user's state folder."""
    chosen = option if option is not None else os.environ.get("JOBCTL_DATABASE") or configuration.database
    if chosen is not None:
        return chosen
    from platformdirs import user_state_path

    return f"sqlite:///{user_state_path('jobctl') / 'jobctl.db'}"


def _read(path: Path) -> Configuration:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"the configuration file {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the configuration file {path} is not TOML: {error}") from error
    for key in content:
        if key not in KEYS:
            raise UsageError(f"the configuration file {path} has an unknown key '{key}'; {_hint(key)}")
    folder = path.absolute().parent
    database, processors = content.get("database"), content.get("processors", [])
    if not (database is None or (isinstance(database, str) and database)):
        raise UsageError(f"in the configuration file {path}, 'database' must be a URL in quotes")
    if not _is_list_of_names(processors):
        raise UsageError(f"in the configuration file {path}, 'processors' must be a list of module names in quotes")
    require_note = content.get("require_note", False)
    if not isinstance(require_note, bool):
        raise UsageError(f"in the configuration file {path}, 'require_note' must be true or false")
    return Configuration(
        database=None if database is None else _beside(folder, database),
        processors=tuple(_module(folder, each) for each in processors),
        require_note=require_note,
        **_programs(path, content),
    )


def _programs(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """What the file says of commands to be run."""
    if not content.keys() & {"exec", "on_failed"}:
        return {}  # most commands have no use for what reads them
    from jobctl.cli.programs import hook_of_toml, programs_of_toml

    hook = content.get("on_failed")
    return {
        "programs": programs_of_toml(path, content.get("exec", {})),
        "on_failed": None if hook is None else hook_of_toml(path, hook),
    }


def _is_list_of_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) and each for each in value)


def _hint(key: str) -> str:
    close = difflib.get_close_matches(key, KEYS, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(KEYS)}"


def _beside(folder: Path, url: str) -> str:
    """A file's URL with its relative path taken from the configuration's folder."""
    prefix, slashes, name = url.partition(":///")
    if not prefix.startswith("sqlite") or not name or name.startswith(("/", "~", ":")):
        return url
    return f"{prefix}{slashes}{folder / name}"


def _module(folder: Path, name: str) -> str:
    """A module's name, or the path of its file taken from the configuration's folder."""
    if not (name.endswith(".py") or "/" in name):
        return name
    return str(folder / Path(name).expanduser())
