"""What processors declare to follow them and to wait for."""

from __future__ import annotations

import pytest
from working import run

from jobctl import Client, Status, WorkerOptions, processor
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
        ("continues=['sned']", r"'report' \(.*\) continues with 'sned', which no processor handles"),
        ("blockers=['fecth']", r"'report' \(.*\) waits for 'fecth', which no processor handles"),
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
