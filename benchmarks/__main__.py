"""The command: which benchmarks, on which databases, how often."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import commands, floors, goals, lasting, latency, processing, reporting, side_by_side, starting
from benchmarks.databases import Databases, databases
from benchmarks.measuring import FULL, QUICK, Benchmark, Result, Sizes, in_turns

OWN = [each for module in (starting, floors, processing, latency, lasting, commands) for each in module.BENCHMARKS]
KINDS = ("postgresql", "sqlite")

Plan = dict[tuple[str, str], list[Benchmark]]
"""By topic and kind of database: what is compared, in one place."""

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@app.command()
def main(
    names: Annotated[
        list[str] | None, typer.Argument(help="Only these topics, and benchmarks that begin so; see --list.")
    ] = None,
    database: Annotated[str | None, typer.Option(help="A PostgreSQL server; else one is started.")] = None,
    kind: Annotated[list[str] | None, typer.Option(help="Only on postgresql, or only on sqlite.")] = None,
    runs: Annotated[int, typer.Option(min=1, help="How often each is measured.")] = 3,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small sizes, and few variants: whether it runs, not how fast.")
    ] = False,
    jobs: Annotated[int | None, typer.Option(min=10, help="How many jobs are processed in a run.")] = None,
    waiting: Annotated[int | None, typer.Option(min=100, help="How many chains wait and are listed at most.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0, help="How long beside an old snapshot.")] = None,
    goals_: Annotated[
        bool, typer.Option("--goals", help="Measure what the goals need, and set it against them.")
    ] = False,
    peers: Annotated[bool, typer.Option("--peers", help="Measure other libraries too, each installed for it.")] = False,
    environments: Annotated[
        Path | None, typer.Option(help="Keep the environments of --peers in this folder, for the next time.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write the results to this file, as JSON.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the tables between the markers of this page.")] = None,
    results_of: Annotated[
        Path | None, typer.Option("--from", help="Show the results in this file instead of measuring.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the benchmarks.")] = False,
) -> None:
    """Measure jobctl: medians of several runs; the runs of what is compared take turns."""
    if list_:
        for each in [*OWN, *side_by_side.benchmarks(Path())]:
            typer.echo(f"{each.topic}\t{each.name}\t{', '.join(each.kinds)}")
        return
    failed: list[str] = []
    if results_of is not None:
        found = json.loads(results_of.read_text(encoding="utf-8"))
    else:
        sizes = _sizes(QUICK if quick else FULL, jobs, waiting, minutes)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # no server is left behind
        with databases(database) as made:
            every = [*OWN, *(side_by_side.benchmarks(environments or made.folder) if peers else ())]
            plan = _plan(every, names or [], kind or KINDS, goals.needed(sizes) if goals_ else None, quick=quick)
            found, failed = _measure(plan, made, sizes, runs, output)
    _report(found, goals_=goals_, markdown=markdown)
    if failed:
        raise typer.Exit(1)


def _sizes(sizes: Sizes, jobs: int | None, waiting: int | None, minutes: float | None) -> Sizes:
    if jobs is not None:
        sizes = replace(sizes, jobs=jobs)
    if waiting is not None:
        sizes = replace(sizes, backlogs=(*(each for each in sizes.backlogs if each < waiting), waiting))
    return sizes if minutes is None else replace(sizes, minutes=minutes)


def _plan(
    every: Sequence[Benchmark],
    names: Sequence[str],
    kinds: Sequence[str],
    needed: Callable[[str, str], bool] | None,
    *,
    quick: bool,
) -> Plan:
    """What to measure together, in this order."""
    plan: Plan = {}
    for each in every:
        named = each.name in names or (
            not (quick and each.is_variant) and (not names or each.topic in names or each.name.startswith(tuple(names)))
        )
        for kind in each.kinds:
            if named and kind in kinds and (needed is None or needed(each.name, kind)):
                plan.setdefault((each.topic, kind), []).append(each)
    if not plan:
        raise typer.BadParameter(f"there is no such benchmark: {' or '.join(names)}; see --list")
    return plan


def _measure(
    plan: Plan, made: Databases, sizes: Sizes, runs: int, output: Path | None
) -> tuple[dict[str, Any], list[str]]:
    """The document of what was measured, which is written after each topic; and what failed."""
    results: list[Result] = []
    failures: list[str] = []
    found: dict[str, Any] = {}
    for (_, kind), chosen in plan.items():
        measured, failed = in_turns(chosen, made, kind, sizes, runs, lambda line: sys.stderr.write(f"{line}\n"))
        results += measured
        failures += failed
        found = reporting.document(results, goals.reached(results, sizes), sizes, made.settings(), runs)
        if output is not None:
            output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return found, failures


def _report(found: dict[str, Any], *, goals_: bool, markdown: Path | None) -> None:
    results = [Result.of_document(each) for each in found["results"]]
    reached = goals.reached(results, reporting.sizes_of(found))
    if markdown is not None:
        reporting.write_page(markdown, found, results, reached)
    reporting.show(reporting.COLUMNS, reporting.result_rows(results))
    if goals_:
        reporting.show(reporting.GOAL_COLUMNS, reporting.goal_rows(reached))


app()
