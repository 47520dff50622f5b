"""Who does something by hand, and why: what the history keeps."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobctl.codecs import encode_json
from jobctl.storage.records import JobRow, NewAct


@dataclass(frozen=True, slots=True)
class Hand:
    """A person, or a script of theirs, that acts.

    Attributes:
        actor: Who.
        note: Why, in their words.
    """

    actor: str
    note: str | None = None

    @classmethod
    def of(cls, actor: str | None, note: str | None) -> Hand:
        """Who was named, or else user@host."""
        return cls(actor or default_actor(), note)

    def act(self, action: str, chain_id: str | None, job_id: str | None, details: Mapping[str, Any]) -> NewAct:
        """Something that they did."""
        return NewAct(chain_id, job_id, action, self.actor, socket.gethostname(), self.note, encode_json(dict(details)))


def change(type_name: str | None, before: Mapping[str, Any], after: Mapping[str, Any] | None) -> dict[str, Any]:
    """What an act did, for the history.

    Args:
        type_name: The type of what it was done to; None: all types.
        before: What it changed, as it was.
        after: The same, as it is then; None: it is gone.
    """
    return {"type": type_name, "before": dict(before), "after": None if after is None else dict(after)}


def changed(was: JobRow, now: JobRow) -> dict[str, Any]:
    """What an act did to the last job of a chain, for the history: its status, and what else is different.

    Args:
        was: The job that was the last one before.
        now: The one that is then. Of a settled one nothing but its status is said.
    """
    facts = () if now.completed_at is not None else ("job_id", "type", "due", "priority", "attempt")
    before, after = _facts(was), _facts(now)
    names = ["status", *(each for each in facts if before[each] != after[each])]
    return change(was.type_name, {each: before[each] for each in names}, {each: after[each] for each in names})


def _facts(job: JobRow) -> dict[str, Any]:
    return {
        "status": job.status,
        "job_id": job.id,
        "type": job.type_name,
        "due": job.scheduled_at.isoformat().replace("+00:00", "Z"),
        "priority": job.priority,
        "attempt": job.attempt,
    }


def default_actor() -> str:
    """Who acts when nobody says: user@host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user that nothing names
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
