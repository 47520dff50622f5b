"""Results: as a table, as JSON, and between the markers of a page."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.goals import Reached
from benchmarks.measuring import Result, Sizes

COLUMNS = ("benchmark", "database", "measured", "median", "min to max", "unit")
GOAL_COLUMNS = ("goal", "database", "measured", "compared with", "ratio", "wanted", "reached")

Rows = list[tuple[str, ...]]


def number(value: float) -> str:
    """A number with three digits that tell."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def result_rows(results: Sequence[Result]) -> Rows:
    """A row per figure, below COLUMNS."""
    return [
        (
            each.benchmark,
            each.database,
            each.name,
            number(each.median),
            f"{number(min(each.values))} to {number(max(each.values))}",
            each.unit,
        )
        for each in results
    ]


def goal_rows(reached: Sequence[Reached]) -> Rows:
    """A row per goal of which something was measured, below GOAL_COLUMNS."""
    words = {True: "yes", False: "no", None: "not measured"}
    rows: Rows = []
    for each in reached:
        if each.measured is None:
            continue
        goal = each.goal
        wanted = f"at least {number(goal.least)}" if goal.least is not None else f"at most {number(goal.most or 0)}"
        ratio = "" if each.ratio is None else number(each.ratio)
        against = "" if isinstance(goal.against, float) or each.against is None else number(each.against)
        rows.append(
            (
                goal.what,
                goal.measured.database,
                number(each.measured),
                against,
                ratio,
                wanted,
                words[each.is_reached],
            )
        )
    return rows


def show(columns: Sequence[str], rows: Rows) -> None:
    """Print a table."""
    table = Table(*columns)
    for row in rows:
        table.add_row(*row)
    Console(width=150).print(table)


def document(
    results: Sequence[Result], reached: Sequence[Reached], sizes: Sizes, settings: dict[str, str], runs: int
) -> dict[str, Any]:
    """All that is known of a measurement, as JSON values."""
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "python": platform.python_version(),
            "system": platform.platform(),
            "processors": os.cpu_count(),
        },
        "postgresql": settings,
        "runs": runs,
        "sizes": asdict(sizes),
        "results": [each.document() for each in results],
        "goals": [each.document() for each in reached],
    }


def sizes_of(found: dict[str, Any]) -> Sizes:
    """The sizes of a document."""
    values = dict(found["sizes"])
    return Sizes(**values | {"backlogs": tuple(values["backlogs"])})


def write_page(page: Path, found: dict[str, Any], results: Sequence[Result], reached: Sequence[Reached]) -> None:
    """Put the tables between the markers of a page, ``<!-- figures -->`` to ``<!-- end of figures -->``, and goals.

    Raises:
        ValueError: The page lacks a marker.
    """
    server, machine = found["postgresql"], found["machine"]
    settings = ", ".join(f"{name} {value}" for name, value in server.items() if name != "server_version")
    told = (
        f"Measured at {found['measured_at']} on {machine['processors']} processors, Python {machine['python']}, "
        f"PostgreSQL {server['server_version']} ({settings}); medians of {found['runs']} runs.\n"
    )
    text = page.read_text(encoding="utf-8")
    text = between(text, "figures", f"{told}\n{markdown(COLUMNS, result_rows(results))}")
    text = between(text, "goals", markdown(GOAL_COLUMNS, goal_rows(reached)))
    page.write_text(text, encoding="utf-8")


def markdown(columns: Sequence[str], rows: Rows) -> str:
    """A table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(each)} |" for each in lines) + "\n"


def between(text: str, name: str, new: str) -> str:
    """The text with what stands between two markers replaced.

    Raises:
        ValueError: There are no such markers.
    """
    pattern = rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)"
    changed, count = re.subn(pattern, lambda found: f"{found[1]}\n{new}\n{found[2]}", text, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"the page has no place for {name}: <!-- {name} --> to <!-- end of {name} -->")
    return changed
