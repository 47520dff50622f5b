"""What is never shown: finding it in values, and taking it out of values and texts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

MASK: Final = "***"
"""What stands for a value that is not shown."""

SHORTEST: Final = 4
"""A value of fewer characters is left in texts: taking every 12 out of an error would leave nothing to read."""

ANY: Final = "*"
"""In a path: whatever key."""

Path = Sequence[str]


def check_paths(whose: str, paths: Collection[str], error: type[Exception]) -> tuple[str, ...]:
    """The paths, if they are such as ``card`` or ``auth.token``.

    Raises:
        Exception: One of this class: they are none.
    """
    if isinstance(paths, str) or not all(all(str(each).split(".")) for each in paths):
        raise error(f'{whose}: sensitive is a list of paths such as "card" or "auth.token", not {paths!r}')
    return tuple(dict.fromkeys(paths))


class Sensitive:
    """What is sensitive in the inputs and outputs of some types.

    A path goes through lists to each of their items; ``*`` is any key.
    """

    def __init__(self, paths: Mapping[str, Collection[str]], *, everything: bool = False) -> None:
        """Make it.

        Args:
            paths: The paths, by type.
            everything: Nothing is known, so that nothing may be shown.
        """
        self._paths = {name: [each.split(".") for each in some] for name, some in paths.items() if some}
        self._everything = everything

    def __bool__(self) -> bool:
        return bool(self._paths) or self._everything

    def masked(self, value: Any, *types: str) -> Any:
        """A JSON value of these types without what is sensitive."""
        paths = self._of(types)
        return _masked(value, paths) if paths else value

    def scrubbed(self, text: str, *values: tuple[Any, Iterable[str]]) -> str:
        """A text without what is sensitive in values.

        Args:
            text: An error, say.
            values: Each with the types whose paths count.
        """
        found = {each for value, types in values for each in _secrets(value, self._of(types))}
        for each in sorted(found, key=len, reverse=True):
            text = text.replace(each, MASK)
        return text

    def _of(self, types: Iterable[str]) -> list[Path]:
        if self._everything:
            return [[]]
        return [path for name in dict.fromkeys(types) for path in self._paths.get(name, ())]


def _masked(value: Any, paths: Collection[Path]) -> Any:
    if value is None:
        return None
    if not all(paths):
        return MASK
    if isinstance(value, list):
        return [_masked(each, paths) for each in value]
    if isinstance(value, dict):
        return {key: _masked(each, below) if (below := _below(paths, key)) else each for key, each in value.items()}
    return value


def _secrets(value: Any, paths: Collection[Path]) -> Iterator[str]:
    """What is sensitive in a value, in each way in which a text may have it."""
    if not paths:
        return
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = vars(value) if hasattr(value, "__dict__") else dataclasses.asdict(value)
    whole = not all(paths)
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _secrets(each, [[]] if whole else _below(paths, key))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _secrets(each, paths)
    elif whole and value is not None and not isinstance(value, bool):
        text = str(value)
        if len(text) >= SHORTEST:
            yield text
            yield repr(text)[1:-1]
            yield json.dumps(text)[1:-1]
            yield json.dumps(text, ensure_ascii=False)[1:-1]


def _below(paths: Collection[Path], key: str) -> list[Path]:
    return [path[1:] for path in paths if path[0] in {key, ANY}]
