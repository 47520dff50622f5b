"""The files of docs/deploy are ones that systemd, cron and jobctl understand."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support import Result, Running, eventually

from jobctl.cli.config import read_configuration
from jobctl.cli.settings import PRODUCTION

FOLDER = Path(__file__).parents[2] / "docs" / "deploy"
PAGE = FOLDER.parent / "production.md"
UNITS = sorted(each for each in FOLDER.iterdir() if each.suffix in {".service", ".timer"})
VERIFIERS = [each for each in ("systemd-analyze",) if shutil.which(each)]


def unit(name: str) -> dict[str, str]:
    """What a unit says, the last of each."""
    return dict(re.findall(r"^(\w+)=(.*)$", (FOLDER / name).read_text(), re.MULTILINE))


def command(line: str) -> list[str]:
    """The arguments of jobctl in a command line."""
    words = shlex.split(line)
    return words[next(place for place, word in enumerate(words) if Path(word).name == "jobctl") + 1 :]


def test_page_names_every_file():
    """The page links every file, and no other."""
    linked = set(re.findall(r"\(deploy/([^)]+)\)", PAGE.read_text()))
    assert linked == {each.name for each in FOLDER.iterdir()}


def test_configuration_is_understood(tmp_path: Path):
    """The configuration that the page shows is one, with a profile of production."""
    (block,) = re.findall(r"^```toml\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "jobctl.toml").write_text(block)
    assert read_configuration(str(tmp_path / "jobctl.toml"), "prod").find(PRODUCTION).value


@pytest.mark.parametrize("verifier", VERIFIERS)
def test_units_are_understood(verifier: str, tmp_path: Path):
    """Systemd finds nothing wrong with the units, once their program and user exist."""
    for each in UNITS:
        text = each.read_text().replace("/srv/app/.venv/bin/jobctl", "/bin/true").replace("User=jobctl", "User=root")
        (tmp_path / each.name).write_text(text)
    done = subprocess.run(
        [verifier, "verify", *(tmp_path / each.name for each in UNITS)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"},
    )
    assert done.returncode == 0, done.stderr
    assert not [line for line in done.stderr.splitlines() if "jobctl-" in line], done.stderr


def test_worker_as_systemd_runs_it(sqlite_url: str, workplace: Path, tmp_path: Path, spawn: Callable[..., Running]):
    """The service's command is ready, alive, and stops in time with the code that the unit calls a success."""
    found = unit("jobctl-worker.service")
    (workplace / "mod.py").write_text("from jobctl import processor\n@processor('a')\ndef a(job): ...\n")
    (workplace / "jobctl.toml").write_text(
        f"[profiles.prod]\ndatabase = {json.dumps(sqlite_url)}\nprocessors = ['mod.py']"
    )
    environment = dict(each.split("=", 1) for each in shlex.split(found["Environment"]))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20)
        working = spawn(
            *command(found["ExecStart"]),
            env={
                **environment,
                "JOBCTL_DATABASE": None,
                "NOTIFY_SOCKET": str(tmp_path / "notify"),
                "WATCHDOG_USEC": str(300_000),
            },
        )
        assert systemd.recv(1000).startswith(b"READY=1")
        assert systemd.recv(1000) == b"WATCHDOG=1"
        code = working.send(signal.SIGTERM).wait().code
    assert str(code) == found["SuccessExitStatus"]
    assert json.loads(working.err.splitlines()[0])["database"] == sqlite_url
    timeout = re.search(r"--shutdown-timeout (\d+)s", found["ExecStart"])
    assert int(found["TimeoutStopSec"]) > int(timeout[1])


def test_container_as_compose_runs_it(
    database_url: str, workplace: Path, spawn: Callable[..., Running], jobctl: Callable[..., Result]
):
    """The health check is well while the container's worker lives, and ill before and afterwards, when it was stopped."""
    text = (FOLDER / "compose.yaml").read_text()
    (given,) = re.findall(r"^    environment:\n((?: {6}.*\n)+)", text, re.MULTILINE)
    environment = dict(re.findall(r"^ +(\w+): (.*)$", given, re.MULTILINE)) | {"JOBCTL_DATABASE": database_url}
    kind, *check = json.loads(re.findall(r"^      test: (.*)$", text, re.MULTILINE)[0])
    assert kind == "CMD"
    (workplace / f"{environment['JOBCTL_PROCESSORS']}.py").write_text(
        "from jobctl import processor\n@processor('resize')\ndef resize(job): ...\n"
    )

    def check_health() -> tuple[int, bool]:
        found = jobctl(*command(shlex.join(check)), env=environment)
        assert found.err == ""
        return found.code, "resize" in found.out

    assert check_health() == (8, True)
    container = command(shlex.join(json.loads(re.findall(r"^    command: (.*)$", text, re.MULTILINE)[0])))
    working = spawn(*container, env=environment)
    eventually(lambda: check_health() == (0, False))
    away = jobctl(*command(shlex.join(check)), env={**environment, "JOBCTL_DATABASE": "postgresql://127.0.0.1:1/app"})
    assert away.code == 75
    (stop_signal,) = re.findall(r"stop_signal: (\w+)", text)
    assert working.send(signal.Signals[stop_signal]).wait().code == 143
    assert check_health() == (8, True)
    (grace,) = re.findall(r"stop_grace_period: (\d+)s", text)
    assert int(grace) > int(container[container.index("--shutdown-timeout") + 1].removesuffix("s"))


def test_starts_run(call: Callable[..., Result], here: Path):
    """The commands of the timer's service and of the crontab run; on the second host they start nothing."""
    (here / "mod.py").write_text("from jobctl import processor\n@processor('report')\ndef a(job): ...\n")
    (here / "jobctl.toml").write_text("processors = ['mod.py']")
    fields = re.findall(r"^(?:\S+ ){4}\S+ +(.*)$", (FOLDER / "crontab").read_text(), re.MULTILINE)
    lines = [unit("jobctl-nightly.service")["ExecStart"], *(each for each in fields if "jobctl" in each)]
    assert len(lines) == 3
    printed = [call(*command(line.partition(" > ")[0])) for line in lines]
    assert [(each.code, each.err if number else "") for number, each in enumerate(printed)] == [(0, "")] * 3
    assert printed[0].out == printed[1].out != ""
    assert call("list", "--status", "completed", "--ids").out == printed[0].out
