"""The command: which benchmarks, on which databases, how often."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import latency, side_by_side, throughput
from benchmarks.databases import databases
from benchmarks.measuring import FULL, QUICK, Benchmark, Result, collect, machine, show

BENCHMARKS: dict[str, Benchmark] = {each.name: each for each in (*throughput.BENCHMARKS, *latency.BENCHMARKS)}

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@app.command()
def main(
    names: Annotated[list[str] | None, typer.Argument(help="Only these, or those that begin so; see --list.")] = None,
    database: Annotated[str | None, typer.Option(help="A PostgreSQL server; else one is started.")] = None,
    kind: Annotated[list[str] | None, typer.Option(help="Only on postgresql, or only on sqlite.")] = None,
    runs: Annotated[int, typer.Option(help="How often each is measured.")] = 3,
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes: whether it runs, not how fast.")] = False,
    output: Annotated[Path | None, typer.Option(help="Write the results to this file, as JSON.")] = None,
    peers: Annotated[bool, typer.Option("--peers", help="Measure other libraries too, each installed for it.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="List the benchmarks.")] = False,
) -> None:
    """Measure jobctl: medians of several runs, each on a fresh database."""
    if list_:
        for name, each in BENCHMARKS.items():
            typer.echo(f"{name}\t{', '.join(each.kinds)}")
        return
    chosen = [each for name, each in BENCHMARKS.items() if not names or name.startswith(tuple(names))]
    if not chosen:
        raise typer.BadParameter(f"no benchmark begins with {' or '.join(names or [])}; see --list")
    results: list[Result] = []
    with databases(database) as made:
        settings = made.settings()
        for benchmark in chosen:
            for dialect in benchmark.kinds:
                if kind and dialect not in kind:
                    continue
                measured = []
                for _ in range(runs):
                    with made.fresh(dialect) as fresh:
                        measured.append(benchmark.run(fresh, QUICK if quick else FULL))
                results += collect(benchmark.name, dialect, measured)
                sys.stderr.write(f"{benchmark.name} on {dialect} is measured\n")
        for peer in side_by_side.PEERS if peers else ():
            interpreter = side_by_side.prepare(peer, made.folder)
            sizes = QUICK if quick else FULL
            figures = [side_by_side.measure(peer, interpreter, made, sizes) for _ in range(runs)]
            results += collect(peer.name, "postgresql", figures)
            sys.stderr.write(f"{peer.name} is measured\n")
    show(results)
    if output is not None:
        document = {
            "measured_at": datetime.now(UTC).isoformat(),
            "machine": machine(),
            "postgresql": settings,
            "runs": runs,
            "results": [each.document() for each in results],
        }
        output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


app()
