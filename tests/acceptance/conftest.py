"""What the acceptance tests share: the project's own artefacts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from databases import once

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def artefacts(run_folder: Path) -> Path:
    """A folder with a wheel and an sdist of this project, built once; to be copied, not changed."""

    def build(folder: Path) -> None:
        subprocess.run(
            [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)],
            check=True,
            capture_output=True,
            timeout=100,
        )

    return once(run_folder, "artefacts", build)
