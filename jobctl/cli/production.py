"""Asking before many things are done in production."""

from __future__ import annotations

import sys

from jobctl.cli import settings
from jobctl.cli.run import Run, is_terminal
from jobctl.errors import UsageError


def confirm_production(run: Run, given: str | None) -> None:
    """Have the profile's name confirmed, if it is one of production: on a terminal by a person, else by ``--confirm``.

    Args:
        run: The command's.
        given: What ``--confirm`` says.

    Raises:
        UsageError: It was not confirmed.
    """
    profile = run.configuration.profile
    if given is not None and given != profile:
        chosen = f"the profile is {profile}" if profile else "no profile is chosen"
        raise UsageError(f"--confirm {given} confirms nothing: {chosen}")
    if given is not None or not run.setting(settings.PRODUCTION):
        return
    if is_terminal(sys.stdin) and is_terminal(sys.stderr):
        sys.stderr.write(f"This is production. Type the profile's name to go on ({profile}): ")
        sys.stderr.flush()
        if sys.stdin.readline().strip() == profile:
            return
        raise UsageError("not confirmed: nothing is changed")
    raise UsageError(f"profile {profile} is production: confirm with --confirm {profile}")
