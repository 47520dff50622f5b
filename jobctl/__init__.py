"""Durable job chains in your own database.

What a processor module needs is imported at once; what opens a database only when it is asked for, so that
a command that does not touch one starts quickly.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from jobctl.asking import Key, ListFilter, NewChain, Page, Slot
from jobctl.errors import JobctlError
from jobctl.middleware import Middleware, middleware
from jobctl.model import Backoff, Chain, ChainDetail, Job, LostReason, Status
from jobctl.processors import Continuation, Defaults, Processor, Takes, continue_with, fail, processor, reschedule
from jobctl.retention import Retention, RetentionPolicy

if TYPE_CHECKING:
    from jobctl.attempt import Attempt
    from jobctl.client import Client
    from jobctl.options import WorkerOptions
    from jobctl.worker import Worker

__version__ = "0.1.0"

__all__ = [
    "Attempt",
    "Backoff",
    "Chain",
    "ChainDetail",
    "Client",
    "Continuation",
    "Defaults",
    "Job",
    "JobctlError",
    "Key",
    "ListFilter",
    "LostReason",
    "Middleware",
    "NewChain",
    "Page",
    "Processor",
    "Retention",
    "RetentionPolicy",
    "Slot",
    "Status",
    "Takes",
    "Worker",
    "WorkerOptions",
    "continue_with",
    "fail",
    "middleware",
    "processor",
    "reschedule",
]

_LATER = {
    "Attempt": "jobctl.attempt",
    "Client": "jobctl.client",
    "Worker": "jobctl.worker",
    "WorkerOptions": "jobctl.options",
}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module 'jobctl' has no attribute '{name}'")
