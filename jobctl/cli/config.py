"""The configuration: a file with profiles, and what overrides it."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from jobctl.cli.settings import SETTINGS, Setting
from jobctl.cli.values import Table, Text
from jobctl.errors import UsageError

T = TypeVar("T")

FILE_NAME = "jobctl.toml"
PROFILE = "profile"
PROFILES = "profiles"
PROFILE_VARIABLE = "JOBCTL_PROFILE"

_BY_KEY = {each.key: each for each in SETTINGS}
_TABLES = {each.key.partition(".")[0] for each in SETTINGS if "." in each.key}


class Source(NamedTuple):
    """Where a value came from.

    Attributes:
        kind: The nearest of these that says something counts.
        where: The option, the variable, the profile or the file; None for a default.
    """

    kind: Literal["option", "environment", "profile", "file", "default"]
    where: str | None = None

    def __str__(self) -> str:
        prefix = {"environment": "$", "profile": "profile "}.get(self.kind, "")
        return f"{prefix}{self.where or self.kind}"


DEFAULT = Source("default")


class Found(NamedTuple, Generic[T]):
    """A value, and where it came from."""

    value: T
    source: Source


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a configuration file says, with one of its profiles.

    Attributes:
        file: The file; None: there is none.
        profile: The profile that was chosen.
        profile_source: By what.
        profiles: All that the file has.
        values: By key, what the file or its profile says.
        given: By key, what ``--setting`` says.
    """

    file: Path | None = None
    profile: str | None = None
    profile_source: Source = DEFAULT
    profiles: Sequence[str] = ()
    values: Mapping[str, Found[Any]] = field(default_factory=dict)
    given: Mapping[str, Found[Any]] = field(default_factory=dict)

    def find(self, setting: Setting[T], option: Text | None = None) -> Found[T]:
        """The value of a setting: of its option, ``--setting``, its variable, the profile, the file, or the default.

        Args:
            setting: The setting.
            option: What the option says; None or an empty list: it was not given.

        Raises:
            UsageError: The option or the variable says what is no value of this setting.
        """
        if option is not None and option != []:
            where = setting.option or setting.key
            return Found(setting.kind.of_text(where, option), Source("option", where))
        if (given := self.given.get(setting.key)) is not None:
            return given
        variable = setting.variable
        if variable is not None and (text := os.environ.get(variable)):
            return Found(setting.kind.of_text(f"the variable {variable}", text), Source("environment", variable))
        if (found := self.values.get(setting.key)) is not None:
            return found
        return Found(setting.default_value(), DEFAULT)


def read_configuration(file: str | None, profile: str | None = None, given: Sequence[str] = ()) -> Configuration:
    """The configuration: of ``--config``, JOBCTL_CONFIG, the current folder, or the user's; empty without a file.

    The profile is that of ``--profile``, JOBCTL_PROFILE, or ``profile`` in the file.

    Args:
        file: What ``--config`` says.
        profile: What ``--profile`` says.
        given: What ``--setting`` says, each as KEY=VALUE.

    Raises:
        UsageError: A file or profile that was named does not exist, or a file or a setting cannot be understood.
    """
    path = _path(file)
    content = {} if path is None else _content(path)
    own = content.pop(PROFILE, None)
    profiles = content.pop(PROFILES, {})
    if not (own is None or (isinstance(own, str) and own)):
        raise UsageError(f"in the configuration file {path}, '{PROFILE}' must be a profile's name in quotes")
    if not (isinstance(profiles, dict) and all(isinstance(each, dict) for each in profiles.values())):
        raise UsageError(f"in the configuration file {path}, '{PROFILES}' must have a table for each profile")
    chosen, source = _profile(profile, own, path)
    if chosen is not None and chosen not in profiles:
        raise UsageError(_no_such_profile(chosen, source, path, list(profiles)))
    said = dict(map(_given, given))
    if path is None:
        return Configuration(given=said)
    values = dict(_values(path, content, None))
    for name, table in profiles.items():
        own_values = dict(_values(path, table, name))  # not only of the chosen one: a mistake shows early
        if name == chosen:
            for key, found in own_values.items():
                values[key] = _over(values.get(key), found, _BY_KEY[key])
    return Configuration(path, chosen, source, tuple(profiles), values, said)


