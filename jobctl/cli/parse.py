"""From what is written on a command line to values; what cannot be read is refused with the option's name."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

from jobctl.cli.documents import iso
from jobctl.codecs import parse_json
from jobctl.errors import InvalidDataError, UsageError
from jobctl.ids import require_id
from jobctl.model import Status, parse_duration

Say = Callable[[str], None]


def json_argument(option: str, text: str) -> Any:
    """A JSON value: written out, ``@file``, or ``-`` for stdin.

    Raises:
        InvalidDataError: It is not JSON.
        UsageError: The file cannot be read.
    """
    source, content = option, text
    if text == "-":
        source = f"{option} (stdin)"
        if sys.stdin is None:
            raise UsageError(f"{option} - reads stdin, which is closed")
        content = _decoded(source, sys.stdin.buffer.read())
    elif text.startswith("@"):
        path = Path(text[1:]).expanduser()
        source = f"{option} ({path})"
        try:
            content = _decoded(source, path.read_bytes())
        except OSError as error:
            raise UsageError(f"{option}: the file {path} cannot be read: {error.strerror}") from error
    try:
        return parse_json(content)
    except InvalidDataError as error:
        hint = "" if source != option else f"; write {option} '{{\"a\": 1}}', {option} @file, or {option} - for stdin"
        raise InvalidDataError(f"{source} {error}{hint}") from error


def _decoded(source: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidDataError(f"{source} is not JSON: it is not UTF-8 text") from error


def set_arguments(pairs: Iterable[str]) -> dict[str, Any]:
    """An object from ``key=value``, a text, and ``key:=json``.

    Raises:
        InvalidDataError: A value is not JSON.
        UsageError: A pair cannot be read, or a key is given twice.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        before, equals, text = pair.partition("=")
        key = before.removesuffix(":")
        if not equals or not key:
            raise UsageError(f"--set {pair!r} is not a pair: write key=value for a text, or key:=json")
        if key in found:
            raise UsageError(f"--set gives '{key}' twice")
        if key == before:
            found[key] = text
            continue
        try:
            found[key] = parse_json(text)
        except InvalidDataError as error:
            raise InvalidDataError(f"--set {key}:= {error}; write {key}={text} for a text") from error
    return found


def input_argument(input_: str | None, pairs: Sequence[str] | None) -> Any:
    """The input that ``--input`` or ``--set`` gives; None when neither does."""
    if input_ is not None and pairs:
        raise UsageError("--input and --set exclude each other: give one of them")
    if pairs:
        return set_arguments(pairs)
    return None if input_ is None else json_argument("--input", input_)


def duration(option: str, text: str, least: str = "0s") -> timedelta:
    """A duration such as ``2h30m``."""
    try:
        found = parse_duration(text)
    except UsageError as error:
        raise UsageError(f"{option}: {error}") from error
    if found < parse_duration(least):
        raise UsageError(f"{option}: '{text}' is too short: {least} or more")
    return found


def instant(option: str, text: str, say: Say) -> datetime:
    """A time in ISO 8601; without a zone it is local time, and which instant that is, is said."""
    try:
        read = datetime.fromisoformat(text.strip())
        zoned = read.astimezone()
        result = zoned.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f"{option}: '{text}' is not a time: write 2026-01-31T17:00, 2026-01-31T17:00+01:00 or 2026-01-31"
        ) from None
    if read.tzinfo is None:
        say(f"{option} {text} is local time (UTC{zoned.isoformat()[-6:]}): {iso(result)}")
    return result


def schedule(after: str | None, at: str | None, say: Say) -> dict[str, Any]:
    """The arguments ``after`` and ``at`` of what is to be due later."""
    if after is not None and at is not None:
        raise UsageError("--after and --at exclude each other: give one of them")
    return {
        "after": None if after is None else duration("--after", after),
        "at": None if at is None else instant("--at", at, say),
    }


def ago(option: str, text: str | None, say: Say) -> datetime | None:
    """A time, or how long ago it was."""
    if text is None:
        return None
    try:
        before = parse_duration(text)
    except UsageError:
        return instant(option, text, say)
    try:
        return datetime.now(UTC) - before
    except OverflowError:
        raise UsageError(f"{option}: '{text}' is too long ago") from None


def whole(option: str, text: str, allowed: range | None = None) -> int:
    """A whole number."""
    try:
        number = int(text)
    except ValueError:
        raise UsageError(f"{option}: '{text}' is not a whole number") from None
    if allowed is not None and number not in allowed:
        raise UsageError(f"{option}: {number} is out of range: {allowed.start} to {allowed.stop - 1}")
    return number


def ids(given: Sequence[str]) -> list[str]:
    """The ids given, each once in its one spelling; ``-`` stands for those on stdin.

    Of a line of stdin its first field counts, so that what ``list`` prints is understood too.

    Raises:
        UsageError: One is not an id, or stdin is closed.
    """
    found: list[str] = []
    for each in given:
        if each == "-":
            found += ids_of_stdin()
        else:
            found.append(require_id(each))
    return list(dict.fromkeys(found))


def ids_of_stdin(separator: str | None = None) -> Iterator[str]:
    """The first field of each line of stdin that is not blank.

    Args:
        separator: What ends a field; None: white space. Acts take a tab alone, as ``list`` prints it in a pipe, so that
            a line that begins with an id by chance is refused.

    Raises:
        UsageError: One is not an id, or stdin is closed.
    """
    if sys.stdin is None:
        raise UsageError("- reads ids from stdin, which is closed")
    for number, line in enumerate(sys.stdin.buffer, 1):
        fields = line.decode("utf-8-sig", "replace").split(separator, maxsplit=1)
        field = fields[0].strip() if fields else ""
        if not field:
            continue
        try:
            yield require_id(field)
        except UsageError as error:
            raise UsageError(f"line {number} of stdin: {error}") from None


def one_of(option: str, text: str, allowed: Sequence[str]) -> str:
    """One of some words."""
    if text not in allowed:
        _refuse_word(option, text, allowed)
    return text


def names(option: str, given: Sequence[str] | None) -> list[str]:
    """The names of an option that is repeatable and takes several with commas.

    Raises:
        UsageError: It was given and names nothing: an empty variable in a script shall not mean "all".
    """
    found = [name.strip() for each in given or () for name in each.split(",") if name.strip()]
    if given and not found:
        raise UsageError(f"{option} is empty: give a name, or leave it out")
    return found


def statuses(given: Sequence[str] | None) -> tuple[Status, ...]:
    """The statuses asked for."""
    known = [each.value for each in Status]
    return tuple(dict.fromkeys(Status(one_of("--status", each.lower(), known)) for each in names("--status", given)))


def _refuse_word(option: str, text: str, allowed: Sequence[str]) -> NoReturn:
    close = difflib.get_close_matches(text, allowed, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(allowed)}"
    raise UsageError(f"{option}: there is no '{text}'; {hint}")
