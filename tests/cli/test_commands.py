"""The commands as processes, and what scripts rely on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support import Result, Running, eventually, jobctl_command

ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


@pytest.mark.usefixtures("database_url")
def test_start_complete_wait(jobctl: Callable[..., Result]):
    """A chain is started, guarded, continued with its input carried over, ended by hand, and its output waited for."""
    started = jobctl("start", "await-approval", "--input", '{"requestId": "ä"}', "--after", "2h")
    assert (started.code, started.err) == (0, "")
    chain = started.out.removesuffix("\n")
    assert ID.fullmatch(chain)

    went_on = jobctl(
        *("complete", chain, "--expect", "await-approval", "--continue", "process-request"),
        *("--actor", "ann", "--note", "looks good"),
    )
    successor = went_on.out.removesuffix("\n")
    assert ID.fullmatch(successor)
    assert went_on.err == f"continued await-approval with process-request {successor} in the chain {chain}\n"

    again = jobctl("complete", chain, "--expect", "await-approval")
    assert (again.code, again.out) == (4, "")
    assert "'process-request'" in again.err

    ended = jobctl("complete", successor, "--output", "-", stdin='{"done": "✓"}')
    assert (ended.code, ended.out) == (0, "")
    assert ended.err == f"completed process-request, and with it the chain {chain}\n"
    assert jobctl("wait", chain).out == '{"done": "✓"}\n'

    shown = jobctl("show", successor, "--json").json
    assert [job["input"] for job in shown["jobs"]] == [{"requestId": "ä"}] * 2
    assert [job["completed_by"] for job in shown["jobs"]] == [None, None]
    assert next((act["actor"], act["note"]) for act in shown["history"]) == ("ann", "looks good")


def test_lists(call: Callable[..., Result]):
    """Off a terminal a list is a line per row, its fields separated by tabs, without a heading."""
    first = call("start", "a").out.strip()
    second = call("start", "b", "--at", "2099-01-31T17:00").out.strip()
    chains = call("list", "--order", "oldest").lines
    assert [line.split("\t")[:4] for line in chains] == [
        [first, "a", "ready", "a"],
        [second, "b", "scheduled", "b"],
    ]
    assert chains[1].split("\t")[5:] == ["2099-01-31T15:00:00Z", "-", "0", "-", "-"]
    assert [line.split("\t")[0] for line in call("jobs").lines] == [second, first]
    assert call("list", "--status", "scheduled,failed").lines == [chains[1]]
    assert call("list", "--type", "a").lines == [chains[0]]
    assert call("list", "--until", "1h").lines == []
    assert call("list", "--since", "1h", "--chain", first).lines == [chains[0]]


def test_set_and_processors(call: Callable[..., Result], here: Path):
    """--set makes the input; processors are read from the configuration, and what they print at import is no data."""
    (here / "hand.py").write_text(
        "from jobctl import Job, processor\nprint('hello')\n@processor('resize')\ndef f(job: Job[dict]): ...\n"
    )
    (here / "jobctl.toml").write_text('processors = ["./hand.py"]')
    started = call("start", "resize", "--set", "path=1", "--set", "width:=1")
    assert started.err == "hello\n"
    assert call("show", started.out.strip(), "--json").json["chain"]["input"] == {"path": "1", "width": 1}
    assert call("start", "resize").code == 5
    assert call("start", "risize").code == 5


def test_options_before_the_command(jobctl: Callable[..., Result], workplace: Path):
    """The options of every command may stand before its name; the one behind it wins."""
    for place in ("a.db", "b.db"):
        assert jobctl("--database", f"sqlite:///{place}", "migrate").code == 0
        assert (workplace / place).exists()
    jobctl("--database", "sqlite:///a.db", "start", "a", "--database", "sqlite:///b.db")
    assert jobctl("list", "--database", "sqlite:///a.db").out == ""
    assert jobctl("list", "--database", "sqlite:///b.db").out != ""


def test_nothing_configured(jobctl: Callable[..., Result], environment: dict[str, str], workplace: Path):
    """Without any configuration the database is a file in the user's state folder."""
    assert jobctl("start", "a").code == 0
    assert (Path(environment["XDG_STATE_HOME"]) / "jobctl" / "jobctl.db").is_file()
    assert list(workplace.iterdir()) == []


