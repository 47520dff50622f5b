"""Bad input of every kind: one line on stderr, the right exit code, an empty stdout, and nothing changed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from support import Result

from jobctl.passwords import without_password

UNKNOWN = "01a20b07-7164-7b4f-b861-8b723d4d825d"

MODULES = {
    "good.py": """
from dataclasses import dataclass
from jobctl import Job, processor
@dataclass
class Size:
    width: int
@processor("resize", continues=("publish",))
def resize(job: Job[Size]) -> dict: ...
@processor("publish", entry=False)
def publish(job: Job): ...
""",
    "fails.py": "raise RuntimeError('at import,\\nin two lines')",
    "exits.py": "raise SystemExit(0)",
    "syntax.py": "def",
    "empty.py": "x = 1",
    "illegal.py": "from jobctl import processor\n@processor('x')\ndef f(job, a, b): ...",
    "twice.py": "from jobctl import processor\n@processor('resize')\ndef f(job): ...",
}

# what is called, the exit code, and what stderr says
BAD = [
    (("start",), 2, "a chain has a type: give TYPE, or --batch FILE"),
    (("complete",), 2, "missing argument 'ID'; see 'jobctl complete --help'"),
    (("start", "a", "b"), 2, "unexpected extra argument"),
    (("start", "a", "--inptu", "1"), 2, "no such option: --inptu; did you mean --input"),
    (("start", "a", "--priority"), 2, "requires an argument"),
    (("wroker", "a"), 2, "no such command 'wroker'; did you mean 'worker'"),
    (("start", "a b"), 2, "is not a type name"),
    (("start", ""), 2, "is not a type name"),
    (("start", "a", "--input", "{x}"), 5, "--input is not JSON"),
    (("start", "a", "--input", "@nope.json"), 2, "nope.json cannot be read"),
    (("start", "a", "--input", "1", "--set", "a=1"), 2, "--input and --set exclude each other"),
    (("start", "a", "--set", "a"), 2, "is not a pair"),
    (("start", "a", "--set", "a:={"), 5, "--set a:= is not JSON"),
    (("start", "a", "--after", "soon"), 2, "--after: 'soon' is not a duration"),
    (("start", "a", "--after", "99999999d"), 2, "longer than a thousand years"),
    (("start", "a", "--at", "noon"), 2, "--at: 'noon' is not a time"),
    (("start", "a", "--after", "1s", "--at", "2030-01-01"), 2, "--after and --at exclude each other"),
    (("start", "a", "--priority", "high"), 2, "--priority: 'high' is not a whole number"),
    (("start", "a", "--priority", "1001"), 2, "out of range: -1000 to 1000"),
    (("start", "a", "--id", "7"), 2, "'7' is not an id"),
    (("start", "a", "--id", "{chain}"), 4, "is taken"),
    (("start", "a", "--blocked-by", "x"), 2, "'x' is not an id"),
    (("start", "a", "--blocked-by", UNKNOWN), 3, UNKNOWN),
    (("start", "a", "--timeout", "1s"), 2, "--timeout limits --wait"),
    (("start", "a", "--processors", "nope"), 2, "there is no module 'nope'"),
    (("start", "a", "--processors", "nope.py"), 2, "nope.py"),
    (("start", "a", "--processors", ""), 2, "--processors is empty"),
    (("start", "a", "--processors", "fails.py"), 2, "cannot be loaded: RuntimeError: at import,"),
    (("start", "a", "--processors", "exits.py"), 2, "cannot be loaded"),
    (("start", "a", "--processors", "syntax.py"), 2, "cannot be loaded: SyntaxError"),
    (("start", "a", "--processors", "empty.py"), 2, "holds no processor"),
    (("start", "x", "--processors", "illegal.py"), 2, "illegal.py"),
    (("start", "a", "--processors", "good.py,twice.py"), 2, "has two processors"),
    (("start", "a", "--processors", "good.py,good"), 5, "no processor handles 'a'"),
    (("start", "risize", "--processors", "good.py"), 5, "did you mean 'resize'"),
    (("start", "publish", "--processors", "good.py"), 5, "reached by continuation alone"),
    (("start", "resize", "--input", '{"width": "x"}', "--processors", "good.py"), 5, "the input of 'resize'"),
    (("complete",), 2, "missing argument 'ID'"),
    (("complete", "x"), 2, "'x' is not an id"),
    (("complete", UNKNOWN), 3, f"there is no chain or job {UNKNOWN}"),
    (("complete", "{chain}", "--output", "x"), 5, "--output is not JSON"),
    (("complete", "{chain}", "--output", "1", "--continue", "b"), 2, "--output ends the chain"),
    (("complete", "{chain}", "--input", "1"), 2, "--input is about the next job"),
    (("complete", "{chain}", "--after", "1s"), 2, "--after is about the next job"),
    (("complete", "{chain}", "--blocked-by", UNKNOWN), 2, "--blocked-by is about the next job"),
    (("complete", "{chain}", "--continue", "b c"), 2, "is not a type name"),
    (("complete", "{chain}", "--continue", "b", "--blocked-by", UNKNOWN), 3, UNKNOWN),
    (("complete", "{chain}", "--continue", "nope", "--processors", "good.py"), 5, "nope"),
    (("complete", "{chain}", "--expect", "b"), 4, "the chain is not at 'b'"),
    (("complete", "{closed}"), 4, "is closed"),
    (("complete", "{blocked}"), 4, "still waits for"),
    (("wait", "x"), 2, "'x' is not an id"),
    (("wait", "{chain}", UNKNOWN), 3, UNKNOWN),
    (("wait", "{chain}", "--timeout", "0s"), 124, "still open"),
    (("wait", "{chain}", "--timeout", "5"), 2, "--timeout: '5' is not a duration"),
    (("show", "x"), 2, "'x' is not an id"),
    (("show", UNKNOWN), 3, f"there is no chain or job {UNKNOWN}"),
    (("list", "--status", "don"), 2, "--status: there is no 'don'"),
    (("list", "--limit", "0"), 2, "--limit: 0 is out of range"),
    (("list", "--order", "up"), 2, "--order: there is no 'up'; known: newest, oldest"),
    (("list", "--cursor", "xyz"), 2, "the cursor is not one that a list gave"),
    (("jobs", "--since", "x"), 2, "--since: 'x' is not a time"),
    (("jobs", "--chain", "x"), 2, "'x' is not an id"),
    (("worker",), 2, "a worker needs processors"),
    (("worker", "--processors", "good.py", "--concurrency", "0"), 2, "--concurrency: 0 is out of range: 1 to"),
    (("worker", "--processors", "good.py", "--types", "nope"), 2, "no processor handles 'nope'"),
    (("worker", "--processors", "good.py", "--types", ""), 2, "--types is empty"),
    (("worker", "--processors", "good.py", "--max-jobs", "0"), 2, "--max-jobs: 0 is out of range: 1 to"),
    (("worker", "--processors", "good.py", "--lease", "50ms"), 2, "--lease: '50ms' is too short: 100ms or more"),
    (("worker", "--processors", "good.py", "--poll", "0s"), 2, "--poll: '0s' is too short: 1ms or more"),
    (("worker", "--processors", "good.py", "--lease", "30"), 2, "--lease: '30' is not a duration"),
    (("worker", "--processors", "good.py", "--log-format", "xml"), 2, "--log-format: there is no 'xml'"),
    (("worker", "--processors", "illegal.py"), 2, "illegal.py"),
    (("schema", "--dialect", "postgres"), 2, "did you mean 'postgresql'"),
    (("list", "--config", "nope.toml"), 2, "nope.toml cannot be read"),
    (("list", "--database", "mysql://x/y"), 2, "must begin with postgresql:// or sqlite:///"),
    (("list", "--database", "sqlite://"), 2, "sqlite:///relative/path"),
    (("list", "--database", "sqlite:////dev/null/x.db"), 75, "; check that it names a file, in a folder that you"),
    (("migrate", "--dry-run", "--database", "sqlite:////dev/null/x.db"), 75, "not available"),
    (("list", "--database", "sqlite:///good.py"), 2, "is not an SQLite database"),
    (("list", "--database", "postgresql://u:secret@127.0.0.1:1/db"), 75, "postgresql://u@127.0.0.1:1/db"),
    (("list", "--database", "postgresql://u:secret@127.0.0.1:1/db"), 75, "; check that the server runs, and that host"),
]


@pytest.fixture
def places(here: Path, call: Callable[..., Result]) -> dict[str, str]:
    """Modules, and a chain that is open, one that is closed and one that is blocked."""
    for name, text in MODULES.items():
        (here / name).write_text(text)
    chain = call("start", "a").out.strip()
    closed = call("start", "a").out.strip()
    assert call("complete", closed).code == 0
    return {"chain": chain, "closed": closed, "blocked": call("start", "a", "--blocked-by", chain).out.strip()}


def content(database: Path) -> list[str]:
    conn = sqlite3.connect(database)
    try:
        return list(conn.iterdump())
    finally:
        conn.close()


def test_bad_input(here: Path, places: dict[str, str], call: Callable[..., Result]):
    """Each way of calling it wrongly ends with its exit code and one line that says what is wrong."""
    before = content(here / "jobs.db")
    for arguments, code, said in BAD:
        filled = [places.get(each.strip("{}"), each) if each.startswith("{") else each for each in arguments]
        result = call(*filled)
        told = f"{arguments}: {result}"
        assert result.code == code, told
        assert result.out == "", told
        assert said in result.err, told
        assert result.err.startswith("jobctl: "), told
        assert result.err.count("\n") == 1, told
        assert "secret" not in result.err, told
    assert content(here / "jobs.db") == before


def test_schema_too_new(here: Path, call: Callable[..., Result]):
    """A database that a later jobctl migrated is refused with exit code 6."""
    call("list")
    with sqlite3.connect(here / "jobs.db") as conn:
        conn.execute("INSERT INTO jobctl_migration VALUES (999, 'later', 0)")
    conn.close()
    for command in (("list",), ("start", "a"), ("migrate",), ("migrate", "--dry-run")):
        result = call(*command)
        assert (result.code, result.out) == (6, ""), result
        assert "999" in result.err
        assert "update jobctl" in result.err


def test_schema_missing(empty_postgres_url: str, call: Callable[..., Result]):
    """PostgreSQL without a schema is refused with exit code 6, and the error names what to run."""
    result = call("start", "a", "--database", empty_postgres_url)
    assert (result.code, result.out) == (6, "")
    assert "run `jobctl migrate`" in result.err
    as_json = call("list", "--json", "--database", empty_postgres_url)
    error = json.loads(as_json.err)["error"]
    assert (error["kind"], error["found"]) == ("schema_outdated", 0)


def test_unexpected(call: Callable[..., Result], monkeypatch: pytest.MonkeyPatch):
    """A defect ends with 1 and one line; --debug adds the traceback, without the password of a URL in it."""

    def fail(*_: object) -> None:
        raise RuntimeError("cannot use\npostgresql://u:secret@host/db")

    monkeypatch.setattr("jobctl.client.Client.show", fail)
    plain = call("show", UNKNOWN)
    assert plain.code == 1
    assert plain.err == (
        "jobctl: RuntimeError: cannot use postgresql://u:***@host/db; run again with --debug for the traceback\n"
    )
    debug = call("show", UNKNOWN, "--debug")
    assert "Traceback" in debug.err
    assert "secret" not in debug.err
    as_json = json.loads(call("show", UNKNOWN, "--json").err)
    assert as_json["error"]["kind"] == "unexpected"


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("postgresql://u:secret@h/db", "postgresql://u:***@h/db"),
        ("postgres://:secret@h", "postgres://:***@h"),
        ("x postgresql://u:p@ss:secret@h/db?a=b y", "x postgresql://u:***@h/db?a=b y"),
        ("host=h password=secret dbname=d", "host=h password=*** dbname=d"),
        ("postgresql://h/db?password=secret&user=u", "postgresql://h/db?password=***&user=u"),
        ("password='a secret' host=h", "password=*** host=h"),
        ("sqlite:////tmp/x@y.db", "sqlite:////tmp/x@y.db"),
        ("postgresql://u@h:5432/db", "postgresql://u@h:5432/db"),
    ],
)
def test_passwords(text: str, scrubbed: str):
    """A password never gets into what is printed."""
    assert without_password(text) == scrubbed


def test_argument_that_is_no_text(call: Callable[..., Result]):
    """An argument that is not UTF-8 is refused, as what cannot be stored."""
    result = call("start", "\udcff")
    assert (result.code, result.out) == (2, "")
    assert "not text in UTF-8" in result.err


def test_json_error_of_usage(call: Callable[..., Result]):
    """With --json, --jsonl or --log-format json a wrong call is told as JSON too."""
    for arguments in (
        ("list", "--json", "--jsonl"),
        ("list", "--json", "--x"),
        ("list", "--jsonl", "--x"),
        ("worker", "--log-format=json"),
    ):
        result = call(*arguments)
        error = json.loads(result.err)["error"]
        assert (result.code, error["code"], error["kind"]) == (2, 2, "usage")
