"""Who does something by hand, and why: what the history keeps."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jobctl.codecs import encode_json
from jobctl.storage.records import NewAct


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

    def act(self, action: str, chain_id: str, job_id: str, details: Mapping[str, Any]) -> NewAct:
        """Something that they did."""
        return NewAct(chain_id, job_id, action, self.actor, socket.gethostname(), self.note, encode_json(dict(details)))


def default_actor() -> str:
    """Who acts when nobody says: user@host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user that nothing names
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
