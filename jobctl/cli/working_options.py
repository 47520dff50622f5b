"""The options that ``worker`` and ``run`` share."""

from __future__ import annotations

from typing import Annotated

import typer

from jobctl.cli import completing, settings

MaxAttempts = Annotated[
    str | None,
    typer.Option("--max-attempts", metavar="N", help="Then a job is failed, unless its processor says otherwise."),
]
Exec = Annotated[
    list[str] | None,
    typer.Option("--exec", metavar="TYPE=COMMAND", help="Have a command handle a type; repeatable."),
]
ExecShell = Annotated[bool, typer.Option("--exec-shell", help="Have a shell run the commands of --exec.")]
ExecTimeout = Annotated[
    str | None,
    typer.Option(
        "--exec-timeout", "--timeout", metavar="DURATION", help="How long a command may run; then the attempt fails."
    ),
]
ExecMaxOutput = Annotated[
    str | None,
    typer.Option("--exec-max-output", metavar="SIZE", help="How much a command may write to stdout; else 1MB."),
]
OnFailed = Annotated[
    str | None,
    typer.Option("--on-failed", metavar="COMMAND", help="Run this for each job that ends in failed; it gets the job."),
]
LogFormat = Annotated[
    str | None,
    typer.Option(
        "--log-format",
        metavar="FORMAT",
        help=f"human or json lines.  [default: {settings.LOG_FORMAT.default_text}]",
        autocompletion=completing.words("human", "json"),
    ),
]
