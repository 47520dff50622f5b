"""Lists of chains and jobs: filters, orders and pages."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from working import claim, completed, continued, run, settle, with_outcome

from jobctl import ListFilter, Status
from jobctl.errors import UsageError
from jobctl.ids import new_id
from jobctl.storage.records import NewJob, Retry


def started_together(store, count, type_name="a"):
    """Chains made by one statement, which have one time of creation."""
    ids = [new_id() for _ in range(count)]
    with store.transaction() as conn:
        store.start(conn, [NewJob(each, each, 0, type_name, type_name, "null") for each in ids])
    return ids


def pages(list_, **wanted):
    """All pages of a list, one after another."""
    cursor = None
    while True:
        page = list_(ListFilter(cursor=cursor, **wanted))
        yield [each.id for each in page.items]
        cursor = page.cursor
        if cursor is None:
            return


@pytest.fixture(params=["chains", "jobs"])
def list_(request, client):
    """Either list, where they do the same."""
    return client.list_chains if request.param == "chains" else client.list_jobs


def test_nothing(list_):
    """A list of nothing is one empty page."""
    page = list_()
    assert (page.items, page.cursor) == ((), None)


def test_items_are_what_get_returns(client, store):
    """A list's rows are the chains and jobs themselves, whole."""
    blocker = client.start("x")
    client.start("a", {"n": 1}, blocked_by=[blocker.id])
    run(store, client.start("y").id, '"out"')
    chains, jobs = client.list_chains().items, client.list_jobs().items
    assert [client.get(each.id) for each in chains] == list(chains)
    assert [client.get_job(each.id) for each in jobs] == list(jobs)
    assert len(chains) == len(jobs) == 3


@pytest.mark.parametrize("newest_first", [True, False], ids=["newest", "oldest"])
@pytest.mark.parametrize("limit", [1, 3, 7, 25])
def test_pages_have_everything_once(client, store, list_, newest_first, limit):
    """Whatever the size of the pages, they have every row once, in order, also of rows made at one instant."""
    ids = started_together(store, 9)
    ids += [client.start("a").id for _ in range(3)]
    ids += started_together(store, 9)
    found = list(pages(list_, newest_first=newest_first, limit=limit))
    assert [each for page in found for each in page] == (ids[::-1] if newest_first else ids)
    assert all(len(page) == limit for page in found[:-1])
    assert 0 < len(found[-1]) <= limit


def test_full_last_page_has_no_cursor(store, list_):
    """A page that ends with the last row says that nothing follows."""
    started_together(store, 4)
    assert list_(ListFilter(limit=4)).cursor is None
    assert list_(ListFilter(limit=3)).cursor is not None


def test_pages_are_stable_while_rows_are_added(store, list_):
    """Rows that are added while somebody reads on neither repeat nor hide any row."""
    ids = started_together(store, 10)
    newest = list_(ListFilter(limit=4))
    oldest = list_(ListFilter(limit=4, newest_first=False))
    added = started_together(store, 5)
    rest = list(pages(list_, limit=100))[0][5 + 4 :]
    assert [each.id for each in list_(ListFilter(limit=100, cursor=newest.cursor)).items] == rest == ids[5::-1]
    more = list_(ListFilter(limit=100, cursor=oldest.cursor, newest_first=False)).items
    assert [each.id for each in more] == ids[4:] + added


def test_chains_are_listed_by_their_start(client, store):
    """A chain keeps its place whatever it hands over to, and is listed once, as it is now."""
    first, second = client.start("a"), client.start("a")
    (row, _) = claim(store, "a")
    settle(store, continued(row, "b"))
    listed = client.list_chains().items
    assert [each.id for each in listed] == [second.id, first.id]
    assert (listed[1].job_type, listed[1].length, listed[1].type_name) == ("b", 2, "a")
    assert len(client.list_jobs().items) == 3


def test_type(client, store):
    """The type is the chain's in a list of chains, and the job's in a list of jobs."""
    client.start("a")
    (row,) = claim(store, "a")
    settle(store, continued(row, "b"))
    client.start("c")
    assert [each.type_name for each in client.list_chains(ListFilter(type_name="a")).items] == ["a"]
    assert client.list_chains(ListFilter(type_name="b")).items == ()
    assert [each.chain_index for each in client.list_jobs(ListFilter(type_name="b")).items] == [1]
    assert client.list_jobs(ListFilter(type_name="unknown")).items == ()


@pytest.fixture
def one_of_each(client, store):
    """A chain in every status that can be had, by status."""
    found = {}
    for name in ("completed", "failed", "continuing", "running", "ready", "scheduled"):
        found[name] = client.start(name, after="1h" if name == "scheduled" else None).id
    rows = {row.type_name: row for row in claim(store, "completed", "failed", "continuing", "running")}
    settle(
        store,
        completed(rows["completed"]),
        with_outcome(rows["failed"], Retry("boom", None)),
        continued(rows["continuing"], "next"),
    )
    found["blocked"] = client.start("blocked", blocked_by=[found["ready"]]).id
    return found


