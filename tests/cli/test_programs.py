"""How a user names commands: ``--exec``, its limits, and the configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support import Result

from jobctl.cli import settings
from jobctl.cli.config import read_configuration
from jobctl.cli.programs import exec_arguments, program_of_text, size_argument
from jobctl.errors import UsageError
from jobctl.processes import MAX_OUTPUT, Command

CONFIGURATION = """
[exec]
plain = "python3 -c 'print(1)'"
"with.dot" = ["./bin/my tool", "a b", "$HOME"]
full = {command = "cat | wc -c", shell = true, timeout = "90s", max_output = "2KiB", max_attempts = 3}
bytes = {command = ["true"], max_output = 10}
"""


def test_words():
    """A command is split as a shell would, and nothing of it is expanded."""
    found = exec_arguments(["resize=./resize.sh --to '10 px' $HOME *", " b = true "], shell=False)
    assert {name: each.words for name, each in found.items()} == {
        "resize": ("./resize.sh", "--to", "10 px", "$HOME", "*"),
        "b": ("true",),
    }


def test_shell():
    """With --exec-shell it is what a shell is to run; an equals sign in it is its own."""
    assert exec_arguments(["a=x=1; echo $x | cat"], shell=True)["a"].words == ("/bin/sh", "-c", "x=1; echo $x | cat")


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        (["resize"], "'resize' is not TYPE=COMMAND: write --exec 'resize=./resize.sh --fast'"),
        (["=true"], "is not TYPE=COMMAND"),
        (["a="], "--exec a is empty: give a command"),
        (["a=''"], "--exec a is empty"),
        (["a=echo 'x"], '--exec a: "echo \'x" is no command: no closing quotation'),
        (["a=true", "a=false --x"], "'a' has two commands: true and false --x"),
    ],
)
def test_not_a_command(pairs: list[str], said: str):
    """What cannot be read is refused, saying how to write it."""
    with pytest.raises(UsageError) as caught:
        exec_arguments(pairs, shell=False)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "size"), [("10", 10), ("64KB", 64_000), ("1 MB", 10**6), ("2KiB", 2048), ("1GiB", 2**30), ("0", 0)]
)
def test_sizes(text: str, size: int):
    """A size is a number of bytes, or has a unit."""
    assert size_argument("--exec-max-output", text) == size


@pytest.mark.parametrize("text", ["", "-1", "1.5MB", "ten", "1XB"])
def test_not_a_size(text: str):
    """Anything else is none."""
    with pytest.raises(UsageError, match="--exec-max-output: '.*' is not a size: write 64KB"):
        size_argument("--exec-max-output", text)


def test_limits():
    """What a command does not say itself, the options say, and else the defaults."""
    program = program_of_text("here", "true")
    assert program.command == Command(("true",), None, MAX_OUTPUT)
    assert program.within(5.0, 7).command == Command(("true",), 5.0, 7)
    assert program.within(5.0, 7).within(6.0, 8).command == Command(("true",), 5.0, 7)


def test_configuration(here: Path):
    """The table [exec] has a text, a list of words, or a table for each type; a relative path begins at the file."""
    folder = here / "etc"
    folder.mkdir()
    (folder / "jobctl.toml").write_text(CONFIGURATION)
    found = read_configuration("etc/jobctl.toml").find(settings.EXEC).value
    assert {name: each.command for name, each in found.items()} == {
        "plain": Command(("python3", "-c", "print(1)")),
        "with.dot": Command((str(folder / "bin/my tool"), "a b", "$HOME")),
        "full": Command(("/bin/sh", "-c", "cat | wc -c"), 90.0, 2048),
        "bytes": Command(("true",), None, 10),
    }
    assert {name: each.max_attempts for name, each in found.items() if each.max_attempts} == {"full": 3}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("exec = 1", "'exec' must be a table: a value for each name"),
        ("[exec]\na = 1", "'exec': 'a' must be a command: a text, a list of words, or a table with 'command'"),
        ("[exec]\na = []", "'exec': 'a' must be a command"),
        ("[exec]\na = [1]", "'exec': 'a' must be a command"),
        ("[exec]\na = ''", "'exec': 'a' is empty"),
        ("[exec]\na = {shell = true}", "'command' must be a text for a shell to run"),
        ("[exec]\na = {command = 'x', shell = 'yes'}", "'shell' must be true or false"),
        ("[exec]\na = {command = ['x'], shell = true}", "'command' must be a text for a shell to run"),
        ("[exec]\na = {command = 'x', timeout = 5}", "'timeout' must be a duration in quotes"),
        ("[exec]\na = {command = 'x', timeout = 'soon'}", "'timeout': 'soon' is not a duration"),
        ("[exec]\na = {command = 'x', max_output = true}", "'max_output' must be a size"),
        ("[exec]\na = {command = 'x', max_output = '1 tin'}", "'max_output': '1 tin' is not a size"),
        ("[exec]\na = {command = 'x', max_attempts = 0}", "'max_attempts' must be a whole number, 1 or more"),
        ("[exec]\na = {comand = 'x'}", "unknown key 'comand'; did you mean 'command'?"),
    ],
)
def test_bad_configuration(here: Path, content: str, said: str):
    """What cannot be understood is refused with the file's name, the type and what is wrong."""
    (here / "jobctl.toml").write_text(content)
    with pytest.raises(UsageError) as caught:
        read_configuration(None)
    assert said in str(caught.value)
    assert "jobctl.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--exec", "a=no-such-program x"], "--exec a: there is no program 'no-such-program' that can be run"),
        (["--exec", "a=./gone.sh"], "there is no program './gone.sh'"),
        (["--exec-shell", "--processors", "mod"], "--exec-shell is about --exec"),
        (["--exec-timeout", "1s", "--processors", "mod"], "--exec-timeout and --exec-max-output are about commands"),
        (["--exec", "a=true", "--timeout", "soon"], "--exec-timeout: 'soon' is not a duration"),
        (["--exec", "a b=true"], "'a b' is not a type name"),
        (["--exec", "a=true", "--types", "b"], "no processor handles 'b'; known: a"),
        ([], "give --processors MOD or --exec TYPE=COMMAND, or 'processors' or [exec] in jobctl.toml"),
    ],
)
def test_refused(call: Callable[..., Result], arguments: list[str], said: str):
    """A worker whose commands cannot be right does not start."""
    result = call("worker", "--drain", *arguments)
    assert (result.code, result.out) == (2, "")
    assert said in result.err


