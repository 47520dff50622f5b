"""The application: the options of every command, and the commands by name."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from jobctl import __version__
from jobctl.cli.command import with_common
from jobctl.cli.layout import QuickGroup
from jobctl.cli.options import Common
from jobctl.errors import UsageError

_EXAMPLES = """\
id=$(jobctl start await-approval --input '{"requestId": "123"}' --after 2h)
jobctl worker --processors mymod
jobctl complete $id --continue process-request"""


def _with_callback(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Durable job chains in your own database.

    Start chains of jobs, run workers, look at them, and settle a step by hand. Everything is in one database:
    PostgreSQL, or an SQLite file when none is configured.
    """


def _remember(context: typer.Context, given: Common, version: bool) -> None:
    """Keep the options that stand before the command's name."""
    if version:
        sys.stdout.write(f"jobctl {__version__}\n")
        raise typer.Exit
    if context.invoked_subcommand is None:
        raise UsageError("no command is given; run 'jobctl --help'")
    context.obj = given


def application() -> Any:
    """What typer makes of it; each of its commands is imported when it is called."""
    app = typer.Typer(
        cls=QuickGroup,
        rich_markup_mode=None,  # plain help: quick, and as readable in a pipe
        pretty_exceptions_enable=False,
        invoke_without_command=True,
        context_settings={"help_option_names": ["--help", "-h"]},
        epilog=_EXAMPLES,
    )
    app.callback()(with_common(_remember, like=_with_callback))
    return typer.main.get_command(app)