def test_migrate_and_schema(empty_database_url: str, call: Callable[..., Result]):
    """Migrate --dry-run lists and changes nothing, migrate applies once, schema prints SQL without connecting."""
    at = ("--database", empty_database_url)
    for _ in range(2):
        listed = call("migrate", "--dry-run", *at)
        assert (listed.code, listed.err) == (0, "")
        assert listed.lines[0] == "0001\tjobs"
    applied = call("migrate", *at)
    assert (applied.out, applied.err.splitlines()[0]) == ("", "applied 0001 jobs")
    assert call("migrate", "--json", *at).json["migrations"] == []
    assert "is up to date" in call("migrate", *at).err
    assert "CREATE TABLE jobctl_job" in call("schema", *at).out
    assert "timestamptz" in call("schema", "--dialect", "postgresql").out
    assert "timestamptz" not in call("schema", "--dialect", "sqlite").out
    away = call("schema", "--database", "postgresql://127.0.0.1:1/db")
    assert "timestamptz" in away.out


def test_quiet(call: Callable[..., Result]):
    """--quiet leaves stderr to errors."""
    chain = call("start", "a", "--at", "2099-01-01", "--quiet")
    assert chain.err == ""
    assert call("complete", chain.out.strip(), "--quiet").err == ""
    assert call("complete", chain.out.strip(), "--quiet").err != ""


