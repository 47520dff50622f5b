"""Types whose handler is a command: what its end means for the job, and what ends it."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import InThread, eventually
from worker.workshop import Workshop

from jobctl import Backoff, Status, Worker, WorkerOptions, warden
from jobctl.cli.documents import job_document
from jobctl.events import Event, Told
from jobctl.executing import command_processor
from jobctl.processes import Command, Commands
from jobctl.processors import AnyProcessor
from jobctl.registry import Registry

Handled = Callable[..., AnyProcessor]


@pytest.fixture
def commands(shop: Workshop) -> Iterator[Commands]:
    made = Commands()
    yield made
    made.close()


@pytest.fixture
def sh(commands: Commands, database_url: str, tmp_path: Path) -> Handled:
    """Makes a shell's text the handler of the type ``step``; in it, ``jobctl`` is ours, and works on this database."""
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    (scripts / "jobctl").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m jobctl "$@"\n')
    (scripts / "jobctl").chmod(0o755)
    environment = {
        "JOBCTL_DATABASE": database_url,
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "HERE": str(tmp_path),
    }

    def make(text: str, *, name: str = "step", max_attempts: int | None = None, **limits) -> AnyProcessor:
        return command_processor(
            name,
            Command(("/bin/sh", "-c", text), **limits),
            commands,
            job_document,
            environment=environment,
            max_attempts=max_attempts,
            where="here",
        )

    return make


def test_document_and_environment(shop: Workshop, sh: Handled):
    """The job's document is on stdin, with its input; the environment has its ids, type and attempt."""
    chain = shop.start(input={"text": 'é"\n'})
    names = [f"JOBCTL_{each}" for each in ("JOB_ID", "CHAIN_ID", "TYPE", "ATTEMPT")]
    env = ", ".join(f'"{each}": "%s"' for each in names)
    values = " ".join(f"${each}" for each in names)
    shop.run(sh(f"""printf '{{"job": '; cat; printf ', {env}}}' {values}"""), name="w7")
    output = shop.client.get(chain).output
    assert [output[each] for each in names] == [chain, chain, "step", "1"]
    job = output["job"]
    assert job["input"] == {"text": 'é"\n'}
    assert (job["id"], job["status"], job["attempt"], job["worker"]) == (chain, "running", 1, "w7")
    assert job.keys() == job_document(shop.client.get_job(chain)).keys()


OUTPUTS = {"true": None, "echo": None, "echo '[1, \"ä\"]'": [1, "ä"]}


def test_output(shop: Workshop, sh: Handled):
    """Exit code 0 completes with the JSON of stdout, or null when there is none."""
    handled = [sh(text, name=f"t{number}") for number, text in enumerate(OUTPUTS)]
    chains = [shop.start(each.name) for each in handled]
    events = shop.run(*handled)
    found = [shop.client.get(each) for each in chains]
    assert [(each.status, each.output) for each in found] == [(Status.COMPLETED, each) for each in OUTPUTS.values()]
    assert {each.job_id for each in events if each.told is Told.JOB_COMPLETED} == set(chains)


ERRORS = {
    "echo one >&2; echo two >&2; exit 3": "'{}' ended with exit code 3:\none\ntwo",
    "exit 1": "'{}' ended with exit code 1, with nothing on stderr",
    "kill -9 $$": "'{}' was ended by SIGKILL, with nothing on stderr",
    "echo hi": "what '{}' wrote to stdout is not JSON: Expecting value (line 1, column 1): 'hi'; "
    "write JSON, or nothing, and all else to stderr",
    "printf '\\377'": "what '{}' wrote to stdout is not JSON: it is not UTF-8 text",
    "echo working >&2; yes": "'{}' wrote more than 1000 bytes to stdout and was ended: "
    "allow more with --exec-max-output or 'max_output', or write elsewhere:\nworking",
}


def test_failing(shop: Workshop, sh: Handled):
    """Anything else is a failed attempt, whose error is the end of stderr and why, without a traceback."""
    handled = [sh(text, name=f"t{number}", max_output=1000) for number, text in enumerate(ERRORS)]
    chains = {text: shop.start(each.name) for text, each in zip(ERRORS, handled, strict=True)}
    shop.run(*handled, backoff=Backoff(initial=60))
    for text, chain in chains.items():
        assert shop.errors(chain) == [(1, "w1", ERRORS[text].format(text))]
        assert shop.client.get_job(chain).status is Status.SCHEDULED
        assert 40 < shop.delay(chain) <= 60


