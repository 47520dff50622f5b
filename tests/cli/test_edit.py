"""``trigger``, ``reschedule`` and ``delete`` on the command line."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support import Result

MISSING = "01a20b07-7164-7b4f-b861-8b723d4d825d"


@pytest.fixture
def later(call: Callable[..., Result]) -> str:
    """A chain that is due in an hour."""
    return call("start", "a", "--after", "1h").out.strip()


def test_trigger(call: Callable[..., Result], later: str):
    """The job's id is printed, what was done is told, and the job is ready."""
    result = call("trigger", later, "--note", "now")
    assert (result.code, result.out, result.err) == (0, f"{later}\n", f"triggered a {later}\n")
    shown = call("show", later, "--json").json
    assert shown["chain"]["status"] == "ready"
    assert (shown["history"][0]["action"], shown["history"][0]["note"]) == ("trigger", "now")
    document = call("trigger", later, "--json").json
    assert [each["id"] for each in document["items"]] == [later]


def test_reschedule(call: Callable[..., Result], later: str):
    """A job moves to another time and priority."""
    result = call("reschedule", later, "--at", "2099-01-31T17:00:00Z", "--priority", "5")
    assert (result.code, result.out) == (0, f"{later}\n")
    assert result.err == f"moved a {later}: due 2099-01-31T17:00:00Z, priority 5\n"
    (job,) = call("reschedule", later, "--after", "0s", "--json").json["items"]
    assert (job["status"], job["priority"]) == ("ready", 5)


@pytest.mark.parametrize("command", [["trigger"], ["reschedule", "--after", "1s"]])
def test_refused_moves(call: Callable[..., Result], later: str, command: list[str]):
    """A missing job is exit code 3, one that is closed 4; nothing is printed on stdout, and nothing is moved."""
    closed = call("start", "a").out.strip()
    call("complete", closed)
    for id_, code in ((MISSING, 3), (closed, 4), ("nonsense", 2)):
        result = call(*command, later, id_)
        assert (result.code, result.out, len(result.err.splitlines())) == (code, "", 1)
    assert call("show", later, "--json").json["chain"]["status"] == "scheduled"


def test_reschedule_to_nothing(call: Callable[..., Result], later: str):
    """A reschedule says to what."""
    result = call("reschedule", later)
    assert (result.code, result.err) == (2, "jobctl: say to what: give --after, --at or --priority\n")


def test_delete(call: Callable[..., Result], later: str):
    """The ids of what was deleted are printed; missing ones are passed over among several, exit code 3 alone."""
    result = call("delete", MISSING, later)
    assert (result.code, result.out, result.err) == (0, f"{later}\n", "deleted 1 chain\n")
    again = call("delete", later)
    assert (again.code, again.out) == (3, "")


def test_delete_what_is_awaited(call: Callable[..., Result], later: str):
    """A chain that another waits for is exit code 4 with who waits; --cascade takes what a chain waits for along."""
    waiting = call("start", "b", "--blocked-by", later).out.strip()
    refused = call("delete", later)
    assert (refused.code, refused.out) == (4, "")
    assert waiting in refused.err
    both = call("delete", waiting, "--cascade", "--json")
    assert both.json["deleted"] == [waiting, later]
