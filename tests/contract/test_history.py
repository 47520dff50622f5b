"""Who did what by hand."""

from __future__ import annotations

import socket

import pytest
from working import claim, settle, with_outcome

from jobctl import Client
from jobctl.acts import default_actor
from jobctl.errors import NotFoundError, UsageError
from jobctl.ids import new_id
from jobctl.storage.records import Retry


def every_act(client, **hand):
    """Do each act by hand there is; the chains it was done to."""
    chain = client.start("a", {"secret": 1}, after="1h")
    failed = client.start("f")
    settle(client.store, with_outcome(claim(client.store, "f")[0], Retry("no", None)))
    client.trigger([chain.id], **hand)
    client.reschedule([chain.id], after="2h", **hand)
    client.retry([failed.id], **hand)
    client.pause([chain.id], **hand)
    client.resume([chain.id], **hand)
    with client.settle(chain.id, **hand) as current:
        current.continue_with("b", {"secret": 2})
    with client.settle(chain.id, **hand) as current:
        current.complete({"secret": 3})
    client.cancel([failed.id], **hand)
    new = client.restart(chain.id, **hand)
    client.pause(types=["a"], **hand)
    client.resume(types=["a"], **hand)
    client.delete([chain.id], **hand)
    return chain.id, failed.id, new.id


ACTIONS = ["trigger", "reschedule", "pause", "resume", "continue", "complete", "restart", "delete"]


def test_every_act_is_kept(client):
    """Every act by hand leaves who, when, from where, why and what changed, and none leaves a payload."""
    every_act(client, actor="ann", note="why not")
    acts = client.history(newest_first=False).items
    assert [each.action for each in acts] == [
        *("trigger", "reschedule", "retry", "pause", "resume", "continue", "complete", "cancel"),
        *("restart", "restart", "pause", "resume", "delete"),
    ]
    assert {(each.actor, each.note, each.origin) for each in acts} == {("ann", "why not", socket.gethostname())}
    assert [each.at for each in acts] == sorted(each.at for each in acts)
    for each in acts:
        assert "type" in each.details
        assert {"before", "after"} <= each.details.keys() or each.action == "restart"
        assert "secret" not in str(each.details)


def test_of_a_chain(client):
    """The history of a chain has what was done to it, by any of its jobs' ids, newest or oldest first."""
    chain = client.start("a")
    with client.settle(chain.id) as current:
        later = current.continue_with("b", after="1h")
    client.trigger([chain.id])
    client.cancel([client.start("a").id])
    assert [each.action for each in client.history(chain.id).items] == ["trigger", "continue"]
    assert client.history(later.id, newest_first=False).items == client.show(chain.id).history


def test_of_a_deleted_chain(client):
    """The history of a deleted chain is there still."""
    chain, *_ = every_act(client)
    acts = client.history(chain, newest_first=False).items
    assert [each.action for each in acts] == ACTIONS
    assert acts[-1].actor == default_actor()
    assert acts[-1].details == {"type": "a", "before": {"status": "completed"}, "after": None}


def test_show_of_a_deleted_chain(client):
    """Whoever wants to see a deleted chain is told that it was, and by whom."""
    chain = client.start("a")
    client.delete([chain.id], actor="ann")
    with pytest.raises(NotFoundError, match=f"the chain {chain.id} was deleted by ann: its history is kept"):
        client.show(chain.id)


def test_of_a_missing_chain(client):
    """A chain that never was is not found; one that nobody touched has an empty history."""
    chain = client.start("a")
    assert client.history(chain.id).items == ()
    with pytest.raises(NotFoundError, match="nothing is known of one"):
        client.history(new_id())


@pytest.mark.parametrize("newest_first", [True, False])
def test_pages(client, newest_first):
    """Pages follow each other without a gap, also while acts are added."""
    chain = client.start("a")
    for number in range(7):
        client.reschedule([chain.id], priority=number)
    everything = client.history(newest_first=newest_first).items
    page = client.history(newest_first=newest_first, limit=3)
    if newest_first:
        client.trigger([chain.id])
    found = list(page.items)
    while page.cursor is not None:
        page = client.history(chain.id, newest_first=newest_first, limit=3, cursor=page.cursor)
        found += page.items
    assert tuple(found) == everything


def test_wrong_pages(client):
    """A limit out of range, a cursor of another list or of the other order is refused."""
    chain = client.start("a", after="1h")
    for _ in range(3):
        client.trigger([chain.id])
    cursor = client.history(limit=1).cursor
    for arguments in ({"limit": 0}, {"limit": 1001}, {"cursor": "?"}, {"cursor": cursor, "newest_first": False}):
        with pytest.raises(UsageError):
            client.history(**arguments)


# --- notes that are required -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("note", [None, "", "  "])
def test_required_note(client, store, note):
    """Where a note is required, no act by hand is done without one, and nothing is changed."""
    chain = client.start("a", after="1h")
    strict = Client(store, require_note=True)

    def settle_it():
        with strict.settle(chain.id, note=note) as current:
            current.complete()

    for call in (
        settle_it,
        lambda: strict.trigger([chain.id], note=note),
        lambda: strict.reschedule([chain.id], after="2h", note=note),
        lambda: strict.retry([chain.id], note=note),
        lambda: strict.cancel([chain.id], note=note),
        lambda: strict.restart(chain.id, note=note),
        lambda: strict.pause([chain.id], note=note),
        lambda: strict.resume([chain.id], note=note),
        lambda: strict.delete([chain.id], note=note),
    ):
        with pytest.raises(UsageError, match="say why"):
            call()
    assert client.get(chain.id) == chain
    assert client.history().items == ()


def test_given_note(client, store):
    """With a note every act is done; the reason of a cancellation is a note."""
    strict = Client(store, require_note=True)
    every_act(strict, note="because")
    strict.cancel([strict.start("a").id], reason="withdrawn")
    assert {each.note for each in client.history().items} == {"because", "withdrawn"}
