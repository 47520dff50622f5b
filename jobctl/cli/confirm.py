"""The one place where a person is asked before much is changed."""

from __future__ import annotations

import sys

from jobctl.cli.production import confirm_production
from jobctl.cli.run import Run, is_terminal
from jobctl.errors import UsageError


def can_ask() -> bool:
    """Whether there is a person to ask."""
    return is_terminal(sys.stdin) and is_terminal(sys.stderr)


def confirm(run: Run, question: str, *, yes: bool, refusal: str, name: str | None) -> None:
    """Ask a person whether to go on, and in production for the profile's name.

    Args:
        run: The command's.
        question: What is about to happen, as a question.
        yes: Whether they said so before, with ``--yes``.
        refusal: What to say where there is nobody to ask.
        name: What ``--confirm`` says.

    Raises:
        UsageError: They do not want to, or there is nobody.
    """
    if not yes:
        _ask(question, refusal)
    confirm_production(run, name)


def _ask(question: str, refusal: str) -> None:
    if not can_ask():
        raise UsageError(refusal)
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        sys.stderr.write("\n")
    if answer.strip().lower() not in {"y", "yes"}:
        raise UsageError("not confirmed: nothing is changed")
