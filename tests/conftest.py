"""What the tests share: databases of their own, and the command as a process."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import prepared as prepared_module
import psycopg
import pytest
from databases import Schemas, copy_migrated, forget_the_disk
from postgres_server import ServerRun, server_url
from prepared import Forked
from psycopg import sql
from support import Result, Running, eventually, jobctl_command

import jobctl as package
from jobctl import Client
from jobctl.storage.open import open_store
from jobctl.storage.store import Store

FOLDER = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Prepare the place of the server, in the one process that lasts as long as the run."""
    gc.disable()  # until the tests are collected: until then there is little garbage
    # under nohup a hang-up is ignored, in a shell's background an interrupt, and what the tests start would inherit that
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    forget_the_disk()
    worker_input = getattr(config, "workerinput", None)
    if worker_input is not None:
        config.stash[FOLDER] = Path(worker_input["server_folder"])
        return
    run = ServerRun()
    config.stash[FOLDER] = run.folder
    config.add_cleanup(run.close)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Twice the processors: most tests wait, for a disk, another process or a lease, longer than they compute."""
    return 2 * (os.cpu_count() or 1)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node) -> None:
    """Tell a process of pytest-xdist where the server is."""
    node.workerinput["server_folder"] = str(node.config.stash[FOLDER])


def pytest_collection_finish() -> None:
    """Keep the collector of garbage from walking over thousands of tests again and again."""
    gc.freeze()
    gc.enable()


# --- databases -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def run_folder(request: pytest.FixtureRequest) -> Path:
    """The folder that all processes of this run of the tests share."""
    return request.config.stash[FOLDER]


@pytest.fixture(scope="session")
def postgres_server(run_folder: Path) -> Iterator[str]:
    """The URL of a database for this process alone, or of what JOBCTL_TEST_DATABASE names."""
    given = os.environ.get("JOBCTL_TEST_DATABASE")
    if given:
        yield given
        return
    url = server_url(run_folder)
    # a database for each process: notifications and locks on names reach all of a database
    name = f"tests_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield url.replace("/postgres?", f"/{name}?")
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def admin(postgres_server: str) -> Iterator[psycopg.Connection]:
    """A connection that makes and drops the tests' schemas."""
    with psycopg.connect(postgres_server, autocommit=True) as conn:
        conn.execute("SET lock_timeout = '5s'")  # a test that leaves a transaction open shall fail, not hang
        conn.execute("SET client_min_messages = warning")
        yield conn


@pytest.fixture(scope="session")
def schemas(postgres_server: str, admin: psycopg.Connection) -> Schemas:
    """The schemas of this process's tests."""
    return Schemas(postgres_server, admin)


@pytest.fixture
def new_schema(schemas: Schemas) -> Iterator[Callable[[], str]]:
    """Makes URLs of fresh, empty schemas, which are dropped after the test."""
    with schemas.empty() as make:
        yield make


@pytest.fixture(scope="module")
def new_lasting_schema(schemas: Schemas) -> Iterator[Callable[[], str]]:
    """The same, dropped after the last test of the file: for what takes long to set up and is only read."""
    with schemas.empty() as make:
        yield make


@pytest.fixture
def empty_postgres_url(new_schema: Callable[[], str]) -> str:
    """A PostgreSQL database without any table."""
    return new_schema()


@pytest.fixture
def postgres_url(schemas: Schemas) -> Iterator[str]:
    """A PostgreSQL database with jobctl's schema."""
    with schemas.migrated() as url:
        yield url


@pytest.fixture
def empty_sqlite_url(tmp_path: Path) -> str:
    """An SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'jobctl.db'}"


@pytest.fixture
def sqlite_url(run_folder: Path, tmp_path: Path) -> str:
    """An SQLite file with jobctl's schema."""
    return copy_migrated(run_folder, tmp_path / "jobctl.db")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A database with jobctl's schema, of each kind."""
    return request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest) -> str:
    """A database without any table, of each kind."""
    return request.getfixturevalue("empty_sqlite_url" if request.param == "sqlite" else "empty_postgres_url")


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """The store on database_url."""
    opened = open_store(database_url)
    yield opened
    opened.close()


@pytest.fixture
def client(store: Store) -> Client:
    """A client on the store."""
    return Client(store)


@pytest.fixture
def open_client() -> Iterator[Callable[[str], Client]]:
    """Opens clients of a database, as other processes would have them; they are closed after the test."""
    opened: list[Client] = []

    def open_one(url: str) -> Client:
        opened.append(Client(url))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


# --- processes -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def prepared_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where processes of jobctl are to be had quickly: see prepared.py."""
    path = f"{tmp_path_factory.mktemp('prepared')}/socket"
    server = subprocess.Popen(
        [sys.executable, prepared_module.__file__, "server", path],
        stdin=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(package.__file__).parents[1])},
        start_new_session=True,  # an interrupt from the keyboard is for the tests
    )
    with server:
        eventually(Path(path).exists, what="the server of prepared processes is there")
        yield path


