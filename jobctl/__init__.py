"""Durable job chains in your own database.

Names are imported when they are asked for: a command starts quickly, whatever of it all it needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobctl.answers import Continuation, continue_with, fail, reschedule
    from jobctl.asking import Key, ListFilter, NewChain, Page, Slot
    from jobctl.attempt import Attempt
    from jobctl.client import Client
    from jobctl.errors import JobctlError
    from jobctl.middlewares import Middleware, middleware
    from jobctl.model import Backoff, Chain, ChainDetail, Job, LostReason, Status
    from jobctl.options import WorkerOptions
    from jobctl.processors import Defaults, Processor, Takes, processor
    from jobctl.retention import Retention, RetentionPolicy
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
    "jobctl.answers": ("Continuation", "continue_with", "fail", "reschedule"),
    "jobctl.asking": ("Key", "ListFilter", "NewChain", "Page", "Slot"),
    "jobctl.attempt": ("Attempt",),
    "jobctl.client": ("Client",),
    "jobctl.errors": ("JobctlError",),
    "jobctl.middlewares": ("Middleware", "middleware"),
    "jobctl.model": ("Backoff", "Chain", "ChainDetail", "Job", "LostReason", "Status"),
    "jobctl.options": ("WorkerOptions",),
    "jobctl.processors": ("Defaults", "Processor", "Takes", "processor"),
    "jobctl.retention": ("Retention", "RetentionPolicy"),
    "jobctl.worker": ("Worker",),
}
_MODULES = {name: module for module, names in _LATER.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'jobctl' has no attribute '{name}'")
