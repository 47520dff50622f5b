"""Types that were renamed: a processor goes by its former names too."""

from __future__ import annotations

import pytest

from jobctl import Job, Takes, WorkerOptions, processor
from jobctl.errors import InvalidDataError, ProcessorError
from jobctl.registry import Registry


@processor("send-mail", aliases=("mail", "notify"))
def send_mail(job: Job[dict]) -> int: ...


@processor("order", continues=["send-mail"], blockers=["mail"])
def order(job: Job[int]) -> None: ...


REGISTRY = Registry([send_mail, order])


def test_every_name_leads_to_the_processor():
    """A registry has the processor under each of its names, and among its processors once."""
    assert dict(REGISTRY) == {"send-mail": send_mail, "mail": send_mail, "notify": send_mail, "order": order}
    assert REGISTRY.processors == [send_mail, order]


def test_inputs_and_outputs_are_checked():
    """What starts, continues or ends under a former name is checked by the processor, and refused with that name."""
    assert REGISTRY.encode_input("mail", {"a": 1}, starts_chain=True) == '{"a":1}'
    with pytest.raises(InvalidDataError, match="the input of 'notify' must be an object"):
        REGISTRY.encode_input("notify", 1, starts_chain=True)
    with pytest.raises(InvalidDataError, match="the output of 'mail'"):
        REGISTRY.encode_output("mail", "x")


def test_entry_holds_for_every_name():
    """A type that no chain may start with has no former name that one may start with."""
    inner = Registry([processor("inner", aliases=["inside"], entry=False)(lambda job: job.input)])
    with pytest.raises(InvalidDataError, match="a chain cannot start with 'inside'"):
        inner.encode_input("inside", None, starts_chain=True)


@pytest.mark.parametrize("name", ["send-mail", "mail", "notify"])
def test_what_is_declared_holds_for_every_name(name):
    """What may follow a job, and what it may wait for, is accepted by any name of the type, whichever was declared."""
    REGISTRY.check_declared()
    REGISTRY.check_continuation("order", name)
    REGISTRY.check_blockers("order", [name])
    taking = Registry([send_mail, processor("any", continues=[Takes(dict)])(lambda job: job.input)])
    taking.check_continuation("any", name)
    with pytest.raises(InvalidDataError, match="'order' continues with 'send-mail', not with 'order'"):
        REGISTRY.check_continuation("order", "order")


def test_declarations_hold_for_jobs_of_every_name():
    """A job under a former name is held to what its processor declares."""
    strict = Registry([send_mail, processor("new", aliases=["old"], continues=["mail"])(lambda job: job.input)])
    with pytest.raises(InvalidDataError, match="'old' continues with 'mail', not with 'new'"):
        strict.check_continuation("old", "new")


@pytest.mark.parametrize("other", [{"name": "mail"}, {"name": "letter", "aliases": ["mail"]}])
def test_one_name_has_one_processor(other):
    """Two processors of one name are refused with both, and with how they come by it."""
    second = processor(**other)(lambda job: job.input)
    for pair in ([send_mail, second], [second, send_mail]):
        with pytest.raises(ProcessorError) as refused:
            Registry(pair)
        said = str(refused.value)
        assert said.startswith("'mail' has two processors: ")
        assert send_mail.where in said
        assert second.where in said
        assert f"'send-mail' ({send_mail.where}), of which it is an alias" in said


@pytest.mark.parametrize(
    ("aliases", "said"),
    [
        (["a b"], "'a b' is not a type name"),
        (["new"], "'new': 'new' is named twice"),
        (["old", "old"], "'new': 'old' is named twice"),
        ("old", r"'new': aliases must be several names, such as aliases=\('old',\)"),
    ],
)
def test_unusable_aliases(aliases, said):
    """Aliases are other names of the type, each once, and names as all are."""
    with pytest.raises(ProcessorError, match=said):
        processor("new", aliases=aliases)


@pytest.mark.parametrize(
    ("types", "worked"),
    [
        (None, {"send-mail", "mail", "notify", "order"}),
        (["send-mail"], {"send-mail", "mail", "notify"}),
        (["notify"], {"notify"}),
        (["mail", "order"], {"mail", "order"}),
    ],
)
def test_types_of_a_worker(types, worked):
    """A type that a worker is restricted to stands for all of its names, a former name for itself alone."""
    assert WorkerOptions(types=types).leases(REGISTRY).keys() == worked
