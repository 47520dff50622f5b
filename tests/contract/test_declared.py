"""What processors declare to follow them and to wait for."""

from __future__ import annotations

import pytest
from working import run

from jobctl import Client, Continuation, Job, Status, Takes, WorkerOptions, continue_with, processor
from jobctl.errors import InvalidDataError, ProcessorError
from jobctl.registry import Registry, load_modules
from jobctl.worker import Worker

MODULE = """
from jobctl import processor

@processor("fetch")
def fetch(job): ...

@processor("inner", entry=False)
def inner(job): ...

@processor("report", {declared})
def report(job): ...
"""


@pytest.mark.parametrize(
    ("declared", "about"),
    [
        ("continues=['sned']", r"'report' \(.*\) continues with 'sned', but there is no such processor"),
        ("blockers=['fecth']", r"'report' \(.*\) waits for 'fecth', but there is no such processor"),
        ("blockers=['inner']", "waits for 'inner', but a chain cannot start with that"),
    ],
)
def test_refused_when_loaded(tmp_path, declared, about):
    """A type that nothing handles, or that no chain can start with, is refused with who declares it."""
    (tmp_path / "declaring.py").write_text(MODULE.format(declared=declared))
    with pytest.raises(ProcessorError, match=about):
        load_modules([str(tmp_path / "declaring.py")])


def test_other_modules_count(tmp_path):
    """What is declared may be in another module that is loaded too."""
    (tmp_path / "one.py").write_text(
        MODULE.format(declared="continues=['send', 'inner', 'report'], blockers=['fetch']")
    )
    (tmp_path / "two.py").write_text("from jobctl import processor\n@processor('send')\ndef send(job): ...\n")
    found = load_modules([str(tmp_path / "one.py"), str(tmp_path / "two.py")])
    assert sorted(found) == ["fetch", "inner", "report", "send"]


@processor("fetch")
def fetch(job):
    return job.input


@processor("report", blockers=[fetch])
def report(job):
    return [each.output for each in job.blockers]


def test_blockers_when_started_and_continued(store):
    """Chains of other types are refused as blockers when a chain starts or continues, and nothing is changed."""
    client = Client(store, processors=Registry([fetch, report, processor("other")(lambda job: job.input)]))
    good, bad = client.start("fetch"), client.start("other")
    with pytest.raises(InvalidDataError, match="'report' waits for 'fetch', not for 'other'"):
        client.start("report", blocked_by=[good.id, bad.id])
    with client.settle(bad.id) as current, pytest.raises(InvalidDataError, match="not for 'other'"):
        current.continue_with("report", blocked_by=[client.start("other", conn=current._conn).id])
    assert client.get(bad.id).length == 1
    assert client.start("report", blocked_by=[good.id]).status is Status.BLOCKED


def test_blockers_when_handled(client, store):
    """A job whose blockers are of other types, started where nobody knew, fails before its handler runs."""
    bad, good = client.start("other"), client.start("fetch", 7)
    wrong = client.start("report", blocked_by=[bad.id])
    right = client.start("report", blocked_by=[good.id])
    run(store, bad.id)
    Worker(store, Registry([fetch, report]), WorkerOptions(drain=True)).run()
    assert "'report' waits for 'fetch', not for 'other'" in client.get(wrong.id).last_error
    assert client.get(right.id).output == [7]


STRUCTURAL = """
from dataclasses import dataclass
from jobctl import Job, Takes, processor

@dataclass
class Order:
    number: int

@dataclass
class Other:
    number: int

@processor("begin", {declared})
def begin(job: Job[Order]): ...

@processor("post")
def post(job: Job[Order]): ...

@processor("inner", entry=False)
def inner(job: Job[Other]): ...
"""


@pytest.mark.parametrize(
    ("declared", "about"),
    [
        (
            "continues=[Takes(dict[str, int])]",
            "'begin' .* continues with whatever takes dict.*, but there is no such processor",
        ),
        ("blockers=[Takes(int)]", "'begin' .* waits for whatever takes int, but there is no such processor"),
        ("blockers=[Takes(Other)]", "waits for whatever takes Other, but a chain cannot start with that"),
    ],
)
def test_structural_refused_when_loaded(tmp_path, declared, about):
    """An input that no loaded processor takes, or only such that no chain starts with, is refused."""
    (tmp_path / "structural.py").write_text(STRUCTURAL.format(declared=declared))
    with pytest.raises(ProcessorError, match=about):
        load_modules([str(tmp_path / "structural.py")])


def test_structural_continuation(tmp_path, store):
    """Instead of names an input may be declared: what takes it may follow, anything else not, by whomever settled."""
    (tmp_path / "structural.py").write_text(STRUCTURAL.format(declared="continues=[Takes(Order), 'begin']"))
    client = Client(store, processors=load_modules([str(tmp_path / "structural.py")]))
    chain = client.start("begin", {"number": 1})
    with (
        client.settle(chain.id) as current,
        pytest.raises(InvalidDataError, match="'begin' continues with whatever takes Order, 'begin', not with 'inner'"),
    ):
        current.continue_with("inner", {"number": 1})
    with client.settle(chain.id) as current:
        current.continue_with("begin", {"number": 2})
        current.continue_with("post", {"number": 3})
    assert client.get(chain.id).length == 3


def test_structural_handled(store):
    """A handler that continues with what takes another input fails, and so does one with another's chain as blocker."""
    answers = {"good": "takes-text", "bad": "takes-number"}

    @processor("takes-text")
    def takes_text(job: Job[str]) -> str:
        return job.input

    @processor("takes-number")
    def takes_number(job: Job[int]) -> int:
        return job.input

    @processor("choose", continues=[Takes(str)], blockers=[Takes(str)])
    def choose(job: Job[str]) -> Continuation:
        return continue_with(answers[job.input], "text")

    worker = Worker(store, Registry([takes_text, takes_number, choose]), WorkerOptions(drain=True))
    client = Client(store)  # it has no processors to ask
    text, number = client.start("takes-text", "t"), client.start("takes-number", 1)
    good = client.start("choose", "good", blocked_by=[text.id])
    wrong = client.start("choose", "bad", blocked_by=[text.id])
    waiting = client.start("choose", "good", blocked_by=[number.id])
    worker.run()
    assert client.get(good.id).output == "text"
    assert "'choose' continues with whatever takes str, not with 'takes-number'" in client.get(wrong.id).last_error
    assert "'choose' waits for whatever takes str, not for 'takes-number'" in client.get(waiting.id).last_error