def test_wait_for_several(database_url: str, call: Callable[..., Result], spawn: Callable[..., Running]):
    """Wait prints a line for each chain as it closes."""
    at = ("--database", database_url)
    ids = [call("start", "a", *at).out.strip() for _ in range(2)]
    waiting = spawn("wait", *ids)
    call("complete", ids[1], "--output", "1", *at)
    eventually(lambda: ids[1] in waiting.out)
    assert waiting.code is None
    call("complete", ids[0], *at)
    done = waiting.wait()
    assert done.code == 0
    assert [json.loads(line)["id"] for line in done.lines] == [ids[1], ids[0]]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted(sqlite_url: str, call: Callable[..., Result], spawn: Callable[..., Running], number, code: int):
    """An interrupted command ends with the signal's exit code, without a traceback."""
    started = call("start", "a", "--database", sqlite_url).out.strip()
    waiting = spawn("show", started, "--watch")
    eventually(lambda: started in waiting.out)
    done = waiting.send(number).wait()
    assert (done.code, done.err) == (code, "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_early(environment: dict[str, str], number, code: int):
    """A command that is interrupted while it is still being imported ends in the same way."""
    script = (
        "import os, sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == 'typer': os.kill(os.getpid(), {number:d})\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "from jobctl.cli.main import main\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "start", "a"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_watch(sqlite_url: str, call: Callable[..., Result], spawn: Callable[..., Running]):
    """Show --watch prints again on a change, and ends when the chain is closed."""
    started = call("start", "a", "--database", sqlite_url).out.strip()
    text, documents = spawn("show", started, "--watch"), spawn("show", started, "--watch", "--json")
    eventually(lambda: started in text.out and started in documents.out)
    call("complete", started, "--database", sqlite_url)
    done = text.wait()
    assert done.code == 0
    assert [block.split(",")[0] for block in done.out.split("\n\n")] == [f"a {started} ready", f"a {started} completed"]
    statuses = [json.loads(line)["chain"]["status"] for line in documents.wait().lines]
    assert statuses == ["ready", "completed"]


def test_reader_that_goes_away(sqlite_url: str, jobctl: Callable[..., Result], environment: dict[str, str]):
    """A reader that takes one line and goes is no reason for noise."""
    jobctl("start", "a")
    command = " ".join(jobctl_command("jobs"))
    line = f"for i in 1 2 3; do {command} || exit; done | head -n 1 >/dev/null; true"
    environment["JOBCTL_DATABASE"] = sqlite_url
    done = subprocess.run(["sh", "-c", line], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    read, write = os.pipe()
    os.close(read)
    alone = subprocess.run(
        jobctl_command("list"), env=environment, stdout=write, stderr=subprocess.PIPE, timeout=60, check=False
    )
    os.close(write)
    assert (alone.returncode, alone.stderr) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_full_disk(sqlite_url: str, environment: dict[str, str]):
    """Output that could not be written is not a success."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            jobctl_command("schema"),
            env={**environment, "JOBCTL_DATABASE": sqlite_url},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "No space left" in done.stderr


@pytest.mark.usefixtures("sqlite_url")
def test_any_locale(jobctl: Callable[..., Result]):
    """Data is UTF-8 whatever the locale says."""
    plain = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    chain = jobctl("start", "a", "--input", "@-.json", env=plain)
    assert chain.code == 2
    chain = jobctl("start", "a", "--input", "-", stdin='"ä ✓"', env=plain).out.strip()
    assert jobctl("show", chain, "--json", env=plain).json["chain"]["input"] == "ä ✓"


@pytest.mark.usefixtures("postgres_url")
def test_any_time_zone_of_the_server(jobctl: Callable[..., Result]):
    """A time zone of the server's that Python does not know changes no time and makes no noise."""
    chain = jobctl("start", "a", "--at", "2099-01-31T15:00:00Z").out.strip()
    shown = jobctl("show", chain, "--json", env={"PGTZ": "<+02>-02"})
    assert (shown.code, shown.err) == (0, "")
    assert shown.json["chain"]["scheduled_at"] == "2099-01-31T15:00:00Z"


STARTS = {
    *("after_commit", "asking", "cli", "client", "codecs", "errors", "ids", "middlewares", "model", "options"),
    *("naming", "passwords", "processors", "registry", "sensitive", "starting", "wording"),
    *(f"storage.{each}" for each in ("database", "decoding", "migrate", "open", "parameters", "records", "spelling")),
    *(f"storage.{each}" for each in ("sqlite", "sqlite_pool", "statements", "store", "tables", "together")),
}
"""What a start imports of jobctl, beside commands and the client's topics."""


def test_start_imports(sqlite_url: str, environment: dict[str, str]):
    """Help needs neither database nor tables, SQLite not PostgreSQL's driver, and a start little of all that there is.

    That keeps commands quick.
    """
    script = "import sys; from jobctl.cli.main import run; run(sys.argv[1:]);print(*sys.modules, file=sys.stderr)"

    def loaded(*arguments: str) -> set[str]:
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            env={**environment, "JOBCTL_DATABASE": sqlite_url},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return set(done.stderr.split())

    assert not loaded("--help") & {"sqlalchemy", "psycopg", "pydantic", "rich", "platformdirs"}
    assert not loaded("start", "--help") & {"sqlalchemy", "psycopg", "pydantic", "rich"}
    started = loaded("start", "a", "--after", "1s")
    assert not started & {"psycopg", "pydantic", "rich", "dacite", "tomllib", "getpass"}
    own = {each.removeprefix("jobctl.") for each in started if each.startswith("jobctl.")}
    assert {each for each in own if not each.startswith(("cli.", "client."))} - {"storage"} == STARTS
    assert not loaded("list") & {"psycopg", "pydantic", "rich"}


def test_exit(sqlite_url: str, environment: dict[str, str], workplace: Path):
    """At its exit a command searches little of its memory for garbage, and what a module left open is written."""
    (workplace / "hand.py").write_text(
        "from jobctl import processor\n@processor('a')\ndef f(job): ...\nopened = open('kept', 'w')\nopened.write('all')\n"
    )
    script = (
        "import atexit, gc, sys; from jobctl.cli.main import main;"
        "atexit.register(lambda: print(len(gc.get_objects()), file=sys.stderr));"  # the first is called last
        "main()"
    )

    def searched(*arguments: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", script, "start", "a", "--quiet", *arguments],
            env={**environment, "JOBCTL_DATABASE": sqlite_url},
            cwd=workplace,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return int(done.stderr)

    assert searched() < 1_000
    assert searched("--processors", "./hand.py") < 10_000
    assert (workplace / "kept").read_text() == "all"


def test_no_arguments(jobctl: Callable[..., Result]):
    """Called without anything it shows the help, on stderr, and that was not a success."""
    result = jobctl()
    assert (result.code, result.out) == (2, "")
    assert "Usage: jobctl" in result.err
    assert jobctl("--version").out.startswith("jobctl ")


def test_start_and_wait(sqlite_url: str, call: Callable[..., Result], spawn: Callable[..., Running]):
    """Start --wait prints the output instead of the id, which is told on stderr."""
    waiting = spawn("start", "a", "--wait", "--timeout", "20s")
    chain = eventually(lambda: ID.search(waiting.err))[0]
    call("complete", chain, "--output", "[1]", "--database", sqlite_url)
    assert waiting.wait().out == "[1]\n"
    late = call("start", "a", "--wait", "--timeout", "0s", "--database", sqlite_url)
    assert (late.code, late.out) == (124, "")
    assert "still open" in late.err
