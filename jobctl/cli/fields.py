"""Picking single fields out of a document, for shell scripts."""

from __future__ import annotations

import difflib
from typing import Any

from jobctl.cli.documents import to_json
from jobctl.errors import NotFoundError


def pick(document: dict[str, Any], path: str, *, id_: str) -> str:
    """The field at a path such as ``output.requestId`` or ``jobs.-1.type``: a text as it is, else as JSON.

    Args:
        document: Where to look.
        path: Keys, and places in lists from 0 or from the end, with dots between them.
        id_: Whose document it is, for messages.

    Raises:
        NotFoundError: There is no such field; a field that is null is there.
    """
    value: Any = document
    walked: list[str] = []
    for step in path.split("."):
        found, value = _step(value, step)
        if not found:
            where = f"'{'.'.join(walked)}'" if walked else "it"
            raise NotFoundError(f"{id_} has no field '{path}': {_why(value, step, where)}", id=id_)
        walked.append(step)
    return value if isinstance(value, str) else to_json(value)


def _step(value: Any, step: str) -> tuple[bool, Any]:
    """Whether there is such a field, and its value, or else that in which it was looked for."""
    if isinstance(value, dict) and step in value:
        return True, value[step]
    if isinstance(value, list) and step.removeprefix("-").isdecimal() and -len(value) <= int(step) < len(value):
        return True, value[int(step)]
    return False, value


def _why(value: Any, step: str, where: str) -> str:
    match value:
        case dict():
            close = difflib.get_close_matches(step, value, n=1)
            return f"did you mean '{close[0]}'?" if close else f"{where} has {', '.join(value) or 'none'}"
        case list():
            return f"{where} is a list of {len(value)}"
        case _:
            return f"{where} is {to_json(value)[:40]}"