@pytest.fixture(scope="session")
def prepared(prepared_socket: str) -> Callable[..., Forked]:
    """Starts a process of jobctl with these streams, which are files or their numbers."""

    def start(*args: object, env: Mapping[str, str], cwd: Path, stdin: Any, stdout: Any, stderr: Any) -> Forked:
        streams = [each if isinstance(each, int) else each.fileno() for each in (stdin, stdout, stderr)]
        return Forked(prepared_socket, args, env=env, cwd=cwd, streams=streams)

    return start


@pytest.fixture(scope="session")
def prepared_command(prepared_socket: str) -> list[str]:
    """A command line that stands for jobctl in shells, and begins as quickly."""
    return [sys.executable, "-IS", prepared_module.__file__, "shim", prepared_socket]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a user who has set nothing up, at home in a folder of the test's."""
    home = tmp_path / "home"
    home.mkdir()
    dropped = ("JOBCTL_", "PG", "XDG_", "PYTEST_", "COVERAGE_")
    single = {"NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TZ", "PYTHONWARNINGS", "CLICOLOR", "CLICOLOR_FORCE"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped) and name not in single}
    folders = {
        "HOME": home,
        "XDG_STATE_HOME": home / "state",
        "XDG_CONFIG_HOME": home / "config",
        "XDG_DATA_HOME": home / "data",
        "XDG_CACHE_HOME": home / "cache",
        "XDG_RUNTIME_DIR": home / "run",
        "XDG_CONFIG_DIRS": home / "etc",
        "XDG_DATA_DIRS": home / "share",
    }
    code = Path(package.__file__).parents[1]  # the one that the tests import, installed or not
    return {**kept, **{name: str(folder) for name, folder in folders.items()}, "PYTHONPATH": str(code)}


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """The folder that commands run in."""
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


STARTING = ("PYTHON", "LC_", "LANG")
"""What begins so in an environment is heeded by Python when it starts, and not afterwards."""


def _with_database(
    request: pytest.FixtureRequest, environment: Mapping[str, str], changes: Mapping[str, str | None] | None
) -> dict[str, str]:
    """The environment with the test's database, if it has one, and the changes; None takes a variable out."""
    found = dict(environment)
    for fixture in ("database_url", "postgres_url", "sqlite_url", "empty_postgres_url", "empty_sqlite_url"):
        if fixture in request.fixturenames:
            found["JOBCTL_DATABASE"] = request.getfixturevalue(fixture)
            break
    for name, value in (changes or {}).items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = value
    return found


@pytest.fixture
def jobctl(
    request: pytest.FixtureRequest, environment: dict[str, str], workplace: Path, prepared: Callable[..., Forked]
) -> Callable[..., Result]:
    """Runs the command to its end: ``jobctl("start", "greet", stdin=…, env={…}).code``, ``.out``, ``.err``, ``.json``.

    JOBCTL_DATABASE is the test's database, if it asks for one.
    """

    def run(
        *args: object,
        stdin: str = "",
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
        within: float = 60.0,
    ) -> Result:
        anew = any(name.startswith(STARTING) for name in env or ())
        begin = partial(subprocess.Popen, jobctl_command(*args)) if anew else partial(prepared, *args)
        with TemporaryFile() as given, TemporaryFile() as out, TemporaryFile() as err:
            given.write(stdin.encode())
            given.seek(0)
            process = begin(
                env=_with_database(request, environment, env),
                cwd=cwd or workplace,
                stdin=given,
                stdout=out,
                stderr=err,
            )
            try:
                code = process.wait(within)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                raise
            out.seek(0)
            err.seek(0)
            return Result(code, out.read().decode(), err.read().decode())

    return run


@pytest.fixture
def spawn(
    request: pytest.FixtureRequest,
    environment: dict[str, str],
    workplace: Path,
    tmp_path: Path,
    prepared: Callable[..., Forked],
) -> Iterator[Callable[..., Running]]:
    """Starts the command and lets it run: ``spawn("worker", …)``; killed after the test if it runs still.

    ``python=True`` makes the arguments those of the interpreter.
    """
    started: list[Running] = []
    numbers = itertools.count(1)

    def start(
        *args: object,
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
        python: bool = False,
    ) -> Running:
        place = {"env": _with_database(request, environment, env), "cwd": cwd or workplace}
        if python:
            begin = partial(subprocess.Popen, [sys.executable, *map(str, args)], **place, start_new_session=True)
        else:
            begin = partial(prepared, *args, **place)
        started.append(Running(begin, tmp_path / f"process-{next(numbers)}"))
        return started[-1]

    yield start
    for each in started:
        each.kill()
