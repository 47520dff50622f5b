"""docs/ and CONTRIBUTING.md speak of the commands, options and files that there are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from support import COMMANDS, Result

from jobctl.cli.config import read_configuration
from jobctl.cli.settings import CONCURRENCY, DATABASE, PROCESSORS, PRODUCTION, SETTINGS

ROOT = Path(__file__).parents[2]
PAGES = (*sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md")
PAGE = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
NAMES = {each.name for each in COMMANDS}


def options(text: str) -> set[str]:
    """The options of a command's help, without those of every command."""
    own = text.partition("\nOptions:\n")[2].partition("Options of every command:")[0]
    return set(re.findall(r"^  (?:-h, )?(--[\w-]+)", own, re.MULTILINE)) - {"--help"}


def sections() -> Iterator[tuple[str, str]]:
    """The commands that the page describes, each with its section; `list, jobs` is the section of both."""
    commands = PAGE.partition("## Commands\n")[2].partition("\n## ")[0]
    for heading, body in re.findall(r"^### (.*)\n((?:(?!### ).*\n)*)", commands, re.MULTILINE):
        for name in re.findall(r"\b[a-z]+\b", heading):
            yield name, body


def test_every_command_has_a_section():
    """The page has a section for each command, in the order of the help."""
    assert [name for name, _ in sections()] == [each.name for each in COMMANDS]


@pytest.mark.parametrize("name", sorted(NAMES))
def test_options_are_the_real_ones(name: str, call: Callable[..., Result]):
    """The tables of a command's section list exactly the options that its help lists."""
    body = dict(sections())[name]
    listed = {
        option for row in re.findall(r"^\| (`--.*?) \|", body, re.MULTILINE) for option in re.findall(r"--[\w-]+", row)
    }
    assert listed == options(call(name, "--help").out)


def test_defaults_are_the_real_ones(call: Callable[..., Result]):
    """A default that a command's help states stands in its section too."""
    found = 0
    for name, body in sections():
        text = " ".join(call(name, "--help").out.split())
        for option, default in re.findall(r"(--[\w-]+) [A-Z]+ (?:(?!--).)*?\[default: (\w+)\]", text):
            (row,) = re.findall(rf"^\|.*`{option} .*$", body, re.MULTILINE)
            assert re.search(rf"\b{default}\b", row), (name, option, default)
            found += 1
    assert found >= 6


def test_configuration_is_understood(tmp_path: Path):
    """The configuration file that the page shows is one."""
    (block,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    file = tmp_path / "jobctl.toml"
    file.write_text(block)
    found = read_configuration(str(file))
    assert found.find(DATABASE).value == f"sqlite:///{tmp_path / 'dev.db'}"
    assert found.find(PROCESSORS).value == ["mymod", str(tmp_path / "handlers.py")]
    production = read_configuration(str(file), "prod")
    assert production.find(DATABASE).value == "postgresql://app@db.example/app"
    assert production.find(PRODUCTION).value
    assert production.find(CONCURRENCY).value == 50


def test_settings_are_the_real_ones():
    """The table of settings has each key with its variable, its option and its default."""
    rows = {
        cells[0].strip(" `"): [cell.strip(" `").replace("`", "") for cell in cells[1:]]
        for cells in (
            row.strip("|").split("|") for row in re.findall(r"^\| `[a-z_.]+` \|.*\|.*\|.*\|$", PAGE, re.MULTILINE)
        )
        if len(cells) == 4
    }
    assert list(rows) == [each.key for each in SETTINGS]
    for each in SETTINGS:
        variable, option, text = rows[each.key]
        assert (variable or None, option or None) == (each.variable, each.option), each.key
        if isinstance(each.default, int | timedelta) and not isinstance(each.default, bool):
            assert text.endswith(f"; {each.default_text} unless set"), each.key


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_text_exist(page: Path, call: Callable[..., Result]):
    """A command line in the text names a command that there is and options that it has; other blocks are none."""
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"^\s*(?:```|~~~)(.*)$", text, re.MULTILINE)) <= {"toml", ""}
    for span in re.findall(r"`(jobctl [^`\n]+)`", text):
        words = span.split()[1:]
        if words[0].startswith("-"):
            assert words[0] in call("--help").out, span
            continue
        if words == ["COMMAND", "--help"]:
            continue
        assert words[0] in NAMES, span
        assert {each for each in words if each.startswith("--")} <= options(call(words[0], "--help").out), span
