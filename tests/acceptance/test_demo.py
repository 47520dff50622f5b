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

ID = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
COLOR = re.compile(r"\x1b\[[0-9;]*m")
ENDINGS = {
    "approved": 'by hand, by demo-worker; output {"processed": true}',
    "rejected": 'by hand; output {"rejected": true}',
    "left_alone": 'by demo-worker; output {"rejected": true}',
    "settled_meanwhile": 'by hand, by hand; output {"processed": "by hand"}',
}
"""How each story must end, as `show --json` says."""

LAST_STORY = """
from jobctl.cli import demo, main
demo.STORIES = demo.STORIES[3:]
main.main()
"""
"""Plays only the last story, in which the worker's handler would run for a minute."""


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


def check_transcript(lines: list[str]) -> None:
    """It shows every command line with what came out, and says that all ended as told."""
    typed = [re.sub(ID, "ID", line) for line in lines if line.startswith("$ ")]
    assert typed[0] == "$ jobctl worker --processors approval.py --name demo-worker 2>worker.log &"
    assert typed[1:4] == [
        """$ jobctl start await-approval --input '{"requestId":"1"}' --after 2h""",
        "$ jobctl complete ID --expect await-approval --continue process-request",
        "$ jobctl wait ID --timeout 30s",
    ]
    assert lines[lines.index(next(line for line in lines if " wait " in line)) + 1] == '{"processed": true}'
    lost = [line for line in lines if "already_completed" in line]
    assert len(lost) == 1
    assert re.match(r"worker\.log: .* demo-worker lost +process-request …[0-9a-f]{12} attempt 1 ", lost[0])
    assert [re.sub("  +", "  ", line) for line in lines if "  as told: " in line] == [
        f"{number}. {story.title}  as told: settled {ENDINGS[story.name]}"
        for number, story in enumerate(STORIES, start=1)
    ]


def test_transcript(jobctl: Callable[..., Result], temporary: Path, postgres_server: str, workplace: Path):
    """On PostgreSQL, without a terminal: what is shown is plain, and nothing of the user's is touched or left behind."""
    (workplace / "jobctl.toml").write_text('processors = ["no-such-module"]\nnonsense = 1\n')
    selected = ["--database", postgres_server]
    result = jobctl("demo", *selected, env={"JOBCTL_DATABASE": "sqlite:///untouched.db"}, within=110)
    assert (result.code, result.err) == (0, "")
    assert "\x1b" not in result.out
    check_transcript(result.lines)
    assert [each.name for each in workplace.iterdir()] == ["jobctl.toml"]
    assert_nothing_left(temporary, selected)


def test_transcript_on_terminal(environment: dict[str, str], temporary: Path):
    """On SQLite, by Python itself, on a terminal: the same, with headings and command lines in colour."""
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
    check_transcript([COLOR.sub("", line) for line in lines])
    assert_nothing_left(temporary, [])


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
    playing = spawn("-c", LAST_STORY, "demo", python=True)
    eventually(lambda: "worker.log: " in playing.out)  # the worker is in the middle of it

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
