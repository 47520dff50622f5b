"""README.md and the guides do what they say: every command line is run, and every module is loaded and checked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pages import GUIDES, README, ROOT, SET_UP, BadPageError, Command, File, Masked, run, steps

PAGES = (README, *sorted(GUIDES.glob("*.md")))
TEXT = README.read_text(encoding="utf-8")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def files(todo) -> list[File]:
    return [each for each in todo if isinstance(each, File)]


@each_page
def test_commands_print_what_is_shown(
    page: Path, tmp_path: Path, environment: dict[str, str], empty_postgres_url: str, prepared_command: list[str]
):
    """Run in order in a clean folder, every command succeeds, calls jobctl, and prints what the page shows."""
    todo = steps(page.read_text(encoding="utf-8"))
    results = run(todo, tmp_path, environment, empty_postgres_url, jobctl=prepared_command)
    ours, theirs = Masked(), Masked()
    called = {each.name: 0 for each in files(todo) if each.kind == "bash"}
    for step, result in zip(todo, results, strict=True):
        if result is None:
            assert isinstance(step, File) or step.text in SET_UP
            continue
        told = f"{page.name}, line {step.line}:\n{step.text}\n--- printed:\n{result.out}"
        assert result.code == 0, told
        assert result.calls >= step.calls, f"jobctl was not called: {told}"
        if isinstance(step, Command):
            assert theirs(result.out) == ours("\n".join(step.shown)), told
            for name in called:
                called[name] += result.calls if name in step.text else 0
    for each in files(todo):
        if each.name in called:
            assert called[each.name] >= each.calls > 0, f"{page.name} never runs all of {each.name}"


@each_page
def test_files_are_used(page: Path):
    """Every Python file is run, imported by another file, or named in the configuration."""
    todo = steps(page.read_text(encoding="utf-8"))
    for each in files(todo):
        if each.kind == "python":
            imported = f"from {each.name.removesuffix('.py')} import "
            assert any(
                each.name in other.text
                if isinstance(other, Command) or other.kind == "toml"
                else imported in other.text
                for other in todo
            ), f"{page.name} never uses {each.name}"


def test_modules_are_checked(tmp_path: Path):
    """Every Python file is accepted by mypy --strict."""
    found = [each for page in PAGES for each in files(steps(page.read_text(encoding="utf-8"))) if each.kind == "python"]
    names = [each.name for each in found]
    assert len(names) == len(set(names)), "two pages have a file of one name"
    for each in found:
        (tmp_path / each.name).write_text(each.text)
    checked = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--cache-dir",
            ".mypy_cache/pages",
            *(tmp_path / each.name for each in found),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MYPYPATH": str(tmp_path)},
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: page.stem)
def test_guides_are_found_and_short(page: Path):
    """README.md links every guide, and none is longer than 120 lines."""
    assert f"docs/guides/{page.name})" in TEXT
    assert page.read_text(encoding="utf-8").count("\n") <= 120


def test_first_screen():
    """The first fifty lines have the install line, a processor module, and the four commands with their output."""
    first = "\n".join(TEXT.splitlines()[:55])
    commands = [each.text for each in steps(f"{first[: first.rindex('```')]}```\n") if isinstance(each, Command)]
    assert commands[0] == "pip install ."
    for name in ("start", "complete", "worker", "show"):
        assert any(f"jobctl {name} " in each for each in commands), name
    assert "@processor(" in first


@pytest.mark.parametrize(
    "text",
    [
        "```\n$ jobctl list\n```\n",
        "```console\n$ jobctl list\n```\n",
        "```sh title=x\n$ jobctl list\n```\n",
        "~~~sh\n$ jobctl list\n~~~\n",
        "- a list\n\n  ```sh\n  $ jobctl list\n  ```\n",
        "    jobctl list\n",
        "\tjobctl list\n",
        "<pre>jobctl list</pre>\n",
        "```sh\njobctl list\n```\n",
        "```sh\n$ jobctl list\n",
        "```sh\n$ # jobctl list\n```\n",
        "```sh\n$ true # jobctl list\n```\n",
        "```cron\njobctl list\n```\n",
        "```cron\n# 0 3 * * * jobctl list\n```\n",
        "```python\nimport jobctl\n```\n",
        "```python\n# approval.txt\nimport jobctl\n```\n",
        "say `jobctl list` and see\n",
        "say `jobctl\nlist` and see\n",
        "say `jobctl` list` and see\n",
    ],
)
def test_nothing_can_be_skipped(text: str):
    """Code in any form that would not be run is refused."""
    with pytest.raises(BadPageError):
        steps(text)


def test_what_is_not_called_is_seen(tmp_path: Path, environment: dict[str, str]):
    """A command line that the shell passes over, fails, or ends the shell is seen."""
    text = "```sh\n$ true || jobctl list\n$ jobctl lsit\n$ x=$(jobctl --version); echo $x\n```\n"
    todo = steps(text)
    passed_over, failed, good = run(todo, tmp_path, environment, "postgresql://")
    assert (passed_over.calls, todo[0].calls) == (0, 1)
    assert failed.code == 2
    assert (good.calls, good.code, good.out) == (1, 0, f"jobctl {__import__('jobctl').__version__}\n")
    with pytest.raises(BadPageError, match="the shell ended after 0 of 1 steps"):
        run(steps("```sh\n$ exit 0\n```\n"), tmp_path / "home", environment, "postgresql://")


def test_masking_keeps_what_matters():
    """Ids are told apart, times and durations are not."""
    masked = Masked()
    first, second = "01a20b07-7164-7b4f-b861-8b723d4d825d", "01a20b07-7164-7b4f-b861-8b723d4d825e"
    assert masked(f"{first} {second} …{first[-12:]}") == "<id 1> <id 2> <id 1>"
    assert masked("2030-01-31T03:00:00Z w:12 12ms in 2h 3s ago now") == "<time> <host:pid> <span> <when> <when> <when>"
    assert masked("ready 1\n") == "ready 1"
