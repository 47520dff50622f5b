"""Which database and which processors."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobctl.cli.config import Configuration, database_url, read_configuration
from jobctl.errors import UsageError


def test_nothing_configured(here: Path):
    """Without a word the database is a file in the user's state folder."""
    configuration = read_configuration(None)
    assert configuration == Configuration()
    assert database_url(None, configuration) == f"sqlite:///{here.parent / 'home' / 'jobctl' / 'jobctl.db'}"


def test_order_of_databases(here: Path, monkeypatch: pytest.MonkeyPatch):
    """The option goes before the variable, which goes before the file; an empty variable does not count."""
    (here / "jobctl.toml").write_text('database = "postgresql://file/db"')
    configuration = read_configuration(None)
    assert database_url(None, configuration) == "postgresql://file/db"
    monkeypatch.setenv("JOBCTL_DATABASE", "")
    assert database_url(None, configuration) == "postgresql://file/db"
    monkeypatch.setenv("JOBCTL_DATABASE", "postgresql://variable/db")
    assert database_url(None, configuration) == "postgresql://variable/db"
    assert database_url("postgresql://option/db", configuration) == "postgresql://option/db"


def test_order_of_files(here: Path, monkeypatch: pytest.MonkeyPatch):
    """--config goes before JOBCTL_CONFIG, that before ./jobctl.toml, that before the user's."""
    users = here.parent / "home" / "jobctl"
    users.mkdir(parents=True)
    (users / "jobctl.toml").write_text('processors = ["users"]')
    assert read_configuration(None).processors == ("users",)
    (here / "jobctl.toml").write_text('processors = ["folders"]')
    assert read_configuration(None).processors == ("folders",)
    (here / "a.toml").write_text('processors = ["variables"]')
    monkeypatch.setenv("JOBCTL_CONFIG", "a.toml")
    assert read_configuration(None).processors == ("variables",)
    (here / "b.toml").write_text('processors = ["options"]')
    assert read_configuration("b.toml").processors == ("options",)


def test_relative_paths_are_beside_the_file(here: Path):
    """A relative path in a configuration is taken from its folder, a module's name and an absolute path as it is."""
    folder = here / "etc"
    folder.mkdir()
    file = folder / "jobctl.toml"
    file.write_text('database = "sqlite:///jobs.db"\nprocessors = ["mod", "./hand.py", "/abs/hand.py"]')
    found = read_configuration("etc/jobctl.toml")
    assert found.database == f"sqlite:///{folder / 'jobs.db'}"
    assert found.processors == ("mod", str(folder / "hand.py"), "/abs/hand.py")
    file.write_text('database = "sqlite:////abs/jobs.db"')
    assert read_configuration("etc/jobctl.toml").database == "sqlite:////abs/jobs.db"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('databse = "x"', "unknown key 'databse'; did you mean 'database'"),
        ("colour = 1", "unknown key 'colour'; known: database, processors, require_note"),
        ('require_note = "yes"', "'require_note' must be true or false"),
        ("database = 1", "'database' must be a URL"),
        ('processors = "mod"', "'processors' must be a list"),
        ("processors = [1]", "'processors' must be a list"),
        ("database = ", "is not TOML"),
        (b"\xff", "is not TOML"),
    ],
)
def test_bad_file(here: Path, content: str | bytes, said: str):
    """A configuration that cannot be understood is refused with the file's name and what is wrong."""
    (here / "jobctl.toml").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError, match=said) as caught:
        read_configuration(None)
    assert "jobctl.toml" in str(caught.value)


def test_named_file_must_exist(here: Path, monkeypatch: pytest.MonkeyPatch):
    """A file that was named and does not exist is an error, not an empty configuration."""
    with pytest.raises(UsageError, match=r"nope\.toml cannot be read: No such file"):
        read_configuration("nope.toml")
    monkeypatch.setenv("JOBCTL_CONFIG", str(here / "gone.toml"))
    with pytest.raises(UsageError, match=r"gone\.toml"):
        read_configuration(None)
