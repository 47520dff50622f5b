"""What is installed: the package with all that it needs at run time, and nothing else of the project's."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

FOLDERS = ("jobctl", "tests", "benchmarks", "examples")

NEEDED = (
    "jobctl/py.typed",
    "jobctl/storage/schema.sql",
    "jobctl/examples/approval.py",
    *(f"jobctl/storage/migrations/{each.name}" for each in (ROOT / "jobctl/storage/migrations").iterdir()),
)


@pytest.fixture
def wheel(artefacts: Path) -> Path:
    (found,) = artefacts.glob("*.whl")
    return found


def test_wheel(wheel: Path):
    """The wheel has every module and file of the package, and puts no other name beside it into site-packages."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    tops = {each.partition("/")[0] for each in names}
    assert {each for each in tops if not each.endswith(".dist-info")} == {"jobctl"}
    modules = {str(each.relative_to(ROOT)) for each in (ROOT / "jobctl").rglob("*.py")}
    assert names >= modules | set(NEEDED)


def test_sdist(artefacts: Path):
    """The sdist has all that the Makefile's commands need, and nothing that they make."""
    (found,) = artefacts.glob("*.tar.gz")
    with tarfile.open(found) as archive:
        names = {each.name.partition("/")[2] for each in archive}
    wanted = {str(each.relative_to(ROOT)) for folder in FOLDERS for each in (ROOT / folder).rglob("*.py")}
    assert names >= wanted | {"Makefile", "schema.sql", ".ci/run", "CONTRIBUTING.md", "examples/release_demo.sh"}
    assert {each.partition("/")[0] for each in names if "/" in each} == {*FOLDERS, "docs", ".ci"}
    assert not any("__pycache__" in each for each in names)


def test_schema_from_the_wheel(wheel: Path, tmp_path: Path):
    """What is installed sets an SQLite file up and prints the schema, without the checkout."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    environment = {"PYTHONPATH": str(tmp_path / "installed"), "HOME": str(tmp_path)}
    line = [sys.executable, "-P", "-m", "jobctl"]

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [*line, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    assert run("schema", "--dialect", "postgresql") == (ROOT / "schema.sql").read_text(encoding="utf-8")
    assert run("list", "--database", "sqlite:///new.db") == ""
