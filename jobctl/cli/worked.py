"""What a worker has done, for the document that it prints at its end."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from typing import Any

from jobctl.events import Event, Told

COUNTED = {
    "completed": Told.JOB_COMPLETED,
    "continued": Told.JOB_CONTINUED,
    "settled": Told.JOB_SETTLED,
    "rescheduled": Told.JOB_RESCHEDULED,
    "retried": Told.JOB_RETRIED,
    "failed": Told.JOB_FAILED,
    "lost": Told.JOB_LOST,
    "released": Told.JOB_RELEASED,
}


class Worked:
    """Counts what is told of; safe to be told from any thread."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._counts: Counter[Told] = Counter()
        self._worker: str | None = None

    def hear(self, event: Event) -> None:
        """Count something that happened."""
        with self._guard:
            self._counts[event.told] += 1
            self._worker = event.worker

    def document(self, number: int | None) -> dict[str, Any]:
        """The worker and its counts.

        Args:
            number: The signal that ended it, if one did.
        """
        counts = {name: self._counts[told] for name, told in COUNTED.items()}
        return {"worker": self._worker, **counts, "signal": None if number is None else signal.Signals(number).name}
