"""What a shell offers while a command line is typed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from support import Result, jobctl_command

from jobctl import Client

SHELLS = [each for each in ("bash", "fish") if shutil.which(each)]


@pytest.fixture
def complete(call: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """What is offered for the last of these words, in this process."""
    from jobctl.cli.main import run

    def offered(*words: str) -> list[str]:
        monkeypatch.setenv("_JOBCTL_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", "\n".join(["jobctl", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        with monkeypatch.context() as patch:
            found: list[str] = []
            patch.setattr("typer.completion._click.echo", lambda text, **_: found.append(text))
            assert run([]) == 0
        monkeypatch.delenv("_JOBCTL_COMPLETE")
        return [each for each in "\n".join(found).splitlines() if each]

    return offered


def test_commands_and_options(complete: Callable[..., list[str]]):
    """Commands and options are offered."""
    assert complete("sh") == ["show"]
    assert complete("show", "--fi") == ["--field"]
    assert "--profile" in complete("list", "--")


def test_words(complete: Callable[..., list[str]], here: Path):
    """Statuses, also after a comma, and what else has few values; profiles of the configuration."""
    assert complete("list", "--status", "c") == ["continued", "completed", "cancelled"]
    assert complete("list", "--status", "ready,fa") == ["ready,failed"]
    assert complete("start", "a", "--key-scope", "") == ["incomplete", "any"]
    assert complete("completion", "") == ["bash", "zsh", "fish"]
    assert complete("list", "--setting", "worker.le") == ["worker.lease="]
    (here / "jobctl.toml").write_text("profiles.prod = {}\nprofiles.dev = {}")
    assert complete("--profile", "") == complete("list", "--profile", "") == ["prod", "dev"]
    (here / "jobctl.toml").write_text("wrong = 1")
    assert complete("--profile", "") == []


def test_types_and_chains(client: Client, database_url: str, complete: Callable[..., list[str]]):
    """Types that there are, by their beginning, and the chains that were started last, the newest first."""
    first = client.start("alpha").id
    with client.settle(first) as current:
        current.continue_with("alphabet")
    second = client.start("beta").id
    at = ("--database", database_url)
    assert complete(*at, "start", "al") == ["alpha", "alphabet"]
    assert complete("list", *at, "--type", "") == ["alpha", "alphabet", "beta"]
    assert complete("worker", *at, "--types", "beta,a") == ["beta,alpha", "beta,alphabet"]
    for command in ("show", "wait", "complete", "trigger", "delete"):
        assert complete(command, *at, "") == [second, first], command
    assert complete("wait", *at, first, second[:3]) == [second, first]
    assert complete("show", *at, second) == [second]
    assert complete("show", *at, first.replace("-", "")[:12]) == []
    assert complete("show", *at, "no-id") == []


def test_database_that_is_not_there(
    complete: Callable[..., list[str]], empty_postgres_url: str, here: Path, monkeypatch: pytest.MonkeyPatch
):
    """A database that is away, not migrated or does not answer has nothing to offer, silently; no file is made."""
    file = here / "none.db"
    for url in (f"sqlite:///{file}", empty_postgres_url, "postgresql://u@127.0.0.1:1/x", "nonsense", "sqlite:////"):
        assert complete("show", "--database", url, "") == [], url
        assert complete("start", "--database", url, "a") == [], url
    assert not file.exists()
    monkeypatch.setattr("jobctl.cli.completing.PATIENCE", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:  # connects, and never says a word
        port = server.getsockname()[1]
        assert complete("show", "--database", f"postgresql://u@127.0.0.1:{port}/x", "") == []


def test_little_is_imported(sqlite_url: str, environment: Mapping[str, str], workplace: Path):
    """To complete takes neither SQLAlchemy nor rich nor pydantic, which take longer to import than all else."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "jobctl"],
        env={
            **environment,
            "JOBCTL_DATABASE": sqlite_url,
            "_JOBCTL_COMPLETE": "complete_bash",
            "COMP_WORDS": "jobctl\nshow\n",
            "COMP_CWORD": "2",
        },
        cwd=workplace,
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "sqlite3" in imported
    assert not imported & {"sqlalchemy", "rich", "pydantic", "psycopg", "asyncio"}


@pytest.mark.parametrize("shell", SHELLS)
def test_real_shell(shell: str, client: Client, database_url: str, environment: Mapping[str, str], workplace: Path):
    """A shell that has read its script offers what jobctl offers."""
    chain = client.start("alpha").id
    programs = workplace / "bin"
    programs.mkdir()
    script = workplace / "script"
    env = {**environment, "PATH": f"{programs}:{os.environ['PATH']}", "JOBCTL_DATABASE": database_url}
    command = " ".join(jobctl_command())
    (programs / "jobctl").write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    (programs / "jobctl").chmod(0o755)
    script.write_text(
        subprocess.run(
            [programs / "jobctl", "completion", shell], env=env, capture_output=True, text=True, check=True
        ).stdout
    )
    asked = {
        "bash": f'source {script}; COMP_WORDS=(jobctl show ""); COMP_CWORD=2; _jobctl_completion jobctl; '
        'printf "%s\\n" "${COMPREPLY[@]}"',
        "fish": f"source {script}; complete -C 'jobctl show '",
    }[shell]
    done = subprocess.run([shell, "-c", asked], env=env, cwd=workplace, capture_output=True, text=True, check=True)
    assert done.stdout.partition("\t")[0].strip() == chain
    if shell == "fish":
        assert "alpha, " in done.stdout


def test_scripts(call: Callable[..., Result]):
    """There is a script for bash, zsh and fish, and for no other shell."""
    for shell in ("bash", "zsh", "fish"):
        assert "_JOBCTL_COMPLETE=complete_" in call("completion", shell).out
    result = call("completion", "zhs")
    assert (result.code, result.out) == (2, "")
    assert "did you mean 'zsh'" in result.err
