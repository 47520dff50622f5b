"""The benchmarks run, on small sizes; no time is judged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_benchmarks_run(tmp_path, postgres_server):
    """Each kind of benchmark measures something on each database that it is for, and writes it as JSON."""
    names = ["start-single", "start-100", "start-1000", "plain-10-1", "atomic-10-2", "chains", "sleep", "pick-up"]
    names += ["claim-50", "claim-future", "lists", "memory", "old-snapshot", "commands"]
    output = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--runs", "1", "--output", str(output)]
    done = subprocess.run(
        [*command, "--database", postgres_server, *names],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(output.read_text(encoding="utf-8"))
    measured = {(each["benchmark"], each["database"]) for each in document["results"]}
    assert measured == {(name, kind) for name in names for kind in ("postgresql", "sqlite")} - {
        ("old-snapshot", "sqlite")
    }
    assert all(each["minimum"] <= each["median"] <= each["maximum"] for each in document["results"])
    assert all(each["median"] > 0 for each in document["results"])
