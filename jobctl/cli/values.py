"""What kinds of values a setting may have, and how each is written in a file, a variable or an option.

All settings are made for each command: what only some kinds need is imported when a value is read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from jobctl.cli import parse
from jobctl.codecs import parse_json
from jobctl.errors import InvalidDataError, UsageError
from jobctl.sensitive import check_paths

if TYPE_CHECKING:
    from jobctl.cli.programs import Program
    from jobctl.retention import Retention

T = TypeVar("T")

Text = str | Sequence[str]
"""What stands in a variable or an option; an option that is repeatable has several."""


YES = ("true", "1", "yes", "on")
NO = ("false", "0", "no", "off")


class Kind(ABC, Generic[T]):
    """A kind of values.

    In both readers ``source`` says where the value stands, in the words with which a message about it begins.
    """

    @abstractmethod
    def of_text(self, source: str, text: Text) -> T:
        """The value that a variable or an option gives.

        Raises:
            UsageError: It is none of this kind.
        """

    @abstractmethod
    def of_toml(self, source: str, value: Any, folder: Path) -> T:
        """The value that a configuration file in this folder gives.

        Raises:
            UsageError: It is none of this kind.
        """

    def shown(self, value: T) -> Any:
        """The value as JSON."""
        return value


class Words(Kind[str]):
    """A text.

    Attributes:
        what: What the text is, for messages.
    """

    def __init__(self, what: str = "a text") -> None:
        self.what = what

    def of_text(self, source: str, text: Text) -> str:
        if not text or not isinstance(text, str):
            raise UsageError(f"{source} is empty: give {self.what}, or leave it out")
        return text

    def of_toml(self, source: str, value: Any, folder: Path) -> str:
        if not (isinstance(value, str) and value):
            raise UsageError(f"{source} must be {self.what} in quotes")
        return self.of_text(source, value)


class Url(Words):
    """A database's URL; the relative path of a file begins in the configuration's folder."""

    def __init__(self) -> None:
        super().__init__("a URL")

    def of_toml(self, source: str, value: Any, folder: Path) -> str:
        url = super().of_toml(source, value, folder)
        prefix, slashes, name = url.partition(":///")
        if not prefix.startswith("sqlite") or not name or name.startswith(("/", "~", ":")):
            return url
        return f"{prefix}{slashes}{folder / name}"


class OneOf(Words):
    """One of some words."""

    def __init__(self, *allowed: str) -> None:
        super().__init__(" or ".join(allowed))
        self.allowed = allowed

    def of_text(self, source: str, text: Text) -> str:
        return parse.one_of(source, super().of_text(source, text), self.allowed)


class Flag(Kind[bool]):
    """Yes or no."""

    def of_text(self, source: str, text: Text) -> bool:
        return parse.one_of(source, str(text).lower(), (*YES, *NO)) in YES

    def of_toml(self, source: str, value: Any, folder: Path) -> bool:
        if not isinstance(value, bool):
            raise UsageError(f"{source} must be true or false")
        return value


class Whole(Kind[int]):
    """A whole number."""

    def __init__(self, allowed: range) -> None:
        self.allowed = allowed

    def of_text(self, source: str, text: Text) -> int:
        return parse.whole(source, str(text), self.allowed)

    def of_toml(self, source: str, value: Any, folder: Path) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise UsageError(f"{source} must be a whole number, without quotes")
        return self.of_text(source, str(value))


class Duration(Kind[timedelta]):
    """A length of time."""

    def __init__(self, least: str = "0s") -> None:
        self.least = least

    def of_text(self, source: str, text: Text) -> timedelta:
        return parse.duration(source, str(text), self.least)

    def of_toml(self, source: str, value: Any, folder: Path) -> timedelta:
        if not isinstance(value, str):
            raise UsageError(f'{source} must be a duration in quotes, such as "30s"')
        return self.of_text(source, value)

    def shown(self, value: timedelta) -> str:
        return f"{value.total_seconds():.12g}s"


class Age(Words):
    """How long something is kept: a length of time as it is written, or ``never``."""

    def __init__(self) -> None:
        super().__init__("an age such as 30d, or never,")

    def of_text(self, source: str, text: Text) -> str:
        from jobctl.retention import NEVER

        age = super().of_text(source, text)
        if age != NEVER:
            parse.duration(source, age)
        return age


class Ages(Kind["Retention"]):
    """How long chains are kept, by the status in which they ended."""

    def of_text(self, source: str, text: Text) -> Retention:
        raise UsageError(f"{source} is no single value")

    def of_toml(self, source: str, value: Any, folder: Path) -> Retention:
        from jobctl.retention import STATUSES, Retention

        if not isinstance(value, dict):
            raise UsageError(f"{source} must be a table: an age for {', '.join(STATUSES)}")
        ages = {
            parse.one_of(source, status, STATUSES): Age().of_toml(f"{source}: '{status}'", age, folder)
            for status, age in value.items()
        }
        return Retention(**ages)

    def shown(self, value: Retention) -> dict[str, str]:
        from jobctl.retention import STATUSES

        return {status: str(age) for status in STATUSES if (age := getattr(value, status)) is not None}


class Names(Kind[Sequence[str]]):
    """Names: a list in a file, elsewhere separated by commas."""

    def __init__(self, what: str = "names") -> None:
        self.what = what

    def of_text(self, source: str, text: Text) -> Sequence[str]:
        return parse.names(source, [text] if isinstance(text, str) else text)

    def of_toml(self, source: str, value: Any, folder: Path) -> Sequence[str]:
        if not (isinstance(value, list) and all(isinstance(each, str) and each for each in value)):
            raise UsageError(f"{source} must be a list of {self.what} in quotes")
        return value

    def shown(self, value: Sequence[str]) -> list[str]:
        return list(value)


class Paths(Names):
    """Paths into values, such as ``auth.token``."""

    def __init__(self) -> None:
        super().__init__("paths")

    def of_toml(self, source: str, value: Any, folder: Path) -> Sequence[str]:
        return check_paths(source, super().of_toml(source, value, folder), UsageError)


class Modules(Names):
    """Modules by name or by the path of their file; a relative path begins in the configuration's folder."""

    def __init__(self) -> None:
        super().__init__("module names")

    def of_toml(self, source: str, value: Any, folder: Path) -> Sequence[str]:
        return [
            str(folder / Path(each).expanduser()) if each.endswith(".py") or "/" in each else each
            for each in super().of_toml(source, value, folder)
        ]


