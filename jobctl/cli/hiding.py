"""The one place that decides what of a job's data is shown.

It is asked by everything that shows inputs, outputs and errors, so that no command can forget to. What a run knows of
sensitive data is asked for when the first value is about to be shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jobctl.model import Chain, Job
from jobctl.sensitive import Sensitive

if TYPE_CHECKING:
    from jobctl.client import Client

NOTHING = Sensitive({})

_known: Callable[[], Sensitive] = lambda: NOTHING  # noqa: E731 - replaced by every run


def hide(known: Callable[[], Sensitive]) -> None:
    """Have this say from now on what is sensitive."""
    global _known  # noqa: PLW0603 - of the process, as its streams are
    _known = known


@contextmanager
def nothing_hidden() -> Iterator[None]:
    """Have nothing be hidden in the block."""
    known = _known
    hide(lambda: NOTHING)
    try:
        yield
    finally:
        hide(known)


def input_of(item: Chain | Job[Any]) -> Any:
    """The input of a chain or job, as it may be shown."""
    return _known().masked(item.input, *_types(item))


def output_of(item: Chain | Job[Any]) -> Any:
    """The output of a chain or job, as it may be shown."""
    return _known().masked(item.output, *_types(item))


def error_of(item: Chain | Job[Any], text: str | None) -> str | None:
    """An error of a chain or job, as it may be shown: a worker takes out what it knows of, and so does this."""
    if text is None or not (sensitive := _known()):
        return text
    types = _types(item)
    return sensitive.scrubbed(text, (item.input, types), (item.output, types))


def error_of_job(client: Client, job_id: str | None, text: str | None) -> str | None:
    """An error of a job of which nothing else is at hand, as it may be shown."""
    if text is None or job_id is None or not _known():
        return text
    return error_of(client.get_job(job_id), text)


def without_secrets(chain: Chain) -> Chain:
    """The chain with its error as it may be shown, for a message about it."""
    return replace(chain, last_error=error_of(chain, chain.last_error))


def hides(item: Chain | Job[Any]) -> bool:
    """Whether something of a chain or job is not shown."""
    return (input_of(item), output_of(item), error_of(item, item.last_error)) != (
        item.input,
        item.output,
        item.last_error,
    )


def _types(item: Chain | Job[Any]) -> tuple[str, ...]:
    """The types whose rules count: an input may have been carried over from the chain's first job."""
    if isinstance(item, Chain):
        return (item.type_name, item.job_type)
    return (item.type_name, item.chain_type)
