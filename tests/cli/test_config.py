"""What is set, and by what: options, variables, profiles, files."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from support import COMMANDS, Result

from jobctl.cli import settings
from jobctl.cli.config import Configuration, Source, read_configuration
from jobctl.errors import UsageError

TWO_PROFILES = """
database = "postgresql://file/db"
worker.concurrency = 2

[sensitive]
charge = ["card"]

[profiles.prod]
database = "postgresql://app:secret@prod/db"
production = true
sensitive = { login = ["password"] }

[profiles.prod.worker]
lease = "2m"

[profiles.dev]
database = "sqlite:///dev.db"
"""


def database(configuration: Configuration, option: str | None = None) -> str:
    return configuration.find(settings.DATABASE, option).value


def processors(configuration: Configuration) -> list[str]:
    return list(configuration.find(settings.PROCESSORS).value)


@pytest.fixture
def profiles(here: Path) -> Path:
    """A configuration with two profiles in the current folder."""
    file = here / "jobctl.toml"
    file.write_text(TWO_PROFILES)
    return file


def test_nothing_configured(here: Path):
    """Without a word the database is a file in the user's state folder, and all else has its default."""
    configuration = read_configuration(None)
    assert configuration == Configuration()
    assert database(configuration) == f"sqlite:///{here.parent / 'home' / 'jobctl' / 'jobctl.db'}"
    assert configuration.find(settings.CONCURRENCY).value == 10
    assert {configuration.find(each).source for each in settings.SETTINGS} == {Source("default")}


def test_order_of_databases(here: Path, monkeypatch: pytest.MonkeyPatch):
    """The option goes before the variable, which goes before the file; an empty variable does not count."""
    (here / "jobctl.toml").write_text('database = "postgresql://file/db"')
    configuration = read_configuration(None)
    assert database(configuration) == "postgresql://file/db"
    monkeypatch.setenv("JOBCTL_DATABASE", "")
    assert database(configuration) == "postgresql://file/db"
    monkeypatch.setenv("JOBCTL_DATABASE", "postgresql://variable/db")
    assert database(configuration) == "postgresql://variable/db"
    assert database(configuration, "postgresql://option/db") == "postgresql://option/db"


def test_order_of_files(here: Path, monkeypatch: pytest.MonkeyPatch):
    """--config goes before JOBCTL_CONFIG, that before ./jobctl.toml, that before the user's."""
    users = here.parent / "home" / "jobctl"
    users.mkdir(parents=True)
    (users / "jobctl.toml").write_text('processors = ["users"]')
    assert processors(read_configuration(None)) == ["users"]
    (here / "jobctl.toml").write_text('processors = ["folders"]')
    assert processors(read_configuration(None)) == ["folders"]
    (here / "a.toml").write_text('processors = ["variables"]')
    monkeypatch.setenv("JOBCTL_CONFIG", "a.toml")
    assert processors(read_configuration(None)) == ["variables"]
    (here / "b.toml").write_text('processors = ["options"]')
    assert processors(read_configuration("b.toml")) == ["options"]


