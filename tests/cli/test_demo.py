"""``jobctl demo`` when a story does not end as told, and what it refuses."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from support import Result

from jobctl.cli import demo, stage
from jobctl.cli.main import run
from jobctl.cli.stories import STORIES, Logged, Story

DOCUMENTS = Path(__file__).parents[2] / "docs" / "json.md"
SILENT = Story("silent", "Silent", "Says nothing.", ("jobctl start a", Logged("started")), (), None)


@pytest.fixture
def play(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, prepared_command: list[str]
) -> Callable[..., Result]:
    """Plays the demo in this process, without a database named, with command lines that begin quickly."""
    monkeypatch.setattr(stage, "_process", lambda line: [*prepared_command, *shlex.split(line)[1:]])

    def play_it(*options: str) -> Result:
        code = run(["demo", *options])
        return Result(code, *capsys.readouterr())

    return play_it


def test_not_as_told(play: Callable[..., Result], monkeypatch: pytest.MonkeyPatch):
    """A story that ends otherwise is named in one line, with exit code 8; the document says what is wrong with it."""
    module = stage.approval_module().replace('{"rejected": True}', '{"rejected": "maybe"}')
    monkeypatch.setattr(stage, "approval_module", lambda: module)
    monkeypatch.setattr(demo, "STORIES", tuple(each for each in STORIES if each.name == "left_alone"))
    result = play("--json")
    (story,) = result.json["stories"]
    wrong = 'its output is {"rejected": "maybe"}, not {"rejected": true}'
    assert (story["passed"], story["wrong"], result.json["passed"]) == (False, wrong, False)
    error = json.loads(result.err)["error"]
    assert (result.code, error["kind"], error["id"]) == (8, "unsuccessful", story["id"])
    assert error["message"] == f"story 1 (Left alone) did not end as told: {wrong}"


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_document(play: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, request, kind: str):
    """--json prints one document with exactly the fields that are written down: who settled what, and the outputs."""
    monkeypatch.setattr(demo, "STORIES", tuple(each for each in STORIES if each.name == "rejected"))
    selected = ["--database", request.getfixturevalue("postgres_server")] if kind == "postgresql" else []
    result = play("--json", *selected)
    assert (result.code, result.err) == (0, "")
    document = result.json
    (story,) = document["stories"]
    tables = DOCUMENTS.read_text(encoding="utf-8").partition("## Demo\n")[2].partition("\n## ")[0].split("### Story")
    for each, table in zip((document, story), tables, strict=True):
        assert list(each) == re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert (document["database"], document["worker"], document["passed"]) == (kind, "demo-worker", True)
    assert (story["name"], story["completed_by"], story["output"]) == ("rejected", [None], {"rejected": True})
    assert (story["status"], story["passed"], story["wrong"]) == ("completed", True, None)


def test_broken_off(play: Callable[..., Result], monkeypatch: pytest.MonkeyPatch):
    """A story whose command fails breaks off, the others are played, and the error names story and command."""
    stories = {each.name: each for each in STORIES}
    broken = Story("broken", "Broken", "Fails.", ("jobctl start a,b",), (), None)
    monkeypatch.setattr(demo, "STORIES", (broken, SILENT, stories["rejected"]))
    monkeypatch.setattr(stage, "PATIENCE", 0.0)
    result = play()
    assert result.code == 8
    assert result.err.count("\n") == 1
    assert "story 1 (Broken) did not end as told: 'jobctl start a,b' ended with exit code 2: jobctl: " in result.err
    assert "story 2 (Silent) did not end as told: the worker's log has no line 'started' about the job" in result.err
    assert "1. Broken            NOT AS TOLD: 'jobctl start a,b'" in result.out
    assert "3. Rejected by hand  as told: settled by hand; " in result.out


def test_worker_that_ends(play: Callable[..., Result], monkeypatch: pytest.MonkeyPatch):
    """A worker that cannot work is told of at once, not waited for."""
    monkeypatch.setattr(stage, "approval_module", lambda: "raise RuntimeError('no luck')")
    monkeypatch.setattr(demo, "STORIES", (SILENT,))
    result = play()
    assert result.code == 8
    assert "the worker has ended: " in result.err
    assert "no luck" in result.err


@pytest.mark.parametrize("url", ["sqlite:///mine.db", "mysql://host/db"])
def test_other_databases(call: Callable[..., Result], url: str, here: Path):
    """A file of the user's is not what the demo is played on: it is refused, not silently left aside."""
    result = call("demo", "--database", url)
    assert (result.code, result.out) == (2, "")
    assert "give --database postgresql://… or leave it out" in result.err
    assert list(here.iterdir()) == []