def test_module_and_command(call: Callable[..., Result], here: Path):
    """A type that a module and a command handle is an error that names both; a declared follower may be a command."""
    module = here / "mod.py"
    module.write_text(
        "from jobctl import continue_with, processor\n"
        "@processor('a', continues=['b'])\n"
        "def a(job): return continue_with('b')\n"
    )
    result = call("worker", "--processors", "mod", "--exec", "a=true", "--drain")
    assert (result.code, result.err) == (2, f"jobctl: 'a' has two processors: {module}:2 and --exec a\n")
    chain = call("start", "a").out.strip()
    assert call("worker", "--processors", "mod", "--exec", "b=echo 1", "--drain").code == 0
    assert call("wait", chain).out == "1\n"


def test_configured_types_are_known(call: Callable[..., Result], here: Path):
    """A type that the configuration has a command for can be started beside those of its modules, and no other."""
    (here / "mod.py").write_text("from jobctl import processor\n@processor('a')\ndef a(job): pass\n")
    (here / "jobctl.toml").write_text('processors = ["mod"]\n[exec]\nresize = "true"\n')
    assert call("start", "resize").code == 0
    wrong = call("start", "resiz")
    assert wrong.code == 5
    assert "no processor handles 'resiz'; did you mean 'resize'?" in wrong.err
