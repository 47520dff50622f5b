"""What was asked for by its id, or an error that says why not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from jobctl.errors import GuardError, NotFoundError
from jobctl.model import Chain, Job
from jobctl.naming import type_name_of
from jobctl.processors import AnyProcessor

Found = TypeVar("Found", Chain, Job[Any])


def one(rows: Mapping[str, Any], wanted: str, what: str) -> Any:
    """The row with this id.

    Raises:
        NotFoundError: There is none.
    """
    if wanted not in rows:
        raise NotFoundError(f"there is no {what} {wanted}", id=wanted)
    return rows[wanted]


def of_type(found: Found, wanted: str | AnyProcessor | None) -> Found:
    """The chain or job, if it has the type that is asked for.

    Raises:
        GuardError: It has another.
    """
    name = found.type_name if wanted is None else type_name_of(wanted)
    if found.type_name != name:
        raise GuardError(
            f"{found.id} is of the type '{found.type_name}', not '{name}'",
            chain_id=getattr(found, "chain_id", found.id),
            expected=name,
            current=found.type_name,
        )
    return found