@pytest.mark.parametrize("status", ["completed", "failed", "running", "scheduled", "blocked"])
def test_status(client, one_of_each, status):
    """A list by status has what has the status now, in the words that are shown."""
    wanted = ListFilter(statuses=[Status(status)])
    assert [each.id for each in client.list_chains(wanted).items] == [one_of_each[status]]
    assert [each.id for each in client.list_jobs(wanted).items] == [one_of_each[status]]
    assert {each.status.value for each in client.list_jobs(wanted).items} == {status}


def test_status_of_chains_is_that_of_their_last_jobs(client, one_of_each):
    """Of chains, what counts is the last job: one that continued is ready when its successor is."""
    ready = client.list_chains(ListFilter(statuses=[Status.READY])).items
    assert {each.id for each in ready} == {one_of_each["ready"], one_of_each["continuing"]}
    assert client.list_chains(ListFilter(statuses=[Status.CONTINUED])).items == ()
    continued_jobs = client.list_jobs(ListFilter(statuses=[Status.CONTINUED])).items
    assert [each.id for each in continued_jobs] == [one_of_each["continuing"]]


def test_statuses(client, one_of_each):
    """Several statuses are any of them, and none is no restriction."""
    wanted = ListFilter(statuses=(Status.FAILED, Status.SCHEDULED, Status.COMPLETED))
    found = [each.status.value for each in client.list_chains(wanted).items]
    assert found == ["scheduled", "failed", "completed"]
    assert len(client.list_chains(ListFilter(statuses=())).items) == len(one_of_each)
    assert client.list_chains(ListFilter(statuses=[Status.CANCELLED])).items == ()


def test_since_and_until(client, list_):
    """Since includes its instant and until does not: two windows that meet share nothing and miss nothing."""
    made = []
    for _ in range(3):
        made.append(client.start("a"))
        time.sleep(0.003)  # the times of one clock must differ for this test
    middle = made[1].created_at
    assert [each.id for each in list_(ListFilter(since=middle)).items] == [made[2].id, made[1].id]
    assert [each.id for each in list_(ListFilter(until=middle)).items] == [made[0].id]
    assert list_(ListFilter(since=middle, until=middle)).items == ()
    window = ListFilter(since=middle, until=middle + timedelta(milliseconds=1))
    assert [each.id for each in list_(window).items] == [made[1].id]
    assert list_(ListFilter(until=datetime(1999, 1, 1, tzinfo=UTC))).items == ()


def test_chain(client, store):
    """A list can be restricted to one chain, however its id is written."""
    chain, other = client.start("a"), client.start("a")
    with client.settle(chain.id) as current:
        second = current.continue_with("b")
    wanted = ListFilter(chain_id=chain.id.upper())
    assert [each.id for each in client.list_jobs(wanted).items] == [second.id, chain.id]
    assert [each.id for each in client.list_chains(wanted).items] == [chain.id]
    assert client.list_jobs(ListFilter(chain_id=other.id)).items[0].id == other.id
    assert client.list_jobs(ListFilter(chain_id=new_id())).items == ()
    with pytest.raises(UsageError, match="is not an id"):
        client.list_jobs(ListFilter(chain_id="nonsense"))


def test_filters_restrict_together(client, store, list_):
    """Filters hold together, and pages of them too."""
    ids = started_together(store, 6, "a")
    started_together(store, 6, "b")
    client.start("a", after="1h")
    found = list(pages(list_, type_name="a", statuses=[Status.READY], limit=4))
    assert found == [ids[:1:-1], ids[1::-1]]


@pytest.mark.parametrize(
    "cursor",
    [
        "nonsense",
        "",
        "!!!",
        "é",
        base64.urlsafe_b64encode(b"{}").decode(),
        base64.urlsafe_b64encode(b"[1, 2, 3]").decode(),
        base64.urlsafe_b64encode(b'["new", "yesterday", "x"]').decode(),
        base64.urlsafe_b64encode(b'["new", "2030-01-01T00:00:00+00:00", "not an id"]').decode(),
        base64.urlsafe_b64encode(b'["new", "2030-01-01T00:00:00", "01890a5d-ac96-774b-bcce-b302099a8057"]').decode(),
        base64.urlsafe_b64encode(b"[" * 100_000).decode(),
    ],
)
def test_bad_cursor(list_, cursor):
    """A cursor that no list gave is refused in words."""
    with pytest.raises(UsageError, match="the cursor is not one that a list gave: leave it out"):
        list_(ListFilter(cursor=cursor))


def test_cursor_of_the_other_order(store, list_):
    """A cursor of the other order is refused, as it would repeat what was read."""
    started_together(store, 3)
    cursor = list_(ListFilter(limit=1)).cursor
    with pytest.raises(UsageError, match="belongs to a list in the other order"):
        list_(ListFilter(cursor=cursor, newest_first=False))


def test_cursor_is_plain_text(store, list_):
    """A cursor can be put on a command line or into a URL as it is."""
    started_together(store, 2)
    cursor = list_(ListFilter(limit=1)).cursor
    assert cursor
    assert cursor.replace("-", "").replace("_", "").isalnum()
    assert isinstance(json.loads(base64.urlsafe_b64decode(cursor + "==")), list)