def test_relative_paths_are_beside_the_file(here: Path):
    """A relative path in a configuration is taken from its folder, a module's name and an absolute path as it is."""
    folder = here / "etc"
    folder.mkdir()
    file = folder / "jobctl.toml"
    file.write_text('database = "sqlite:///jobs.db"\nprocessors = ["mod", "./hand.py", "/abs/hand.py"]')
    found = read_configuration("etc/jobctl.toml")
    assert database(found) == f"sqlite:///{folder / 'jobs.db'}"
    assert processors(found) == ["mod", str(folder / "hand.py"), "/abs/hand.py"]
    file.write_text('database = "sqlite:////abs/jobs.db"')
    assert database(read_configuration("etc/jobctl.toml")) == "sqlite:////abs/jobs.db"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('databse = "x"', "unknown key 'databse'; did you mean 'database'"),
        ('require_note = "yes"', "'require_note' must be true or false"),
        ("colour = 1", "unknown key 'colour'; known: database, .*, processors, .*, worker$"),
        ("lease = '1s'", "unknown key 'lease'; did you mean 'worker.lease'"),
        ("worker.concurency = 1", "unknown key 'worker.concurency'; did you mean 'worker.concurrency'"),
        ("worker.x = 1", r"unknown key 'worker.x'; known in \[worker\]: name, types, concurrency"),
        ("profiles.prod.databse = 'x'", "unknown key 'profiles.prod.databse'; did you mean 'database'"),
        ("database = 1", "'database' must be a URL"),
        ("database = ''", "'database' must be a URL"),
        ('processors = "mod"', "'processors' must be a list"),
        ("processors = [1]", "'processors' must be a list"),
        ("worker = 1", r"'worker' must be a table: \[worker\]"),
        ("worker.concurrency = '1'", "'worker.concurrency' must be a whole number"),
        ("worker.concurrency = true", "'worker.concurrency' must be a whole number"),
        ("worker.concurrency = 0", "'worker.concurrency': 0 is out of range: 1 to 1000"),
        ("worker.lease = 30", "'worker.lease' must be a duration in quotes"),
        ("worker.lease = '1ms'", "'worker.lease': '1ms' is too short: 100ms"),
        ("worker.log_format = 'jsno'", "'worker.log_format': there is no 'jsno'; did you mean 'json'"),
        ("sensitive = ['card']", "'sensitive' must be a table"),
        ("sensitive.charge = 'card'", "'sensitive': 'charge' must be a list of paths"),
        ("production = true", "'production' is about a profile: write it below one"),
        ("profiles.prod.production = 1", "'profiles.prod.production' must be true or false"),
        ("profiles = 1", "'profiles' must have a table for each profile"),
        ("profiles.prod = 1", "'profiles' must have a table for each profile"),
        ("profile = 1", "'profile' must be a profile's name in quotes"),
        ("profile = 'x'", "there is no profile 'x': .* has no profiles"),
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


@pytest.mark.usefixtures("profiles")
def test_profile_goes_over_the_file():
    """What a profile says goes before what the file says; tables are merged; what it leaves out is the file's."""
    found = read_configuration(None, "prod")
    assert database(found) == "postgresql://app:secret@prod/db"
    assert found.find(settings.LEASE).value == timedelta(minutes=2)
    assert found.find(settings.LEASE).source == Source("profile", "prod")
    assert found.find(settings.CONCURRENCY).value == 2
    assert found.find(settings.SENSITIVE).value == {"charge": ("card",), "login": ("password",)}
    assert found.find(settings.PRODUCTION).value
    plain = read_configuration(None)
    assert database(plain) == "postgresql://file/db"
    assert not plain.find(settings.PRODUCTION).value


def test_order_of_profiles(profiles: Path, monkeypatch: pytest.MonkeyPatch):
    """--profile goes before JOBCTL_PROFILE, that before `profile` in the file; an empty variable does not count."""
    profiles.write_text(f'profile = "dev"\n{TWO_PROFILES}')
    monkeypatch.setenv("JOBCTL_PROFILE", "")
    assert read_configuration(None).profile == "dev"
    assert database(read_configuration(None)) == f"sqlite:///{profiles.parent / 'dev.db'}"
    monkeypatch.setenv("JOBCTL_PROFILE", "prod")
    assert read_configuration(None).profile == "prod"
    assert read_configuration(None, "dev").profile == "dev"


def test_no_such_profile(profiles: Path, here: Path, monkeypatch: pytest.MonkeyPatch):
    """A profile that was named and does not exist is an error that knows what was meant."""
    with pytest.raises(UsageError, match="there is no profile 'prd' in .*; did you mean 'prod'"):
        read_configuration(None, "prd")
    with pytest.raises(UsageError, match="--profile is empty"):
        read_configuration(None, "")
    monkeypatch.setenv("JOBCTL_PROFILE", "x")
    with pytest.raises(UsageError, match=r"there is no profile 'x' \(JOBCTL_PROFILE\) in .*; known: prod, dev"):
        read_configuration(None)
    profiles.unlink()
    with pytest.raises(UsageError, match="no profile 'prod': there is no configuration file"):
        read_configuration(None, "prod")


