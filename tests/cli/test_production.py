"""A profile of production asks for its name before many things are done."""

from __future__ import annotations

import os
import pty
import sys
from pathlib import Path

import pytest

from jobctl.cli.options import Common
from jobctl.cli.production import confirm_production
from jobctl.cli.run import Run
from jobctl.errors import UsageError


@pytest.fixture(autouse=True)
def profiles(here: Path) -> None:
    """A profile of production, and another."""
    (here / "jobctl.toml").write_text("[profiles.prod]\nproduction = true\n[profiles.dev]\n")


def run(profile: str | None) -> Run:
    return Run(Common(profile=profile))


def test_without_a_terminal():
    """A script confirms with --confirm and the profile's name; left out or wrong, it is refused."""
    confirm_production(run("prod"), "prod")
    with pytest.raises(UsageError, match="profile prod is production: confirm with --confirm prod"):
        confirm_production(run("prod"), None)
    with pytest.raises(UsageError, match="--confirm dev confirms nothing: the profile is prod"):
        confirm_production(run("prod"), "dev")


def test_elsewhere():
    """Elsewhere nothing is asked, but a name that was given must be the profile's: the script means another place."""
    confirm_production(run("dev"), None)
    confirm_production(run(None), None)
    confirm_production(run("dev"), "dev")
    with pytest.raises(UsageError, match="the profile is dev"):
        confirm_production(run("dev"), "prod")
    with pytest.raises(UsageError, match="no profile is chosen"):
        confirm_production(run(None), "prod")


@pytest.mark.parametrize(("typed", "confirmed"), [("prod", True), ("yes", False), ("", False)])
def test_on_a_terminal(monkeypatch: pytest.MonkeyPatch, typed: str, confirmed: bool):
    """On a terminal the name is typed."""
    ours, theirs = pty.openpty()
    with open(theirs, "w", closefd=False) as shown, open(theirs, closefd=False) as asked:  # noqa: PTH123
        monkeypatch.setattr(sys, "stderr", shown)
        monkeypatch.setattr(sys, "stdin", asked)
        os.write(ours, f"{typed}\n".encode())
        if confirmed:
            confirm_production(run("prod"), None)
        else:
            with pytest.raises(UsageError, match="nothing is changed"):
                confirm_production(run("prod"), None)
    read = b""
    while b"(prod)" not in read:
        read += os.read(ours, 1000)
    os.close(theirs)
    os.close(ours)
