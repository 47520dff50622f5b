"""The one place where a person is asked before much is changed."""

from __future__ import annotations

import sys

from jobctl.cli.run import is_terminal
from jobctl.errors import UsageError


def can_ask() -> bool:
    """Whether there is a person to ask."""
    return is_terminal(sys.stdin) and is_terminal(sys.stderr)


def confirm(question: str, *, yes: bool, refusal: str) -> None:
    """Ask a person whether to go on.

    Args:
        question: What is about to happen, as a question.
        yes: Whether they said so before, with ``--yes``.
        refusal: What to say where there is nobody to ask.

    Raises:
        UsageError: They do not want to, or there is nobody.
    """
    if yes:
        return
    if not can_ask():
        raise UsageError(refusal)
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        sys.stderr.write("\n")
    if answer.strip().lower() not in {"y", "yes"}:
        raise UsageError("not confirmed: nothing is changed")