class Table(Kind[Mapping[str, T]]):
    """Values by names of the user's own, such as job types. In a variable or an option it is a JSON object.

    Attributes:
        value: The kind of each.
    """

    def __init__(self, value: Kind[T]) -> None:
        self.value = value

    def of_text(self, source: str, text: Text) -> Mapping[str, T]:
        try:
            given = parse_json(str(text))
        except InvalidDataError as error:
            raise UsageError(f"{source} {error}") from error
        return self.of_toml(source, given, Path())

    def of_toml(self, source: str, value: Any, folder: Path) -> Mapping[str, T]:
        if not isinstance(value, dict):
            raise UsageError(f"{source} must be a table: a value for each name")
        return {name: self.value.of_toml(f"{source}: '{name}'", each, folder) for name, each in value.items()}

    def shown(self, value: Mapping[str, T]) -> dict[str, Any]:
        return {name: self.value.shown(each) for name, each in value.items()}


class OfProgram(Kind["Program"]):
    """A command to be run: a text, in a file also a list of words or a table.

    Attributes:
        hook: It is run for a job, and handles none.
    """

    def __init__(self, *, hook: bool = False) -> None:
        self.hook = hook

    def of_text(self, source: str, text: Text) -> Program:
        from jobctl.cli.programs import program_of_text

        return program_of_text(source, str(text))

    def of_toml(self, source: str, value: Any, folder: Path) -> Program:
        from jobctl.cli.programs import FIELDS, HOOK_FIELDS, program_of_toml

        return program_of_toml(source, value, folder, HOOK_FIELDS if self.hook else FIELDS)

    def shown(self, value: Program | None) -> Any:
        return None if value is None else list(value.words)
