"""Ids: their layout, their order, and how they are read."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from jobctl.errors import UsageError
from jobctl.ids import fresh_ids, new_id, new_ids, require_id, unique_ids


def test_layout_is_that_of_version_7():
    """An id is a UUID of version 7 and the RFC's variant whose first 48 bits are the Unix time in milliseconds."""
    before = time.time_ns() // 1_000_000
    made = uuid.UUID(new_id())
    after = time.time_ns() // 1_000_000
    assert made.version == 7
    assert made.variant == uuid.RFC_4122
    # ids of one process grow, and those of the tests before may have pushed the time on by a little
    assert before <= made.int >> 80 <= after + 50


def test_text_is_the_usual_spelling():
    """An id is written in the 36 characters that uuid itself would write."""
    made = new_id()
    assert str(uuid.UUID(made)) == made


def test_ids_of_a_process_grow():
    """Each id sorts after the one before, as text and as a UUID."""
    made = [new_id() for _ in range(20_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_many_ids_at_once_differ_and_grow():
    """Ids that are drawn together are laid out as others, and sort between those drawn before and after."""
    before, made, fresh = new_id(), new_ids(1000), list(fresh_ids(1000))
    assert [len(list(fresh_ids(count))) for count in (0, 1, 64, 65)] == [0, 1, 64, 65]
    assert (len(made), len(fresh)) == (1000, 1000)
    ids = [before, *made, *fresh, new_id()]
    assert ids == sorted(set(ids))
    assert {(uuid.UUID(each).version, uuid.UUID(each).variant) for each in ids} == {(7, uuid.RFC_4122)}
    assert [str(uuid.UUID(each)) for each in ids] == ids
    assert {each[19] for each in ids} == set("89ab")


def test_ids_grow_when_the_clock_goes_back(monkeypatch):
    """An id sorts after the one before although the clock was set back between."""
    first = new_id()
    monkeypatch.setattr(time, "time_ns", lambda: 1)
    second, third = new_id(), new_id()
    assert first < second < third


def test_ids_of_threads_differ_and_grow():
    """Threads that ask at once get different ids, each thread growing ones, and no time is given twice."""
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: [new_id() for _ in range(2_000)], range(8)))
    everything = [each for some in made for each in some]
    assert len({each[:18] for each in everything}) == len(everything)
    assert all(some == sorted(some) for some in made)


@pytest.mark.parametrize(
    "text",
    [
        "01890A5D-AC96-774B-BCCE-B302099A8057",
        " 01890a5d-ac96-774b-bcce-b302099a8057\n",
        "{01890a5d-ac96-774b-bcce-b302099a8057}",
        "01890a5dac96774bbcceb302099a8057",
        "urn:uuid:01890a5d-ac96-774b-bcce-b302099a8057",
    ],
)
def test_id_has_one_spelling(text):
    """Whichever way a UUID is written, it is read as the one spelling that is stored."""
    assert require_id(text) == "01890a5d-ac96-774b-bcce-b302099a8057"


@pytest.mark.parametrize("text", ["", "nonsense", "123", "01890a5d-ac96-774b-bcce-b302099a805", "\x00" * 36])
def test_what_is_no_id_is_refused(text):
    """Anything else is an error of the call that quotes what was given."""
    with pytest.raises(UsageError, match="is not an id: ids are UUIDs") as refused:
        require_id(text)
    assert repr(text) in str(refused.value)


def test_unique_ids_keep_their_order():
    """A list of ids keeps its order and has each once, whichever way it was written."""
    one, two = new_id(), new_id()
    assert unique_ids([two, one, two.upper(), one]) == (two, one)
    assert unique_ids([]) == ()
