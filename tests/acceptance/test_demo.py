"""``jobctl demo``: played for real, it ends as told, and leaves nothing behind however it ends."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from support import Result, Running, eventually, jobctl_command

from jobctl.cli.stories import STORIES
from jobctl.errors import DatabaseUnavailableError
from jobctl.storage.scratch import scratch_database

ROOT = Path(__file__).parents[2]
DOCUMENTS = ROOT / "docs" / "json.md"
ID = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
EXPECTED = {
    "approved": ([None, "demo-worker"], {"processed": True}),
    "rejected": ([None], {"rejected": True}),
    "left_alone": (["demo-worker"], {"rejected": True}),
    "settled_meanwhile": ([None, None], {"processed": "by hand"}),
}


@pytest.fixture
def temporary(tmp_path: Path, environment: dict[str, str]) -> Path:
    """The folder for temporary files of the commands, empty."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    environment["TMPDIR"] = str(folder)
    return folder


@pytest.fixture(params=["sqlite", "postgresql"])
def selected(request: pytest.FixtureRequest) -> list[str]:
    """The options that select each kind of database."""
    return [] if request.param == "sqlite" else ["--database", request.getfixturevalue("postgres_server")]


def schemas(url: str) -> int:
    """How many schemas of a demo there are."""
    with psycopg.connect(url) as conn:
        return conn.execute(r"SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'jobctl\_scratch\_%'").fetchone()[0]


def assert_nothing_left(temporary: Path, selected: list[str], group: int | None = None) -> None:
    """No file, no schema, and no process of this group."""
    assert list(temporary.iterdir()) == []
    if selected:
        assert schemas(selected[1]) == 0
    if group is not None:
        with pytest.raises(ProcessLookupError):
            os.killpg(group, 0)


def test_transcript(jobctl: Callable[..., Result], temporary: Path, selected: list[str], workplace: Path):
    """It shows every command line with what came out, says that all ended as told, and touches nothing of the user's."""
    (workplace / "jobctl.toml").write_text('processors = ["no-such-module"]\nnonsense = 1\n')
    result = jobctl("demo", *selected, env={"JOBCTL_DATABASE": "sqlite:///untouched.db"})
    assert (result.code, result.err) == (0, "")
    typed = [re.sub(ID, "ID", line) for line in result.lines if line.startswith("$ ")]
    assert typed[0] == "$ jobctl worker --processors approval.py --name demo-worker 2>worker.log &"
    assert typed[1:4] == [
        """$ jobctl start await-approval --input '{"requestId":"1"}' --after 2h""",
        "$ jobctl complete ID --expect await-approval --continue process-request",
        "$ jobctl wait ID --timeout 30s",
    ]
    assert result.lines[result.lines.index(next(line for line in result.lines if " wait " in line)) + 1] == (
        '{"processed": true}'
    )
    lost = [line for line in result.lines if "already_completed" in line]
    assert len(lost) == 1
    assert re.match(r"worker\.log: .* demo-worker lost +process-request …[0-9a-f]{12} attempt 1 ", lost[0])
    assert [line.split("  ")[0] for line in result.lines if "  as told: " in line] == [
        f"{number}. {story.title}" for number, story in enumerate(STORIES, start=1)
    ]
    assert "\x1b" not in result.out
    assert [each.name for each in workplace.iterdir()] == ["jobctl.toml"]
    assert_nothing_left(temporary, selected)


def test_document(jobctl: Callable[..., Result], temporary: Path, selected: list[str]):
    """--json prints one document with exactly the fields that are written down: who settled what, and the outputs."""
    result = jobctl("demo", "--json", *selected)
    assert (result.code, result.err) == (0, "")
    document = result.json
    tables = DOCUMENTS.read_text(encoding="utf-8").partition("## Demo\n")[2].partition("\n## ")[0].split("### Story")
    for each, table in zip((document, document["stories"][0]), tables, strict=True):
        assert list(each) == re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert {each["name"]: (each["completed_by"], each["output"]) for each in document["stories"]} == EXPECTED
    assert document["database"] == ("postgresql" if selected else "sqlite")
    assert document["passed"] is True
    assert all(each["passed"] and each["wrong"] is None for each in document["stories"])
    assert len({each["id"] for each in document["stories"]}) == 4
    assert_nothing_left(temporary, selected)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted(spawn: Callable[..., Running], temporary: Path, selected: list[str], number, code: int):
    """Interrupted in the middle of a story it leaves no process and no database behind, nor a traceback."""
    playing = spawn("demo", *selected)
    eventually(lambda: "1. Approved by hand" in playing.out)
    done = playing.send(number).wait()
    assert (done.code, done.err) == (code, "")
    assert_nothing_left(temporary, selected, playing.pid)


def test_interrupted_on_terminal(spawn: Callable[..., Running], temporary: Path):
    """Ctrl-C reaches the worker and the running command too, and comes again and again: nothing is left all the same."""
    playing = spawn("demo")
    eventually(lambda: "4. Settled by hand" in playing.out)

    def interrupted() -> bool:
        if playing.code is None:
            os.killpg(playing.pid, signal.SIGINT)
        return playing.code is not None

    eventually(interrupted)
    assert playing.wait().code in {130, -signal.SIGINT}  # the latter while the interpreter itself ends
    assert_nothing_left(temporary, [], playing.pid)


def test_schema_not_allowed(postgres_server: str, admin: psycopg.Connection):
    """A user who may not create a schema is told so in a sentence."""
    admin.execute("DROP ROLE IF EXISTS jobctl_limited")
    admin.execute("CREATE ROLE jobctl_limited")
    try:
        url = f"{postgres_server}{'&' if '?' in postgres_server else '?'}options=-crole%3Djobctl_limited"
        with pytest.raises(DatabaseUnavailableError, match="no schema can be made .* permission denied"):
            scratch_database(url).__enter__()
    finally:
        admin.execute("DROP ROLE jobctl_limited")


def test_colors(environment: dict[str, str], temporary: Path):
    """On a terminal headings and command lines are coloured."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        jobctl_command("demo"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**environment, "TERM": "xterm-256color"},
    )
    os.close(theirs)
    shown = b""
    try:
        while select.select([ours], [], [], 30)[0] and (piece := os.read(ours, 65536)):
            shown += piece
    except OSError:  # how Linux says that the other side is closed
        pass
    os.close(ours)
    assert process.wait(30) == 0
    lines = shown.decode().splitlines()
    assert "\x1b[1m1. Approved by hand\x1b[0m" in lines
    assert any(line.startswith("\x1b[36m$ jobctl start ") for line in lines)
