"""``prune`` and ``vacuum`` on the command line, and the file that deleted chains are written to."""

from __future__ import annotations

import gzip
import json
import signal
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from support import Result, wait_until_blocked
from working import claim, completed, settle

from jobctl import ListFilter, NewChain
from jobctl.cli.export import Export
from jobctl.cli.prune import size
from jobctl.errors import UsageError

Call = Callable[..., Result]


@pytest.fixture
def done(call: Call) -> list[str]:
    """Chains that have completed."""
    ids = [call("start", type_name).out.strip() for type_name in ("a", "a", "b")]
    for each in ids:
        call("complete", each)
    return ids


def read(file: Path) -> list[str]:
    return [json.loads(line)["chain"]["id"] for line in gzip.decompress(file.read_bytes()).decode().splitlines()]


# --- prune -----------------------------------------------------------------------------------------------------------


def test_prune(call: Call, done: list[str]):
    """What went is counted on stdout, a line for each kind; what is not old enough, or not named, stays."""
    assert call("prune", "--completed", "1h", "--failed", "never").lines[0] == "completed\t0"
    some = call("prune", "--completed", "0s", "--type", "a")
    assert (some.code, some.lines) == (0, ["completed\t2", "cancelled\t0", "failed\t0", "history\t0"])
    assert some.err.startswith("deleted 2 chains in ")
    rest = call("prune", "--completed", "0s", "--history", "0s", "--json").json
    assert list(rest.values()) == [1, 0, 0, 4, 0, True, False]
    assert call("list").out == ""


def test_prune_keeps_what_is_awaited(call: Call, done: list[str]):
    """What an open chain waits for stays, and that is told."""
    call("start", "c", "--blocked-by", done[0])
    result = call("prune", "--completed", "0s")
    assert result.lines[0] == "completed\t2"
    assert "1 old enough stay, because open chains wait for them" in result.err


def test_nothing_named(call: Call, done: list[str]):
    """A prune that names nothing, or ages that are none, is refused."""
    for options, message in (
        ([], "nothing is to be deleted: give --completed AGE"),
        (["--failed", "never"], "nothing is to be deleted"),
        (["--completed", "old"], "--completed: 'old' is not a duration"),
        (["--completed", "1s", "--limit", "0"], "--limit: 0 is out of range"),
        (["--completed", "1s", "--type", ","], "--type is empty"),
    ):
        refused = call("prune", *options)
        assert refused.code == 2
        assert message in refused.err


def test_configuration(call: Call, done: list[str], here: Path):
    """Ages may stand in the configuration, for types too; options go before the general ones, with --type before all."""
    (here / "jobctl.toml").write_text('[prune]\ncompleted = "1d"\n[prune.types.a]\ncompleted = "never"\n')
    assert call("prune").lines[0] == "completed\t0"
    assert call("prune", "--completed", "0s").lines[0] == "completed\t1"
    assert call("prune", "--completed", "0s", "--type", "a", "--limit", "1").lines[0] == "completed\t1"
    (here / "jobctl.toml").write_text('[prune.types.a]\ncompleted = "0s"\n')
    assert call("prune", "--type", "b").code == 2
    assert call("prune").lines[0] == "completed\t1"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('completed = "old"', "'prune.completed': 'old' is not a duration"),
        ("failed = 3", "'prune.failed' must be an age such as 30d, or never, in quotes"),
        ('complete = "1d"', "unknown key 'prune.complete'; did you mean 'prune.completed'?"),
        ('types.a = "1d"', "'prune.types': 'a' must be a table: an age for completed, cancelled, failed"),
        ('types.a.complete = "1d"', "'prune.types': 'a': there is no 'complete'; did you mean 'completed'?"),
    ],
)
def test_wrong_configuration(call: Call, here: Path, text: str, said: str):
    """What cannot be understood in the configuration is refused, with the key and what was meant."""
    (here / "jobctl.toml").write_text(f"[prune]\n{text}\n")
    refused = call("prune")
    assert (refused.code, refused.out) == (2, "")
    assert said in refused.err


def test_production(call: Call, done: list[str], here: Path):
    """In a profile of production its name is confirmed; a dry run needs no confirmation."""
    (here / "jobctl.toml").write_text("[profiles.prod]\nproduction = true\n")
    prod = ("--profile", "prod", "--completed", "0s")
    assert call("prune", *prod, "--dry-run").lines[0] == "completed\t3"
    refused = call("prune", *prod)
    assert (refused.code, refused.out) == (2, "")
    assert "confirm with --confirm prod" in refused.err
    assert call("prune", *prod, "--confirm", "prod").lines[0] == "completed\t3"


def test_limit_and_fail_empty(call: Call, done: list[str]):
    """A limit is kept to and leaves the document incomplete; nothing to do is exit code 3 if that is asked for."""
    limited = call("prune", "--completed", "0s", "--limit", "2", "--json").json
    assert (limited["completed"], limited["complete"]) == (2, False)
    assert call("prune", "--completed", "0s", "--fail-empty").code == 0
    assert call("prune", "--completed", "0s", "--fail-empty").code == 3
    assert call("prune", "--completed", "0s").code == 0


def test_dry_run(call: Call, done: list[str], here: Path):
    """A dry run tells what would go, makes no file, and changes nothing."""
    tried = call("prune", "--completed", "0s", "--export", "old.jsonl.gz", "--dry-run")
    assert tried.lines[0] == "completed\t3"
    assert tried.err.splitlines()[-1] == "dry run: nothing was changed"
    assert not (here / "old.jsonl.gz").exists()
    assert len(call("list").lines) == 3
    assert call("prune", "--completed", "0s", "--dry-run", "--json").json["dry_run"] is True


