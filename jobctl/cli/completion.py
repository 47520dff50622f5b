"""``completion``: the script with which a shell completes."""

from __future__ import annotations

from typing import Annotated

import typer

from jobctl.cli import parse
from jobctl.cli.command import command
from jobctl.cli.completing import words
from jobctl.cli.index import COMPLETE_VARIABLE
from jobctl.cli.options import Json
from jobctl.cli.run import Run

SHELLS = ("bash", "zsh", "fish")


@command(
    "completion",
    section="Database",
    examples=(
        ("jobctl completion bash > jobctl.bash", "for /etc/bash_completion.d"),
        ("jobctl completion zsh > _jobctl", "for a folder of $fpath"),
        ("jobctl completion fish > jobctl.fish", "for ~/.config/fish/completions"),
    ),
)
def completion(
    run: Run,
    shell: Annotated[str, typer.Argument(metavar="SHELL", help="bash, zsh or fish.", autocompletion=words(*SHELLS))],
    json: Json = False,
) -> None:
    """Print the script with which a shell completes.

    It offers commands, options, types, statuses, profiles and the chains that were started last.
    jobctl --install-completion puts it where the shell that runs looks for it.
    """
    from typer._completion_shared import get_completion_script

    known = parse.one_of("SHELL", shell, SHELLS)
    script = get_completion_script(prog_name="jobctl", complete_var=COMPLETE_VARIABLE, shell=known)
    if json:
        run.json({"shell": known, "script": script})
    else:
        run.out(script)