@pytest.mark.usefixtures("profiles")
def test_every_setting_has_a_variable(monkeypatch: pytest.MonkeyPatch):
    """A setting's variable goes over the profile, and --setting over that; what says what the profile is, has none."""
    own = {settings.MAX_ATTEMPTS.key: "3", "worker.log_format": "json", "prune.types": '{"a": {"completed": "1d"}}'}
    own |= {f"prune.{each}": "never" for each in ("completed", "cancelled", "failed", "history")}
    texts = {
        "Flag": "yes",
        "Whole": "3",
        "Duration": "3s",
        "Age": "3d",
        "OneOf": "json",
        "Names": "a,b",
        "Modules": "a",
    }
    tables = {"Paths": ["b"], "Ages": {"completed": "3d"}, "OfProgram": "true"}
    for each in settings.SETTINGS:
        if each.variable is None:
            assert each.of_profile
            continue
        kind = type(each.kind).__name__
        inner = type(getattr(each.kind, "value", None)).__name__
        text = json.dumps({"a": tables[inner]}) if kind == "Table" else texts.get(kind, "true")
        monkeypatch.setenv(each.variable, text)
        found = read_configuration(None, "prod").find(each)
        assert found.source == Source("environment", each.variable)
        assert found.value == each.kind.of_text(f"the variable {each.variable}", text) != each.default
        monkeypatch.setenv(each.variable, "not looked at")
        given = read_configuration(None, "prod", [f"{each.key}={text}"]).find(each)
        assert (given.value, given.source) == (found.value, Source("option", "--setting"))


@pytest.mark.usefixtures("profiles")
def test_setting_of_one_call(call: Callable[..., Result]):
    """--setting counts for the call, before the command and behind it, the last one of a key; an option goes over it."""
    words = ("--setting", "worker.lease=1m", "config", "--setting", "worker.lease=2m", "--setting", "require_note=yes")
    found = {each["key"]: (each["value"], each["where"]) for each in call(*words, "--json").json["settings"]}
    assert (found["worker.lease"], found["require_note"]) == (("120s", "--setting"), (True, "--setting"))
    assert found["database"][1] == "--database"
    chain = call("start", "a", "--input", '{"card": 1}', "--setting", 'sensitive={"a": ["card"]}', "--json").json
    assert chain["input"] == {"card": "***"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("worker.lease", "--setting: 'worker.lease' is not KEY=VALUE"),
        ("worker.leese=1m", "--setting: there is no key 'worker.leese'; did you mean 'worker.lease'?"),
        ("worker.lease=soon", "--setting worker.lease: 'soon' is not a duration"),
        ("production=false", "--setting: 'production' says what a profile is"),
        ("database=", "--setting database is empty"),
    ],
)
def test_bad_setting(call: Callable[..., Result], text: str, said: str):
    """What --setting says that cannot be understood is refused, by whatever command."""
    refused = call("list", "--setting", text)
    assert (refused.code, refused.out) == (2, "")
    assert said in refused.err


@pytest.mark.parametrize(
    ("variable", "text", "said"),
    [
        ("JOBCTL_WORKER_LEASE", "soon", "the variable JOBCTL_WORKER_LEASE: 'soon' is not a duration"),
        ("JOBCTL_WORKER_CONCURRENCY", "0", "the variable JOBCTL_WORKER_CONCURRENCY: 0 is out of range"),
        ("JOBCTL_SENSITIVE", "card", "the variable JOBCTL_SENSITIVE is not JSON"),
        ("JOBCTL_SENSITIVE", '{"a": 1}', "the variable JOBCTL_SENSITIVE: 'a' must be a list"),
        ("JOBCTL_PROCESSORS", ",", "the variable JOBCTL_PROCESSORS is empty"),
    ],
)
def test_bad_variable(
    call: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, variable: str, text: str, said: str
):
    """A variable that says what is no value of its setting is refused by name."""
    monkeypatch.setenv(variable, text)
    result = call("config")
    assert (result.code, result.out) == (2, "")
    assert said in result.err


