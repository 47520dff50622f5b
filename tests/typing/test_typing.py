"""The types that jobctl offers to its users' type checkers: right code passes, wrong code is told where."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import jobctl

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

_TOLD = re.compile(r"^.*?(\w+)\.py:(\d+): error: .*(\[[\w-]+\])$", re.MULTILINE)
_EXPECTED = re.compile(r"# (\[[\w-]+\])$")


def test_public_types():
    """The examples and right.py pass mypy --strict; in wrong.py it finds each error in its line, and no other."""
    checked_files = (HERE / "right.py", HERE / "wrong.py", "examples")
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", ".mypy_cache/typing", *checked_files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = (HERE / "wrong.py").read_text(encoding="utf-8").splitlines()
    expected = [
        ("wrong", str(number), found[1]) for number, line in enumerate(lines, 1) if (found := _EXPECTED.search(line))
    ]
    assert _TOLD.findall(checked.stdout) == expected, checked.stdout + checked.stderr
    assert len(expected) > 10


def test_types_are_shipped():
    """The package says that its types are its own."""
    assert (Path(jobctl.__file__).parent / "py.typed").is_file()
