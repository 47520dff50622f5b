"""The names of job types."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol


class Named(Protocol):
    """What has the name of a job type, as a processor does."""

    @property
    def name(self) -> str:
        """The type."""


def type_name_of(processor_or_name: str | Named) -> str:
    """The type's name, whichever way it was named."""
    return processor_or_name if isinstance(processor_or_name, str) else processor_or_name.name


_NAME = re.compile(r"[^\s,\x00]{1,200}")


def check_type_name(name: str, error: Callable[[str], Exception]) -> None:
    """Refuse names that could not be listed on a command line."""
    if not _NAME.fullmatch(name):
        raise error(f"{name!r} is not a type name: 1 to 200 characters, without white space or commas")
