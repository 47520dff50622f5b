"""Wall time of commands as whole processes, beside that of a Python that only imports what they cannot do without."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from benchmarks.databases import Database
from benchmarks.measuring import Benchmark, Figure, Sizes, fresh
from benchmarks.working import ROOT

DRIVERS = {"postgresql": "psycopg", "sqlite": "sqlite3"}


def commands(database: Database, sizes: Sizes) -> list[Figure]:
    """Each in turn, again and again; the ratios are those of the medians."""
    client = database.client
    shown = client.start("plain").id
    jobctl = ["-m", "jobctl"]
    modules = f"typer, sqlalchemy, {DRIVERS[database.kind]}"
    lines: dict[str, Callable[[], list[str]]] = {
        "python importing typer": lambda: ["-c", "import typer"],
        "jobctl --help": lambda: [*jobctl, "--help"],
        f"python importing {modules}": lambda: ["-c", f"import {modules}"],
        "jobctl start": lambda: [*jobctl, "start", "plain"],
        "jobctl show": lambda: [*jobctl, "show", shown],
        "jobctl complete": lambda: [*jobctl, "complete", client.start("plain").id],
    }
    environment = {**os.environ, "JOBCTL_DATABASE": database.url, "PYTHONPATH": str(ROOT)}
    took: dict[str, list[float]] = {name: [] for name in lines}
    for turn in range(sizes.commands + 1):
        for name, line in lines.items():
            arguments = line()
            begin = time.perf_counter()
            subprocess.run(
                [sys.executable, *arguments], env=environment, cwd=database.folder, check=True, capture_output=True
            )
            if turn or sizes.commands == 1:  # the first one may compile modules, and reads them from the disk
                took[name].append((time.perf_counter() - begin) * 1000)
        if sizes.commands == 1:
            break
    medians = {name: statistics.median(each) for name, each in took.items()}
    floors = {name: f"python importing {'typer' if name == 'jobctl --help' else modules}" for name in lines}
    return [
        *(Figure(name, "ms", median) for name, median in medians.items()),
        *(
            Figure(f"{name} over {floors[name]}", "times", median / medians[floors[name]])
            for name, median in medians.items()
            if name.startswith("jobctl")
        ),
    ]


BENCHMARKS = [Benchmark("commands", "commands", fresh(commands))]