def test_export(call: Call, done: list[str], here: Path):
    """Deleted chains stand in the file as show printed them; a second run appends."""
    shown = call("show", done[0], "--json").json
    call("prune", "--completed", "0s", "--type", "a", "--export", "old.jsonl.gz")
    call("prune", "--completed", "0s", "--export", "old.jsonl.gz")
    lines = gzip.decompress((here / "old.jsonl.gz").read_bytes()).decode().splitlines()
    assert json.loads(lines[0]) == shown
    assert read(here / "old.jsonl.gz") == done


@pytest.mark.parametrize("file", ["folder/old.gz", ".", "foreign.gz", "text.txt"])
def test_unusable_file(call: Call, done: list[str], here: Path, file: str):
    """A file that cannot be written, or that holds something else, is refused, and nothing is deleted or changed."""
    (here / "text.txt").write_text("text")
    (here / "foreign.gz").write_bytes(gzip.compress(b"something else"))
    before = [(here / name).read_bytes() for name in ("text.txt", "foreign.gz")]
    refused = call("prune", "--completed", "0s", "--export", file)
    assert (refused.code, len(refused.err.splitlines())) == (2, 1)
    assert refused.err.startswith("jobctl: --export: the file ")
    assert len(call("list").lines) == 3
    assert [(here / name).read_bytes() for name in ("text.txt", "foreign.gz")] == before


# --- the file --------------------------------------------------------------------------------------------------------


def test_torn_member_is_cut_off(tmp_path: Path):
    """Wherever a crash cut off what was written last, it is removed, what stood before is kept, and more can follow."""
    file = tmp_path / "old.jsonl.gz"
    with Export(file) as export:
        export.write([{"number": 1}, {"number": 2}])
        first = file.read_bytes()
        export.write([{"text": "ü"}])
    both = file.read_bytes()
    for length in range(len(first), len(both)):
        file.write_bytes(both[:length])
        with Export(file) as export:
            assert file.read_bytes() == first
            export.write([{"text": "ü"}])
        assert file.read_bytes() == both
    assert gzip.decompress(both).decode() == '{"number": 1}\n{"number": 2}\n{"text": "ü"}\n'


def test_two_do_not_write_one_file(tmp_path: Path):
    """A file that another run writes is refused until that has ended."""
    file = tmp_path / "old.jsonl.gz"
    with Export(file), pytest.raises(UsageError, match="is being written by another prune"):
        Export(file)
    with Export(file) as export:
        export.write([{}])


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What could not be written whole is not in the file, and the error says so."""
    file = tmp_path / "old.jsonl.gz"
    with Export(file) as export:
        export.write([{"number": 1}])
        whole = file.read_bytes()

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("jobctl.cli.export.os.fsync", full)
        with pytest.raises(UsageError, match="cannot be written: No space left on device; nothing more is deleted"):
            export.write([{"number": 2}])
    assert file.read_bytes() == whole


# --- stopping --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGKILL])
def test_interrupted(postgres_url: str, spawn, jobctl, open_client, workplace: Path, by: signal.Signals):
    """Stopped or killed at any moment, what is deleted is in the file, and what is not yet is exported in the end."""
    client = open_client(postgres_url)
    started = [each.id for each in client.start_many(NewChain("a") for _ in range(800))]
    settle(client.store, *(completed(row) for row in claim(client.store, "a", limit=1000)))
    command = ("prune", "--completed", "0s", "--export", "old.jsonl.gz")
    with psycopg.connect(postgres_url) as conn:
        conn.execute("SELECT FROM jobctl_job WHERE id = %s FOR UPDATE", [started[700]])  # in the second batch
        process = spawn(*command)
        wait_until_blocked(postgres_url)
        process.send(by)
        if by is signal.SIGKILL:
            process.wait()
    result = process.wait()
    left = set(client.select(ListFilter()))
    exported = read(workplace / "old.jsonl.gz")
    assert left | set(exported) == set(started)
    assert len(exported) == len(set(exported)) == 800 - len(left)
    if by is signal.SIGINT:
        assert (result.code, result.out.splitlines()[0]) == (130, f"completed\t{len(exported)}")
        assert f"stopped: deleted {len(exported)} chains in " in result.err
    else:
        assert len(left) == 300
    assert jobctl(*command).code == 0
    assert sorted(read(workplace / "old.jsonl.gz")) == sorted(started)
    assert set(client.select(ListFilter())) == set()


# --- vacuum ----------------------------------------------------------------------------------------------------------


def test_vacuum(call: Call, done: list[str]):
    """The files' sizes before and after are printed in bytes, and told for people."""
    call("delete", *done)
    result = call("vacuum")
    assert [line.split("\t")[0] for line in result.lines] == ["jobs.db", "jobs.db-wal"]
    assert all(each.isdigit() for line in result.lines for each in line.split("\t")[1:])
    assert " before, " in result.err
    document = call("vacuum", "--json").json
    assert list(document) == ["before", "after", "parts"]
    assert document["after"] == sum(each["after"] for each in document["parts"])


def test_vacuum_full(call: Call, postgres_url: str):
    """On PostgreSQL, --full takes --yes where there is nobody to ask."""
    refused = call("vacuum", "--full", "--database", postgres_url)
    assert (refused.code, refused.out) == (2, "")
    assert "give --yes if that is meant" in refused.err
    document = call("vacuum", "--full", "--yes", "--json", "--database", postgres_url).json
    assert "jobctl_job" in {each["name"] for each in document["parts"]}


def test_sizes():
    """Bytes are told in the largest unit that leaves something before the point."""
    assert [size(each) for each in (0, 1023, 1024, 10 * 1024, 150 * 1024, 5 * 1024**3, 3 * 1024**4)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "10.0 KiB",
        "150 KiB",
        "5.0 GiB",
        "3.0 TiB",
    ]