def test_timeout(shop: Workshop, sh: Handled):
    """A command that runs too long is ended, and its attempt has failed."""
    chain = shop.start()
    shop.run(sh("echo slow >&2; sleep 600", timeout=0.3))
    ((_, _, error),) = shop.errors(chain)
    assert error == "'echo slow >&2; sleep 600' ran longer than 0.3 s and was ended:\nslow"


def test_no_program(shop: Workshop, commands: Commands):
    """A program that is gone when the job comes is a failed attempt, not the end of the worker."""
    chain = shop.start()
    shop.run(command_processor("step", Command(("/no/such",)), commands, job_document, where="here"))
    assert shop.errors(chain) == [(1, "w1", "'such' cannot be run: No such file or directory")]


def test_used_up(shop: Workshop, sh: Handled):
    """The last attempt that fails ends in failed."""
    chain = shop.start()
    events = shop.run(sh("exit 2", max_attempts=1))
    assert shop.client.get(chain).status is Status.FAILED
    assert Told.JOB_FAILED in [each.told for each in events]


def test_asking_for_another_attempt(shop: Workshop, sh: Handled):
    """Exit code 75 asks for another attempt after the backoff, each longer than the one before."""
    chain = shop.start()
    handled = sh("echo busy >&2; exit 75")
    for delay in (10, 20):
        shop.run(handled)
        assert shop.client.get(chain).status is Status.SCHEDULED
        assert delay - 5 < shop.delay(chain) <= delay
        shop.make_due(chain)
    assert shop.errors(chain)[1] == (
        2,
        "w1",
        f"'{'echo busy >&2; exit 75'}' asked for another attempt (exit code 75):\nbusy",
    )


def test_asking_never_uses_attempts_up(shop: Workshop, sh: Handled, tmp_path: Path):
    """Asked for as the last attempt, another one is given: asking never ends in failed, failing still does."""
    chain = shop.start()
    handled = sh("exit $(cat $HERE/code)", max_attempts=2)
    for delay in (10, 20, 20):
        (tmp_path / "code").write_text("75")
        shop.run(handled)
        assert shop.client.get(chain).status is Status.SCHEDULED
        assert delay - 5 < shop.delay(chain) <= delay
        shop.make_due(chain)
    (tmp_path / "code").write_text("1")
    shop.run(handled)
    assert shop.client.get(chain).status is Status.FAILED


# --- settled by the command itself -----------------------------------------------------------------------------------

SETTLING = {
    "complete $JOBCTL_JOB_ID --output 7 >&2; exit 0": (Status.COMPLETED, 7),
    "complete $JOBCTL_JOB_ID --continue next --input 8 >&2; echo no JSON; exit 3": (Status.READY, None),
    "complete $JOBCTL_CHAIN_ID --output 9 >&2; exit 75": (Status.COMPLETED, 9),
    "complete $JOBCTL_JOB_ID >&2; yes": (Status.COMPLETED, None),
}


def test_settled_inside(shop: Workshop, sh: Handled):
    """What the command settles by jobctl is the result, whatever its end: no error is kept, and it is the worker's work."""
    handled = [sh(f"jobctl {text}", name=f"t{number}", max_output=1000) for number, text in enumerate(SETTLING)]
    chains = [shop.start(each.name) for each in handled]
    events = shop.run(*handled)
    for chain, (text, (status, output)) in zip(chains, SETTLING.items(), strict=True):
        found = shop.client.show(chain)
        assert (found.chain.status, found.chain.output, found.errors) == (status, output, ())
        assert [job.type_name for job in found.jobs][1:] == (["next"] if "next" in text else [])
        (act,) = found.history
        assert (act.details["worker"], act.details["attempt"]) == ("w1", 1)
        told = [(each.told, each.detail) for each in events if each.job_id == chain]
        assert [each for each in told if each[0] is not Told.JOB_STARTED] == [(Told.JOB_SETTLED, "by its command")]
    counted = [(each.ever, each.done[0].by_hand) for each in shop.client.stats().types if each.type_name != "next"]
    assert [(ever.completed, ever.continued, ever.durations.count) for ever, _ in counted] == [
        (int("--continue" not in text), int("--continue" in text), 1) for text in SETTLING
    ]
    assert [by_hand for _, by_hand in counted] == [{}] * len(SETTLING)