def _given(text: str) -> tuple[str, Found[Any]]:
    """A key and its value, as ``--setting`` has them."""
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--setting: '{text}' is not KEY=VALUE, such as worker.lease=1m")
    setting = _BY_KEY.get(key)
    if setting is None:
        raise UsageError(f"--setting: there is no key '{key}'; {_key_hint(key)}")
    if setting.of_profile:
        raise UsageError(f"--setting: '{key}' says what a profile is: write it below one in the configuration file")
    return key, Found(setting.kind.of_text(f"--setting {key}", value), Source("option", "--setting"))


def _over(file: Found[Any] | None, profile: Found[Any], setting: Setting[Any]) -> Found[Any]:
    """The profile's value; of a table, its entries go over those of the file."""
    if file is None or not isinstance(setting.kind, Table):
        return profile
    return Found({**file.value, **profile.value}, profile.source)


# --- which file and profile --------------------------------------------------------------------------------------


def _path(option: str | None) -> Path | None:
    named = option if option is not None else os.environ.get("JOBCTL_CONFIG") or None
    if named is not None:
        return Path(named).expanduser()
    here = Path(FILE_NAME)
    if here.is_file():
        return here
    from platformdirs import user_config_path

    users = user_config_path("jobctl") / FILE_NAME
    return users if users.is_file() else None


def _profile(option: str | None, own: str | None, path: Path | None) -> tuple[str | None, Source]:
    if option is not None:
        if not option:
            raise UsageError("--profile is empty: give a name, or leave it out")
        return option, Source("option", "--profile")
    if text := os.environ.get(PROFILE_VARIABLE):
        return text, Source("environment", PROFILE_VARIABLE)
    return (None, DEFAULT) if own is None else (own, Source("file", str(path and path.absolute())))


def _no_such_profile(name: str, source: Source, path: Path | None, known: Sequence[str]) -> str:
    said = f"there is no profile '{name}'{f' ({source.where})' if source.kind == 'environment' else ''}"
    if path is None:
        return f"{said}: there is no configuration file; name one with --config FILE"
    if not known:
        return f"{said}: the configuration file {path} has no profiles; write [{PROFILES}.{name}]"
    return f"{said} in the configuration file {path}; {_hint(name, known)}"


# --- what a file says --------------------------------------------------------------------------------------------


def _content(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"the configuration file {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the configuration file {path} is not TOML: {error}") from error


def _values(path: Path, content: Mapping[str, Any], profile: str | None) -> Iterator[tuple[str, Found[Any]]]:
    """What a file, or a profile in it, says: checked, by key."""
    source = Source("file", str(path.absolute())) if profile is None else Source("profile", profile)
    within = "" if profile is None else f"{PROFILES}.{profile}."
    for key, value in _flat(path, content, within):
        setting = _BY_KEY.get(key)
        if setting is None:
            raise UsageError(f"the configuration file {path} has an unknown key '{within}{key}'; {_key_hint(key)}")
        if setting.of_profile and profile is None:
            raise UsageError(f"in the configuration file {path}, '{key}' is about a profile: write it below one")
        said = f"in the configuration file {path}, '{within}{key}'"
        yield key, Found(setting.kind.of_toml(said, value, path.absolute().parent), source)


def _flat(path: Path, content: Mapping[str, Any], within: str) -> Iterator[tuple[str, Any]]:
    """Keys and values, those of a table that holds settings with its name before them."""
    for key, value in content.items():
        if key not in _TABLES:
            yield key, value
        elif isinstance(value, dict):
            yield from ((f"{key}.{each}", inner) for each, inner in value.items())
        else:
            raise UsageError(f"in the configuration file {path}, '{within}{key}' must be a table: [{within}{key}]")


def _key_hint(key: str) -> str:
    """What may have been meant: a key of the same table, or else one that ends like it."""
    table, dot, last = key.rpartition(".")
    prefix = f"{table}{dot}"
    beside = [each.removeprefix(prefix) for each in _BY_KEY if each.startswith(prefix)]
    ends = {each.rpartition(".")[2]: each for each in _BY_KEY}
    if close := difflib.get_close_matches(last, beside, n=1):
        return f"did you mean '{prefix}{close[0]}'?"
    if close := difflib.get_close_matches(last, ends, n=1):
        return f"did you mean '{ends[close[0]]}'?"
    if dot:
        return f"known in [{table}]: {', '.join(beside)}"
    return f"known: {', '.join(sorted({PROFILE, PROFILES, *_TABLES, *(each for each in _BY_KEY if '.' not in each)}))}"


def _hint(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"
