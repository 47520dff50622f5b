"""How values are said to people, in whatever is told of them."""

from __future__ import annotations

_UNITS = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))


def span(seconds: float) -> str:
    """A length of time for people: its one or two largest units."""
    seconds = abs(seconds)
    if seconds < 0.001:
        return "<1ms"
    if seconds < 10:
        return f"{seconds * 1000:.0f}ms" if seconds < 0.9995 else f"{seconds:.1f}".removesuffix(".0") + "s"
    rest = round(seconds)
    for place, (unit, size) in enumerate(_UNITS):
        if rest >= size:
            count, rest = divmod(rest, size)
            smaller, its_size = _UNITS[min(place + 1, len(_UNITS) - 1)]
            less = rest // its_size if place + 1 < len(_UNITS) and count < 10 else 0
            return f"{count}{unit}{less}{smaller}" if less else f"{count}{unit}"
    return "0s"


def said(error: str) -> str:
    """The line of an error's text that says what it was: the last, but SQLAlchemy's end in the statement and a link."""
    lines = error.rstrip().split("\n")
    if lines[-1].startswith("(Background on this error at: "):
        lines = [each for each in lines if each.startswith("sqlalchemy.exc.")] or lines[:-1]
    return lines[-1].strip()


def size(count: int) -> str:
    """A number of bytes, in the largest unit of which there is one."""
    number, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if number < 1024:
            break
        number, unit = number / 1024, larger
    return f"{number:.0f} {unit}" if number >= 10 or unit == "bytes" else f"{number:.1f} {unit}"