def test_goes_on_after_settling(shop: Workshop, sh: Handled, tmp_path: Path):
    """The worker learns that the job was settled while the command still runs, and lets it come to its end."""
    chain = shop.start()
    working = shop.work(
        sh("jobctl complete $JOBCTL_JOB_ID; until [ -e $HERE/go ]; do sleep 0.02; done; touch $HERE/ended")
    )
    eventually(lambda: shop.client.get(chain).status is Status.COMPLETED)
    (attempt,) = working.worker._pool.running.values()
    eventually(lambda: attempt.lost)
    eventually(lambda: attempt.settled_by_its_command)
    assert working.told(Told.JOB_SETTLED) == []
    (tmp_path / "go").touch()
    working.until(Told.JOB_SETTLED, chain)
    assert (tmp_path / "ended").exists()


def test_note_that_is_required(shop: Workshop, sh: Handled, tmp_path: Path):
    """Where acts by hand need a note, a command needs none to settle its own job, but one for any other."""
    (tmp_path / "jobctl.toml").write_text("require_note = true\n")
    other, chain = shop.start("other"), shop.start()
    shop.run(
        sh(
            "export JOBCTL_CONFIG=$HERE/jobctl.toml\n"
            f"jobctl complete {other}; [ $? = 2 ] && jobctl complete $JOBCTL_JOB_ID --output 1 >&2"
        )
    )
    assert (shop.client.get(other).status, shop.client.get(chain).output) == (Status.READY, 1)


def test_another_attempts_command(shop: Workshop, sh: Handled):
    """A command whose job was taken from its attempt can not settle it: that is a conflict, and nothing changes."""
    chain = shop.start()
    before = "01890000-0000-7000-8000-00000000dead"
    shop.run(sh(f"JOBCTL_LEASE={before} jobctl complete $JOBCTL_JOB_ID; exit $?"))
    ((_, _, error),) = shop.errors(chain)
    assert "ended with exit code 4" in error
    assert f"the job {chain} is not held by the attempt whose command this is any more" in error


# --- lost ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["completed", "cancelled", "deleted", "stolen"])
def test_lost(shop: Workshop, sh: Handled, tmp_path: Path, way: str):
    """When somebody else settles, cancels, deletes or takes the job, the command and all that it started is ended."""
    chain = shop.start()
    working = shop.work(sh("sleep 600 & echo $! > $HERE/pid; wait", max_attempts=1))
    file = tmp_path / "pid"
    child = int(eventually(lambda: file.exists() and file.read_text().endswith("\n") and file.read_text()))
    if way == "completed":
        with shop.client.settle(chain) as current:
            current.complete("by hand")
    else:
        {"cancelled": shop.cancel, "deleted": shop.delete, "stolen": shop.steal}[way](chain)
        working.worker._keeper.doubt()
    working.until(Told.JOB_LOST, chain)
    eventually(lambda: not Path(f"/proc/{child}").exists())
    assert shop.errors(chain) == []


def test_settled_by_a_person_is_lost(shop: Workshop, sh: Handled):
    """That a person settled the job is told as before, although the command has ended with 0 by then."""
    chain = shop.start()
    events = shop.run(sh(f"env -u JOBCTL_LEASE -u JOBCTL_JOB_ID jobctl complete {chain} --output 1 >&2; echo 2"))
    assert shop.client.get(chain).output == 1
    told = [(each.told, each.detail) for each in events if each.job_id == chain]
    assert told[-1] == (Told.JOB_LOST, "already_completed")


# --- the end of the worker -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["trap 'sleep 0.3; touch $HERE/ended; exit 1' TERM", "trap '' TERM"])
def test_worker_stops(
    shop: Workshop, sh: Handled, commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
):
    """After the shutdown timeout the command is ended, and only then the job given back, without an attempt."""
    monkeypatch.setattr(warden, "GRACE_SECONDS", 5.0 if "ended" in text else 0.3)
    file = tmp_path / "pid"
    there: list[bool] = []

    def tell(event: Event) -> None:
        if event.told is Told.JOB_RELEASED:
            there.append(Path(f"/proc/{leader}").exists())

    chain = shop.start()
    handled = sh(f"{text}; echo $$ > $HERE/pid; while :; do sleep 0.01; done")
    worker = Worker(shop.store, Registry([handled]), WorkerOptions(shutdown_timeout=0.1), tell, cut_off=commands.close)
    running = InThread(worker.run)
    leader = int(eventually(lambda: file.exists() and file.read_text().endswith("\n") and file.read_text()))
    worker.stop()
    running.result()
    assert there == [False]
    assert (tmp_path / "ended").exists() is ("ended" in text)
    job = shop.client.get_job(chain)
    assert (job.status, job.attempt, shop.errors(chain)) == (Status.READY, 0, [])
