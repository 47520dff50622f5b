"""examples/release.py with a real wheel and sdist: approved, refused, forgotten, and killed in the middle."""

from __future__ import annotations

import gzip
import importlib.util
import io
import os
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import inspect, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable
from support import Result, Running, eventually, wait_until_blocked

from jobctl import __version__
from jobctl.storage.store import Store

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "examples" / "release.py"
WHEEL = f"jobctl-{__version__}-py3-none-any.whl"
SDIST = f"jobctl-{__version__}.tar.gz"
SHORT_LEASE = ("--lease", "500ms", "--poll", "200ms")


@pytest.fixture(scope="session")
def release():
    """The example as a module."""
    spec = importlib.util.spec_from_file_location("release_example", MODULE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def dist(artefacts: Path, tmp_path: Path) -> Path:
    """A copy of the artefacts."""
    return Path(shutil.copytree(artefacts, tmp_path / "dist"))


@dataclass
class Releasing:
    """A release on its way, by the command line."""

    jobctl: Callable[..., Result]
    dist: Path
    target: Path

    @property
    def place(self) -> Path:
        return self.target / f"jobctl-{__version__}"

    def check(self, **more: str) -> str:
        """Start a chain and have a worker check the artefacts; returns the chain."""
        fields = {"folder": self.dist, "target": self.target, **more}
        options = [part for name, value in fields.items() for part in ("--set", f"{name}={value}")]
        started = self.jobctl("start", "release.check", "--processors", MODULE, *options)
        assert started.code == 0, started.err
        self.work()
        return started.out.strip()

    def approve(self, chain: str) -> Result:
        expected = ("--expect", "release.await-approval", "--continue", "release.publish")
        return self.jobctl("complete", chain, *expected, "--actor", "ann", "--note", "ship it")

    def work(self) -> Result:
        done = self.jobctl("worker", "--processors", MODULE, "--drain", "--name", "drain")
        assert done.code == 0, done.err
        return done

    def shown(self, chain: str) -> dict:
        return self.jobctl("show", chain, "--json").json

    def assert_published(self) -> None:
        """The target holds the release whole and nothing else."""
        assert [each.name for each in self.target.iterdir()] == [self.place.name]
        assert sorted(each.name for each in self.place.iterdir()) == [WHEEL, SDIST]
        for each in self.dist.iterdir():
            assert (self.place / each.name).read_bytes() == each.read_bytes()


@pytest.fixture
def releasing(jobctl: Callable[..., Result], database_url: str, dist: Path, tmp_path: Path) -> Releasing:
    return Releasing(jobctl, dist, tmp_path / "target")


@pytest.fixture
def recorded(store: Store, release) -> Callable[[], list[dict]]:
    """Reads the rows of releases; none where there is no table yet."""

    def read() -> list[dict]:
        with store.transaction(read_only=True) as conn:
            if not inspect(conn).has_table(release.RELEASES.name):
                return []
            return [dict(row) for row in conn.execute(select(release.RELEASES)).mappings()]

    return read


def test_approved(releasing: Releasing, release, recorded: Callable[[], list[dict]]):
    """What a person approves by the command line is published whole and recorded; a second person comes too late."""
    chain = releasing.check()
    waiting = releasing.shown(chain)
    assert waiting["chain"]["job_type"] == "release.await-approval"
    assert waiting["chain"]["status"] == "scheduled"
    files = {each["name"]: each["sha256"] for each in waiting["jobs"][1]["input"]["files"]}
    assert files == {each.name: release.sha256(each) for each in releasing.dist.iterdir()}
    assert not releasing.target.exists()

    assert releasing.approve(chain).code == 0
    late = releasing.approve(chain)
    assert (late.code, late.out) == (4, "")
    assert "release.publish" in late.err

    releasing.work()
    assert releasing.jobctl("wait", chain).json == {"published": str(releasing.place)}
    releasing.assert_published()
    assert stat.S_IMODE(releasing.place.stat().st_mode) & 0o500 == 0o500
    (row,) = recorded()
    assert row["published_at"] is not None
    assert (row["project"], row["version"], row["chain_id"]) == ("jobctl", __version__, chain)
    assert (row["place"], row["files"]) == (str(releasing.place), files)
    after = releasing.shown(chain)
    assert [each["completed_by"] for each in after["jobs"]] == ["drain", None, "drain"]
    assert [(each["actor"], each["note"]) for each in after["history"]] == [("ann", "ship it")]
    assert releasing.approve(chain).code == 4


def test_forgotten(releasing: Releasing, spawn: Callable[..., Running], recorded: Callable[[], list[dict]]):
    """What nobody approves in time rejects itself, and nothing is published."""
    chain = releasing.check(within="300ms")
    spawn("worker", "--processors", MODULE)
    assert releasing.jobctl("wait", chain, "--timeout", "20s").json == {
        "rejected": True,
        "reason": "nobody approved it in time",
    }
    assert releasing.approve(chain).code == 4
    assert not releasing.target.exists()
    assert recorded() == []


def test_refused(releasing: Releasing):
    """A malformed artefact ends the chain with the reason, in the first attempt."""
    (releasing.dist / WHEEL).write_bytes(b"no wheel")
    chain = releasing.check()
    output = releasing.jobctl("wait", chain).json
    assert output["rejected"] is True
    assert output["reason"].startswith(f"{WHEEL} is malformed: BadZipFile: ")
    assert releasing.shown(chain)["errors"] == []
    assert releasing.approve(chain).code == 4


def test_changed_after_the_check(releasing: Releasing, recorded: Callable[[], list[dict]]):
    """Only what was approved is published: an artefact that changed since is refused, and nothing is left of it."""
    chain = releasing.check()
    releasing.approve(chain)
    (releasing.dist / SDIST).write_bytes(b"another")
    releasing.work()
    reason = f"{SDIST} has changed since it was checked"
    assert releasing.jobctl("wait", chain).json == {"rejected": True, "reason": reason}
    assert list(releasing.target.iterdir()) == []
    assert recorded() == []


def test_twice(releasing: Releasing, recorded: Callable[[], list[dict]], tmp_path: Path):
    """A version is published once, wherever to: the second chain is told which was first, and leaves nothing."""
    first, second = releasing.check(), releasing.check(target=str(tmp_path / "elsewhere"))
    releasing.approve(first)
    releasing.work()
    releasing.approve(second)
    releasing.work()
    assert first in releasing.jobctl("wait", second).json["reason"]
    assert [row["chain_id"] for row in recorded()] == [first]
    releasing.assert_published()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_place_taken(releasing: Releasing, recorded: Callable[[], list[dict]]):
    """A folder of the release's name that holds something else is neither recorded nor overwritten."""
    chain = releasing.check()
    releasing.approve(chain)
    releasing.place.mkdir(parents=True)
    (releasing.place / "mine").write_text("mine")
    releasing.work()
    assert "exists already and holds something else" in releasing.jobctl("wait", chain).json["reason"]
    assert [each.name for each in releasing.place.iterdir()] == ["mine"]
    assert recorded() == []


# --- in the middle ---------------------------------------------------------------------------------------------------


@dataclass
class Held:
    """A worker in the middle of publishing: it has copied the wheel, and the sdist does not come."""

    chain: str
    worker: Running
    fifo: Path


@pytest.fixture
def held(releasing: Releasing, spawn: Callable[..., Running]) -> Held:
    """The sdist is a pipe into which nobody writes."""
    chain = releasing.check()
    fifo = releasing.dist / SDIST
    fifo.rename(releasing.dist.parent / SDIST)
    os.mkfifo(fifo)
    releasing.approve(chain)
    worker = spawn("worker", "--processors", MODULE, "--name", "first", *SHORT_LEASE)
    size = (releasing.dist / WHEEL).stat().st_size

    def copied() -> bool:
        found = list(releasing.target.glob(f".*/{WHEEL}"))
        return len(found) == 1 and found[0].stat().st_size == size

    eventually(copied)
    assert not releasing.place.exists()
    return Held(chain, worker, fifo)


def test_killed_while_publishing(
    releasing: Releasing, held: Held, spawn: Callable[..., Running], recorded: Callable[[], list[dict]]
):
    """A worker killed in the middle of publishing: another publishes one whole release, with one row."""
    held.worker.kill()
    assert held.worker.code == -signal.SIGKILL
    assert recorded() == []
    assert len(list(releasing.target.iterdir())) == 1  # what it had begun
    (releasing.dist.parent / SDIST).replace(held.fifo)
    spawn("worker", "--processors", MODULE, "--name", "second", *SHORT_LEASE)
    waited = releasing.jobctl("wait", held.chain, "--timeout", "20s")
    assert waited.json == {"published": str(releasing.place)}
    releasing.assert_published()
    assert [row["chain_id"] for row in recorded()] == [held.chain]
    published = releasing.shown(held.chain)["jobs"][2]
    assert (published["completed_by"], published["attempt"]) == ("second", 2)


def test_lost_while_publishing(releasing: Releasing, held: Held, recorded: Callable[[], list[dict]]):
    """An attempt whose job a person settles meanwhile stops between two pieces of a file, and leaves nothing."""
    assert releasing.jobctl("complete", held.chain, "--output", '{"rejected": true}').code == 0
    with held.fifo.open("wb", buffering=0) as sdist:

        def stopped_reading() -> bool:
            try:
                sdist.write(bytes(1 << 20))
            except BrokenPipeError:
                return True
            return False

        eventually(stopped_reading)
    eventually(lambda: " lost " in held.worker.err)
    assert "already_completed" in held.worker.err
    assert list(releasing.target.iterdir()) == []
    assert recorded() == []
    shown = releasing.shown(held.chain)
    assert (shown["chain"]["output"], shown["errors"]) == ({"rejected": True}, [])
    assert shown["jobs"][2]["completed_by"] is None


def test_died_before_it_was_recorded(releasing: Releasing, recorded: Callable[[], list[dict]]):
    """A release that is at its place whole, by an attempt that died, is recorded and not published anew."""
    chain = releasing.check()
    releasing.approve(chain)
    shutil.copytree(releasing.dist, releasing.place)
    before = releasing.place.stat().st_ino
    releasing.work()
    assert releasing.jobctl("wait", chain).json == {"published": str(releasing.place)}
    assert releasing.place.stat().st_ino == before
    assert [row["chain_id"] for row in recorded()] == [chain]
    releasing.assert_published()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_killed_while_committing(
    releasing: Releasing, release, database_url: str, spawn: Callable[..., Running], recorded: Callable[[], list[dict]]
):
    """A worker and its connection lost between the folder's name and the commit: another records the release."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(str(CreateTable(release.RELEASES).compile(dialect=postgresql.dialect())))
        conn.execute(
            "CREATE FUNCTION wait_for_test() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NULL; END $$"
        )
        conn.execute(
            "CREATE CONSTRAINT TRIGGER hold AFTER INSERT ON published_release DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION wait_for_test()"
        )
        conn.execute("SELECT pg_advisory_lock(4711)")
        chain = releasing.check()
        releasing.approve(chain)
        worker = spawn("worker", "--processors", MODULE, "--name", "first", *SHORT_LEASE)
        wait_until_blocked(database_url, by=conn.info.backend_pid)
        assert releasing.place.exists()
        worker.kill()
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))",
            [conn.info.backend_pid],
        )
        conn.execute("SELECT pg_advisory_unlock(4711)")
    assert recorded() == []
    spawn("worker", "--processors", MODULE, "--name", "second", *SHORT_LEASE)
    assert releasing.jobctl("wait", chain, "--timeout", "20s").json == {"published": str(releasing.place)}
    assert [row["chain_id"] for row in recorded()] == [chain]
    releasing.assert_published()
    assert releasing.shown(chain)["jobs"][2]["completed_by"] == "second"


# --- what is no release ----------------------------------------------------------------------------------------------


def rewrite_wheel(path: Path, change: Callable[[str, bytes], bytes | None]) -> None:
    """Write a wheel anew, each file as ``change`` says; None leaves it out."""
    with zipfile.ZipFile(path) as archive:
        files = {each: archive.read(each) for each in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            changed = change(name, content)
            if changed is not None:
                archive.writestr(name, changed)


def rewrite_sdist(path: Path, rename: Callable[[str], str | None]) -> None:
    """Write an sdist anew, with each file's name as ``rename`` says; None leaves it out."""
    content = io.BytesIO(gzip.decompress(path.read_bytes()))
    with tarfile.open(fileobj=content) as before, tarfile.open(path, "w:gz") as after:
        for each in before:
            data = before.extractfile(each)
            name = rename(each.name)
            if name is not None:
                each.name = name
                after.addfile(each, data)


def not_a_zip(dist: Path) -> None:
    (dist / WHEEL).write_bytes(b"no zip")


def cut_wheel(dist: Path) -> None:
    content = (dist / WHEEL).read_bytes()
    (dist / WHEEL).write_bytes(content[: len(content) // 2])


def changed_file(dist: Path) -> None:
    rewrite_wheel(dist / WHEEL, lambda name, content: content + b"#" if name == "jobctl/__main__.py" else content)


def missing_file(dist: Path) -> None:
    rewrite_wheel(dist / WHEEL, lambda name, content: None if name == "jobctl/__main__.py" else content)


def no_metadata(dist: Path) -> None:
    def change(name: str, content: bytes) -> bytes | None:
        if name.endswith("/RECORD"):
            return b"".join(line for line in content.splitlines(keepends=True) if b"METADATA" not in line)
        return None if name.endswith("/METADATA") else content

    rewrite_wheel(dist / WHEEL, change)


def no_record(dist: Path) -> None:
    rewrite_wheel(dist / WHEEL, lambda name, content: None if name.endswith("/RECORD") else content)


def renamed_wheel(dist: Path) -> None:
    (dist / WHEEL).rename(dist / WHEEL.replace(__version__, "9.9"))


def not_a_tar(dist: Path) -> None:
    (dist / SDIST).write_bytes(gzip.compress(b"no tar"))


def not_gzip(dist: Path) -> None:
    (dist / SDIST).write_bytes(b"no gzip")


def cut_sdist(dist: Path) -> None:
    content = (dist / SDIST).read_bytes()
    (dist / SDIST).write_bytes(content[:-20])


def no_pkg_info(dist: Path) -> None:
    rewrite_sdist(dist / SDIST, lambda name: None if name.endswith("/PKG-INFO") else name)


def file_outside(dist: Path) -> None:
    rewrite_sdist(dist / SDIST, lambda name: "elsewhere/a" if name.endswith("/LICENSE") else name)


def file_above(dist: Path) -> None:
    above = f"jobctl-{__version__}/../a"
    rewrite_sdist(dist / SDIST, lambda name: above if name.endswith("/LICENSE") else name)


def other_file(dist: Path) -> None:
    (dist / "notes.txt").write_text("notes")


def folder_like_a_wheel(dist: Path) -> None:
    (dist / "a-1.0-py3-none-any.whl").mkdir()


def other_project(dist: Path) -> None:
    (dist / SDIST).unlink()
    with tarfile.open(dist / "other-2.0.tar.gz", "w:gz") as archive:
        content = b"Metadata-Version: 2.1\nName: Other\nVersion: 2.0\n"
        member = tarfile.TarInfo("other-2.0/PKG-INFO")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))


def nothing(dist: Path) -> None:
    for each in dist.iterdir():
        each.unlink()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (not_a_zip, f"{WHEEL} is malformed: BadZipFile"),
        (cut_wheel, f"{WHEEL} is malformed: BadZipFile"),
        (changed_file, "jobctl/__main__.py is not what its RECORD says"),
        (missing_file, "its files are not those of its RECORD"),
        (no_metadata, f"{WHEEL} is malformed: KeyError: .*/METADATA"),
        (no_record, f"{WHEEL} is malformed: KeyError: .*/RECORD"),
        (renamed_wheel, "jobctl-9.9-py3-none-any.whl is malformed: KeyError: .*jobctl-9.9.dist-info"),
        (not_a_tar, f"{SDIST} is malformed: ReadError"),
        (not_gzip, f"{SDIST} is malformed: BadGzipFile"),
        (cut_sdist, f"{SDIST} is malformed: EOFError"),
        (no_pkg_info, f"{SDIST} is malformed: KeyError: .*PKG-INFO"),
        (file_outside, f"{SDIST} is malformed: elsewhere/a is outside of jobctl-{__version__}"),
        (file_above, f"{SDIST} is malformed: .*/a is outside of"),
        (other_file, "notes.txt is neither a wheel nor an sdist"),
        (folder_like_a_wheel, "a-1.0-py3-none-any.whl is neither a wheel nor an sdist"),
        (other_project, f"not of one release: {WHEEL} is jobctl {__version__}, other-2.0.tar.gz is other 2.0"),
        (nothing, "holds no artefact"),
        (shutil.rmtree, "there is no folder"),
    ],
)
def test_malformed(release, dist: Path, spoil: Callable[[Path], None], reason: str):
    """Each way in which a folder is not one release is refused, and the reason says what is wrong."""
    spoil(dist)
    with pytest.raises(release.RefusedError, match=reason):
        release.read_release(release.Request(str(dist), "/target"))