@pytest.mark.usefixtures("profiles")
def test_config_shows_where_from(call: Callable[..., Result], here: Path, monkeypatch: pytest.MonkeyPatch):
    """`config` shows each setting with its source, nearest first; a password never."""
    monkeypatch.setenv("JOBCTL_WORKER_POLL", "1s")
    document = call("config", "--profile", "prod", "--json").json
    assert (document["file"], document["profile"], document["profiles"]) == (
        str(here / "jobctl.toml"),
        "prod",
        ["prod", "dev"],
    )
    by_key = {each["key"]: (each["value"], each["source"], each["where"]) for each in document["settings"]}
    assert list(by_key) == [each.key for each in settings.SETTINGS]
    assert by_key["database"] == (f"sqlite:///{here / 'jobs.db'}", "option", "--database")
    assert by_key["worker.poll"] == ("1s", "environment", "JOBCTL_WORKER_POLL")
    assert by_key["worker.lease"] == ("120s", "profile", "prod")
    assert by_key["worker.concurrency"] == (2, "file", str(here / "jobctl.toml"))
    assert by_key["worker.name"] == (None, "default", None)
    monkeypatch.setenv("JOBCTL_DATABASE", "postgresql://app:secret@prod/db")
    text = call("config", "--profile", "prod", "--database", "postgresql://a:secret@b/c").out
    assert "secret" not in text
    assert text.splitlines()[0] == "database\tpostgresql://a:***@b/c\t--database"
    assert "worker.name\t-\tdefault" in text.splitlines()


# --- which database is acted on ------------------------------------------------------------------------------------


def test_changing_commands_say_where(call: Callable[..., Result], here: Path):
    """A command that changes data says on stderr on which database; one that reads does not, and --quiet silences it."""
    said = f"on sqlite:///{here / 'jobs.db'}\n"
    started = call("start", "a")
    assert (started.place, started.err) == (said, "")
    chain = started.out.strip()
    assert call("list").place == call("show", chain).place == ""
    assert call("start", "a", "--quiet").place == ""
    for command in ("trigger", "reschedule", "complete", "delete", "migrate"):
        arguments = {"reschedule": [chain, "--after", "1h"], "migrate": []}.get(command, [chain])
        assert call(command, *arguments).place == said, command
    refused = call("complete", chain)
    assert (refused.code, refused.place, len(refused.err.splitlines())) == (3, "", 1)


def test_who_changes_what():
    """The commands that change data are these: whoever adds one decides, and says so here."""
    assert {each.name for each in COMMANDS if each.changes} == {
        "start",
        "worker",
        "complete",
        "trigger",
        "reschedule",
        "delete",
        "migrate",
        "pause",
        "prune",
        "cancel",
        "restart",
        "resume",
        "retry",
        "run",
        "vacuum",
    }


@pytest.mark.usefixtures("profiles")
def test_profile_is_said(call: Callable[..., Result], here: Path):
    """The profile is said too, and when its database is not the one that is used."""
    url = f"sqlite:///{here / 'jobs.db'}"
    assert call("start", "a", "--profile", "prod").place == f"on {url} (--database), not that of profile prod\n"
    (here / "jobctl.toml").write_text("[profiles.dev]")
    assert call("start", "a", "--profile", "dev").place == f"on {url} (profile dev)\n"


def test_json_error_has_the_database(call: Callable[..., Result], here: Path):
    """With --json an error is still the only thing on stderr, and has the database as a fact."""
    failed = call("delete", "00000000-0000-7000-8000-000000000000", "--json")
    assert json.loads(failed.err)["error"]["database"] == f"sqlite:///{here / 'jobs.db'}"
    assert failed.place == ""
    assert call("start", "a", "--json").place == f"on sqlite:///{here / 'jobs.db'}\n"
