"""What is sensitive is in no output and no log, unless it is revealed, and that is kept."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support import Result

from jobctl import Client
from jobctl.errors import JobctlError

SECRET = "4111-1111-1111"
GIVEN = json.dumps({"card": SECRET, "n": 1, "auth": {"token": "tok-en-12"}})

MODULE = f"""
from jobctl import Defaults, Job, continue_with, processor

defaults = Defaults(sensitive=("auth.token",))

@processor("charge", sensitive=("card",), max_attempts=1)
def charge(job: Job):
    raise ValueError(f"declined: {{job.input['card']}} with {{job.input['auth']}}")

@processor("pass-on", sensitive=("card",))
def pass_on(job: Job):
    return continue_with("receipt", job.input)

@processor("receipt", sensitive=("number",))
def receipt(job: Job):
    return {{"number": "{SECRET}", "card": job.input["card"], "ok": True}}
"""


@pytest.fixture
def configured(here: Path, database_url: str) -> None:
    """A configuration whose processors say what is sensitive."""
    (here / "payments.py").write_text(MODULE)
    (here / "jobctl.toml").write_text(f"database = {json.dumps(database_url)}\nprocessors = ['./payments.py']\n")


@pytest.fixture
def on(call: Callable[..., Result], database_url: str) -> Callable[..., Result]:
    return lambda *args: call(*args, "--database", database_url)


@pytest.mark.usefixtures("configured")
def test_masked_everywhere(on: Callable[..., Result], client: Client):
    """Whatever a command prints of a chain, what its processor calls sensitive is starred out, and so is the log."""
    started = on("start", "charge", "--input", GIVEN, "--json")
    assert started.json["input"] == {"card": "***", "n": 1, "auth": {"token": "***"}}
    chain = started.json["id"]
    passed = on("start", "pass-on", "--input", GIVEN).out.strip()
    logs = [on("worker", "--drain", "--log-format", each).err for each in ("human", "json")]
    assert "declined: *** with {'token': '***'}" in logs[0]
    printed = [
        *logs,
        *(on("show", each, *more).out for each in (chain, passed) for more in ([], ["--json"], ["--field", "input"])),
        *(on(each, *more).out for each in ("list", "jobs") for more in ([], ["--json"], ["--jsonl"])),
        on("wait", chain).err,
        on("wait", passed).out,
        on("wait", chain, passed).out,
        on("wait", chain, passed, "--json").out,
    ]
    for text in printed:
        assert text
        assert SECRET not in text
        assert "tok-en-12" not in text
    assert on("wait", passed).json == {"number": "***", "card": "***", "ok": True}
    assert SECRET not in client.get(chain).last_error
    assert client.get(chain).input == json.loads(GIVEN)


@pytest.mark.usefixtures("configured")
def test_values_stay_whole(on: Callable[..., Result], client: Client):
    """What is hidden is hidden from readers alone: a job that takes over an input gets all of it."""
    chain = on("start", "pass-on", "--input", GIVEN).out.strip()
    result = on("complete", chain, "--continue", "receipt", "--json")
    assert result.json["input"]["card"] == "***"
    assert client.show(chain).jobs[1].input == json.loads(GIVEN)


def test_configuration_says(on: Callable[..., Result], here: Path):
    """Paths in the configuration count for types whose processors are not known."""
    (here / "jobctl.toml").write_text('[sensitive]\ncharge = ["card"]\n')
    chain = on("start", "charge", "--input", GIVEN).out.strip()
    assert on("show", chain, "--json").json["chain"]["input"]["card"] == "***"
    (here / "jobctl.toml").write_text("")
    assert on("show", chain, "--json").json["chain"]["input"]["card"] == SECRET


def test_errors_of_before(on: Callable[..., Result], here: Path):
    """An error that was kept before anybody called its value sensitive does not show it either."""
    (here / "payments.py").write_text(MODULE.replace('sensitive=("card",), max', "max"))
    chain = on("start", "charge", "--input", GIVEN).out.strip()
    on("worker", "--processors", "./payments.py", "--drain")
    assert SECRET in on("show", chain).out
    (here / "jobctl.toml").write_text('[sensitive]\ncharge = ["card"]\n')
    for command in ("show", "wait", "list", "why", "top"):
        for more in ([], ["--json"]):
            result = on(command, *([] if command in {"list", "top"} else [chain]), *more)
            assert "declined" in result.out + result.err
            assert SECRET not in result.out + result.err


@pytest.mark.usefixtures("configured")
def test_processors_that_cannot_be_loaded(on: Callable[..., Result], here: Path):
    """Where nobody can say what is sensitive, no input and no output is shown, and it is said why."""
    chain = on("start", "charge", "--input", GIVEN).out.strip()
    (here / "payments.py").unlink()
    result = on("show", chain, "--json")
    assert result.json["chain"]["input"] == "***"
    assert "what is sensitive in them is not known" in result.err
    assert on("list", "--ids").err == on("list").err == ""


@pytest.mark.usefixtures("configured")
def test_reveal_leaves_a_trace(on: Callable[..., Result], client: Client):
    """--reveal shows it, and the histories of those chains of which something was revealed have who, when and why."""
    chain = on("start", "charge", "--input", GIVEN).out.strip()
    plain = on("start", "charge", "--input", '{"n": 2}').out.strip()
    who = ("--reveal", "--actor", "ann", "--note", "dispute 7")
    assert on("show", chain, "--json", *who).json["chain"]["input"]["card"] == SECRET
    assert on("show", chain, "--field", "input.card", *who).out == f"{SECRET}\n"
    assert SECRET in on("show", chain, *who).out
    assert SECRET in on("list", "--json", *who).out
    assert SECRET in on("jobs", "--jsonl", *who).out
    assert on("list", *who).code == 2
    acts = client.show(chain).history
    assert [(each.action, each.actor, each.note) for each in acts] == [("reveal", "ann", "dispute 7")] * 5
    assert client.show(plain).history == ()
    assert on("show", chain).out.count(SECRET) == 0


@pytest.mark.usefixtures("configured")
def test_reveal_of_wait(on: Callable[..., Result], client: Client):
    """`wait --reveal` prints outputs whole; a closed chain keeps the trace, and who settled it stays who did."""
    chains = [on("start", "pass-on", "--input", GIVEN).out.strip() for _ in range(2)]
    for each in chains:
        on("complete", each, "--output", GIVEN, "--actor", "bob")
    assert on("wait", chains[0], "--reveal").json["card"] == SECRET
    lines = on("wait", *chains, "--reveal").lines
    assert [json.loads(each)["output"]["card"] for each in lines] == [SECRET, SECRET]
    assert [each.action for each in client.show(chains[0]).history] == ["complete", "reveal", "reveal"]
    assert "by hand, bob" in on("show", chains[0]).out


@pytest.mark.usefixtures("configured")
def test_reveal_of_a_start(on: Callable[..., Result], client: Client):
    """`start --wait --reveal` prints the output whole, and the chain keeps the trace; without --wait it is refused."""
    start = ("start", "pass-on", "--input", GIVEN, "--key", "k", "--key-scope", "any")
    chain = on(*start).out.strip()
    on("complete", chain, "--output", GIVEN)
    assert on(*start, "--wait").json["card"] == "***"
    assert on(*start, "--wait", "--reveal").json == json.loads(GIVEN)
    assert [each.action for each in client.show(chain).history] == ["complete", "reveal"]
    assert on(*start, "--reveal").code == 2


@pytest.mark.usefixtures("configured")
def test_reveal_of_what_it_waits_for(on: Callable[..., Result], client: Client):
    """The chains that one waits for are shown with it: their histories have it too that they are revealed."""
    blocker = on("start", "charge", "--input", GIVEN).out.strip()
    chain = client.start("collect", blocked_by=[blocker]).id
    assert SECRET in on("show", chain, "--json", "--reveal").out
    assert [each.action for each in client.show(blocker).history] == ["reveal"]


@pytest.mark.usefixtures("configured")
def test_reveal_of_what_is_pruned(on: Callable[..., Result], client: Client, here: Path):
    """A file of pruned chains has what is sensitive only with --reveal, and the histories of those chains keep that."""
    for options in ((), ("--reveal", "--actor", "ann", "--note", "moving house")):
        chains = [on("start", "pass-on", "--input", each).out.strip() for each in (GIVEN, '{"n": 2}')]
        for each in chains:
            on("complete", each, "--output", "1")
        on("prune", "--completed", "0s", "--export", f"{len(options)}.gz", *options)
        written = [
            json.loads(line) for line in gzip.decompress((here / f"{len(options)}.gz").read_bytes()).splitlines()
        ]
        shown = GIVEN if options else '{"card": "***", "n": 1, "auth": {"token": "***"}}'
        assert written[0]["chain"]["input"] == written[0]["jobs"][0]["input"] == json.loads(shown)
        acts = [[(act.action, act.actor, act.note) for act in client.history(each).items] for each in chains]
        assert [(each[0] == ("reveal", "ann", "moving house")) for each in acts] == [bool(options), False]
    refused = on("prune", "--completed", "0s", "--reveal")
    assert (refused.code, refused.err.splitlines()) == (
        2,
        ["jobctl: --reveal is about --export: give it too, or leave it out"],
    )


def test_trace_in_callers_transaction(client: Client):
    """A trace is written in the caller's transaction, and gone with it."""
    chain = client.start("charge").id
    with pytest.raises(JobctlError), client.store.transaction() as conn:
        client.reveal([chain], actor="ann", conn=conn)
        raise JobctlError
    assert client.show(chain).history == ()