def test_metadata_of_another(release, dist: Path):
    """An artefact whose metadata tells another version than its name is refused."""
    version = f"Version: {__version__}\n".encode()
    content = gzip.decompress((dist / SDIST).read_bytes())
    assert version in content
    (dist / SDIST).write_bytes(gzip.compress(content.replace(version, version.replace(b"0", b"9"))))
    with pytest.raises(release.RefusedError, match=f"{SDIST} says inside that it is jobctl 9"):
        release.read_release(release.Request(str(dist), "/target"))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"target": "target"}, "must be absolute"),
        ({"folder": "dist"}, "must be absolute"),
        ({"version": "9.9"}, f"of the version {__version__}, not 9.9"),
        ({"target": "{taken}"}, "exists already"),
    ],
)
def test_wrong_request(release, dist: Path, tmp_path: Path, fields: dict[str, str], reason: str):
    """A request that cannot be meant is refused before anybody is asked."""
    taken = tmp_path / "taken"
    (taken / f"jobctl-{__version__}").mkdir(parents=True)
    asked = {"folder": str(dist), "target": "/target"} | {k: v.format(taken=taken) for k, v in fields.items()}
    with pytest.raises(release.RefusedError, match=reason):
        release.read_release(release.Request(**asked))


def test_whole(release, dist: Path):
    """The project's own artefacts are a release, named in the one spelling; hidden files are none of it."""
    (dist / ".gitignore").write_text("*")
    found = release.read_release(release.Request(str(dist), "/target", version=__version__))
    assert (found.project, found.version, str(found.place)) == ("jobctl", __version__, f"/target/jobctl-{__version__}")
    assert [(each.name, each.size) for each in found.files] == [
        (name, (dist / name).stat().st_size) for name in (WHEEL, SDIST)
    ]


