"""What a person sees on a terminal."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from support import COMMANDS, Result

COLOR = re.compile(r"\x1b\[[0-9;]*m")


def test_lists_fit(call: Callable[..., Result], sqlite_url: str, on_terminal: Callable[..., str]):
    """A list on a terminal is a table with a heading and relative times that fits the width, ids whole."""
    name = "a-type-with-a-rather-long-name-that-does-not-fit"
    chain = call("start", name, "--database", sqlite_url).out.strip()
    for columns in (80, 120, 160):
        shown = on_terminal("list", columns=columns)
        assert COLOR.search(shown)
        lines = COLOR.sub("", shown).splitlines()
        assert max(map(len, lines)) <= columns
        assert len(lines) == 2
        assert lines[0].startswith("ID ")
        assert lines[1].startswith(chain)
        assert " ago" in lines[1] or "now" in lines[1]
    assert name in COLOR.sub("", on_terminal("jobs", columns=200))


def test_no_color(call: Callable[..., Result], sqlite_url: str, on_terminal: Callable[..., str]):
    """NO_COLOR and --no-color leave a table without any colour."""
    call("start", "a", "--database", sqlite_url)
    assert "\x1b" not in on_terminal("list", "--no-color")
    assert "\x1b" not in on_terminal("list", env={"NO_COLOR": "1"})


def test_show_and_json(call: Callable[..., Result], sqlite_url: str, on_terminal: Callable[..., str]):
    """Show draws its tree in colour; --json is the same document as in a pipe; a hostile input moves no cursor."""
    at = ("--database", sqlite_url)
    chain = call("start", "a", "--input", '"\\u001b[2J \\u009b2J"', *at).out.strip()
    shown = on_terminal("show", chain)
    assert COLOR.search(shown)
    assert f"a {chain} ready" in COLOR.sub("", shown)
    assert "\x1b" not in COLOR.sub("", shown)
    assert "\x9b" not in shown
    assert on_terminal("show", chain, "--json") == call("show", chain, "--json", *at).out


def test_start_on_terminal(on_terminal: Callable[..., str]):
    """On a terminal start says beside the id what it started."""
    lines = on_terminal("start", "a", "--after", "2h").splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("on sqlite:///")
    assert any(line.startswith("started a: due 20") for line in lines)


def test_start_of_what_is_paused(call: Callable[..., Result], sqlite_url: str, on_terminal: Callable[..., str]):
    """On a terminal start says that nothing will come of it for now."""
    call("pause", "--type", "a", "--database", sqlite_url)
    assert "started a: ready, but its type is paused\n" in on_terminal("start", "a")
    call("pause", "--all", "--database", sqlite_url)
    assert "started b: ready, but all types are paused\n" in on_terminal("start", "b")


def test_history_on_terminal(call: Callable[..., Result], sqlite_url: str, on_terminal: Callable[..., str]):
    """What is paused and what was done are tables that fit, the columns of pauses only where there are some."""
    at = ("--database", sqlite_url)
    chain = call("start", "a", *at).out.strip()
    assert "PAUSED" not in on_terminal("list")
    call("pause", chain, "--note", "a rather long note that does not fit beside all else that there is to say", *at)
    call("cancel", call("start", "b", *at).out.strip(), "--actor", "somebody-with-a-long-name@a-host-of-theirs", *at)
    for words in (["list"], ["jobs"], ["paused"], ["history"], ["history", chain]):
        lines = COLOR.sub("", on_terminal(*words)).splitlines()
        assert max(map(len, lines)) <= 80, words
        assert len(lines) >= 2
    call("pause", "--type", "some", *at)
    assert chain in COLOR.sub("", on_terminal("history"))
    assert " type some " in COLOR.sub("", on_terminal("history"))
    lines = COLOR.sub("", on_terminal("list")).splitlines()
    assert lines[0].endswith("PAUSED")
    assert [line.rstrip().endswith("chain") for line in lines] == [False, False, True]


def test_worker_on_terminal(
    call: Callable[..., Result], sqlite_url: str, on_terminal: Callable[..., str], tmp_path: Path
):
    """A worker on a terminal has a line below its log that counts, above it what handlers print, and none at the end."""
    module = tmp_path / "mod.py"
    module.write_text("from jobctl import processor\n@processor('a')\ndef a(job): print('hello')\n")
    call("start", "a", "--database", sqlite_url)
    shown = on_terminal("worker", "--processors", str(module), "--drain")
    assert "0 running · 1 done" in COLOR.sub("", shown)
    last = COLOR.sub("", shown).rpartition("\x1b[2K")[2]
    assert last == ""
    left = [each for each in re.sub(r"[^\n]*\r\x1b\[2K", "", COLOR.sub("", shown)).splitlines() if each]
    assert "hello" in left
    assert [each.split()[3] for each in left if " completed " in each] == ["completed"]
    assert not any("running" in each for each in left)
    assert "running" not in on_terminal("worker", "--processors", str(module), "--drain", "--quiet")


def test_watch_on_terminal(call: Callable[..., Result], sqlite_url: str, on_terminal: Callable[..., str]):
    """Show --watch on a terminal draws a closed chain once and gives the cursor back."""
    chain = call("start", "a", "--database", sqlite_url).out.strip()
    call("complete", chain, "--database", sqlite_url)
    shown = on_terminal("show", chain, "--watch")
    assert f"a {chain} completed" in COLOR.sub("", shown)
    assert shown.rindex("\x1b[?25h") > shown.index("\x1b[?25l")


@pytest.mark.parametrize("name", [None, *(each.name for each in COMMANDS)])
def test_help(name: str | None, call: Callable[..., Result]):
    """Help fits 80 columns and has examples."""
    result = call(*([] if name is None else [name]), "--help")
    assert (result.code, result.err) == (0, "")
    assert max(map(len, result.lines)) <= 80
    assert "Examples:\n  " in result.out
    assert "..." not in result.out.partition("\n")[2].replace("[ARGS]...", "").replace("ID...", "")


def test_every_option_is_documented(call: Callable[..., Result]):
    """No option is without a word about it, in the help and in docs/command-line.md."""
    page = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text(encoding="utf-8")
    for each in COMMANDS:
        text = call(each.name, "--help").out
        for option in re.findall(r"^  (?:-h, )?(--[\w-]+)", text, re.MULTILINE):
            assert option in page, f"{each.name} {option} is not in docs/command-line.md"
        for option in re.findall(r"^  (--[\w-]+(?: [A-Z=]+)?)\n(?!     )", text, re.MULTILINE):
            raise AssertionError(f"{each.name} {option} has no help")


def test_examples_run(call: Callable[..., Result], here, monkeypatch: pytest.MonkeyPatch):
    """Every example in a command's help is one that the command understands."""
    names = ("resize", "import")
    module = "".join(f"@processor({name!r})\ndef f{number}(job): ...\n" for number, name in enumerate(names))
    (here / "mymod.py").write_text(f"from jobctl import processor\n{module}")
    (here / "handlers.py").write_text("from jobctl import processor\n@processor('import')\ndef f(job): ...\n")
    (here / "failing.py").write_text(
        "from jobctl import fail, processor\n@processor('resize')\ndef f(job): fail('no')\n"
    )
    (here / "resize.sh").write_text("#!/bin/sh\n")
    (here / "resize.sh").chmod(0o755)
    (here / "rows.json").write_text("[]")
    (here / "images.jsonl").write_text('{"input": 1}\n')
    monkeypatch.syspath_prepend(here)
    count = 0
    for each in COMMANDS:
        if each.name == "demo":  # takes seconds: tests/acceptance/test_demo.py
            continue
        for line, _ in each.examples:
            type_name = {"run": "resize"}.get(each.name, "await-approval")
            first, second = (call("start", type_name).out.strip() for _ in range(2))
            if each.name == "wait":
                call("complete", first)
                call("complete", second)
            text = re.sub(r"^(?:id|new)=\$\((.*)\)$", r"\1", line).partition(" | ")[0].partition(" > ")[0]
            if each.name == "retry":
                call("start", "resize")
                call("worker", "--processors", "failing.py", "--drain", "--quiet")
                first = call("list", "--status", "failed", "--limit", "1").out.partition("\t")[0]
            text = text.replace("$id", first).replace("$first", first).replace("$second", second).replace("$job", first)
            words = shlex.split(text)[1:]
            if each.name == "worker":
                words = [*words, "--drain"]
            if "--watch" in words:
                call("complete", first)
            if "--wait" in words:
                words = [word if word != "5m" else "0s" for word in words]
            if "postgresql://app@db/app" in words:
                continue
            result = call(*words)
            findings = {"doctor": 8}  # nobody works what the other examples started
            assert result.code == findings.get(each.name, 124 if "--wait" in words else 0), (line, result)
            count += 1
    assert count > 15
