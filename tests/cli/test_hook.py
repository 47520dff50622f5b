"""The failure hook: told of each job that has failed, beside the work and without touching it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import Result, eventually
from working import claim, completed, settle

from jobctl import Client
from jobctl.cli import hook
from jobctl.cli.config import read_configuration
from jobctl.cli.hook import MOST_AT_ONCE, FailureHook
from jobctl.errors import UsageError
from jobctl.events import Event, Told
from jobctl.processes import Command, Commands
from jobctl.storage.records import Retry, Settlement

BAD = """
from jobctl import processor
@processor("bad", max_attempts=2)
def bad(job): raise ValueError("no luck")
"""


def test_whole(here: Path, call: Callable[..., Result], database_url: str):
    """Once the job has failed, and not at the attempts before, the hook gets it as JSON with all of its errors."""
    (here / "mod.py").write_text(BAD)
    at = ("--database", database_url)
    chain = call("start", "bad", "--input", '{"n": 1}', *at).out.strip()
    (here / "jobctl.toml").write_text(
        'on_failed = {command = "cat > told; env > environment; touch $JOBCTL_TYPE", shell = true}'
    )
    for attempt in (1, 2):
        assert not (here / "told").exists()
        assert call("run", chain, "--now" if attempt == 2 else "--quiet", "--processors", "mod", *at).code == 8
    told = json.loads((here / "told").read_text())
    assert (told["id"], told["status"], told["input"], told["attempt"]) == (chain, "failed", {"n": 1}, 2)
    assert [(each["attempt"], each["error"].splitlines()[-1]) for each in told["errors"]] == [
        (1, "ValueError: no luck"),
        (2, "ValueError: no luck"),
    ]
    environment = (here / "environment").read_text().splitlines()
    assert {f"JOBCTL_JOB_ID={chain}", "JOBCTL_ATTEMPT=2", "JOBCTL_TYPE=bad"} <= set(environment)
    assert not [each for each in environment if each.startswith("JOBCTL_LEASE")]


def test_worker(here: Path, call: Callable[..., Result]):
    """A worker waits for its hooks before it ends; the option goes before the configuration; a failure is one line."""
    (here / "mod.py").write_text(BAD.replace("max_attempts=2", "max_attempts=1"))
    (here / "jobctl.toml").write_text('on_failed = "touch wrong"')
    call("start", "bad")
    result = call(
        *("worker", "--processors", "mod", "--drain", "--quiet"),
        *("--on-failed", "sh -c 'sleep 0.3; touch here; echo oh no >&2; exit 3'"),
    )
    assert result.code == 0
    assert (here / "here").exists()
    assert not (here / "wrong").exists()
    failed, complaint = result.err.splitlines()
    assert " failed " in failed
    assert " hook failed " in complaint
    assert complaint.endswith(" oh no")
    assert call("list").out.split("\t")[2] == "failed"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("on_failed = 1", "'on_failed' must be a command"),
        ("on_failed = ''", "'on_failed' is empty"),
        ("on_failed = {command = 'x', max_attempts = 1}", "'on_failed' has an unknown key 'max_attempts'"),
    ],
)
def test_bad_configuration(here: Path, content: str, said: str):
    """What cannot be understood is refused."""
    (here / "jobctl.toml").write_text(content)
    with pytest.raises(UsageError, match=said):
        read_configuration(None)


def test_missing_program(call: Callable[..., Result]):
    """A hook that cannot be run is an error before there is any failure."""
    result = call("worker", "--exec", "a=true", "--on-failed", "no-such-program", "--drain")
    assert (result.code, "--on-failed: there is no program 'no-such-program'" in result.err) == (2, True)


# --- many, slow and broken ones --------------------------------------------------------------------------------------


@pytest.fixture
def commands() -> Iterator[Commands]:
    made = Commands()
    yield made
    made.close()


@pytest.fixture
def failed(client: Client) -> Callable[[], Event]:
    """Makes a job that has failed, and what a worker tells of it."""

    def make() -> Event:
        chain = client.start("step").id
        (row,) = claim(client.store, "step")
        settle(client.store, Settlement(completed(row).held, Retry("no", None)))
        return Event(Told.JOB_FAILED, "w1", chain, chain, "step", 1, 0.1, "no")

    return make


def test_bounded(client: Client, commands: Commands, failed: Callable[[], Event], tmp_path: Path):
    """So many run at once and no more; the others wait for their turn, and none is forgotten."""
    told: list[Event] = []
    text = f"cd {tmp_path}; touch $JOBCTL_JOB_ID; until [ -e go ]; do sleep 0.02; done"
    events = [failed() for _ in range(MOST_AT_ONCE + 2)]
    with FailureHook(Command(("sh", "-c", text)), commands, client, {}, told.append) as heard:
        for each in events:
            heard(each)
            heard(each._replace(told=Told.JOB_RETRIED))
        eventually(lambda: len(list(tmp_path.glob("0*"))) == MOST_AT_ONCE)
        (tmp_path / "go").touch()
    assert {each.name for each in tmp_path.glob("0*")} == {each.job_id for each in events}
    assert told == []


def test_end_does_not_wait_for_ever(
    client: Client, commands: Commands, failed: Callable[[], Event], monkeypatch: pytest.MonkeyPatch
):
    """At the end hooks that take too long are ended, those that wait are not begun, and a line tells of each."""
    monkeypatch.setattr(hook, "CLOSE_SECONDS", 0.2)
    told: list[Event] = []
    events = [failed() for _ in range(MOST_AT_ONCE + 1)]
    with FailureHook(Command(("sleep", "600")), commands, client, {}, told.append) as heard:
        for each in events:
            heard(each)
    assert {each.told for each in told} == {Told.HOOK_FAILED}
    assert {each.job_id for each in told} == {each.job_id for each in events}
    reasons = sorted(str(each.detail) for each in told)
    assert reasons[0] == "'sleep' was ended, because its worker ends, with nothing on stderr"
    assert reasons[-1].startswith("not run: too many others")


def test_what_goes_wrong(client: Client, commands: Commands, failed: Callable[[], Event]):
    """A hook that runs too long, cannot be run, or whose job is gone is told of, and the next one is run."""
    told: list[Event] = []
    event = failed()

    def one(command: Command, event: Event = event) -> str:
        with FailureHook(command, commands, client, {}, told.append) as heard:
            heard(event)
        return str(told[-1].detail)

    assert one(Command(("sleep", "600"), timeout=0.1)).startswith("'sleep' ran longer than 0.1 s and was ended")
    assert one(Command(("/no/such",))).startswith("'such' could not be run: [Errno 2]")
    gone = failed()
    client.delete([str(gone.chain_id)])
    assert f"the chain {gone.chain_id} was deleted" in one(Command(("true",)), gone)
    assert len(told) == 3