@pytest.mark.usefixtures("sqlite_url")
def test_unreadable_deadline(jobctl: Callable[..., Result], dist: Path, tmp_path: Path):
    """A time for the approval that is no duration ends the chain with a reason, not with attempts without end."""
    chain = Releasing(jobctl, dist, tmp_path / "target").check(within="soon")
    assert "'soon' is not a duration" in jobctl("wait", chain).json["reason"]


def test_wheel_has_the_example(artefacts: Path):
    """The wheel holds the module that the demo plays, as it stands among the examples."""
    with zipfile.ZipFile(artefacts / WHEEL) as archive:
        assert archive.read("jobctl/examples/approval.py") == (ROOT / "examples" / "approval.py").read_bytes()


def test_script(environment: dict[str, str], tmp_path: Path):
    """The example's script plays all of it with real commands, shows the files and the row, and leaves nothing."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    done = subprocess.run(
        [ROOT / "examples" / "release_demo.sh"],
        env={**environment, "PYTHON": sys.executable, "TMPDIR": str(temporary), "JOBCTL_DATABASE": "sqlite:///no/such"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "$ jobctl complete $id --expect release.await-approval --continue release.publish" in done.stdout
    assert "(exit code 4)\n" in done.stdout
    last = done.stdout.splitlines()[-1]
    assert last.startswith(f"('jobctl', '{__version__}', ")
    assert WHEEL in last
    assert SDIST in last
    assert list(temporary.iterdir()) == []
