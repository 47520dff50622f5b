"""What makes a function a command: its examples, and the options of every command."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, Concatenate, NamedTuple, ParamSpec, get_type_hints

import typer
from typer.main import get_command_from_info

from jobctl.cli import options
from jobctl.cli.layout import QuickCommand
from jobctl.cli.options import Common

if TYPE_CHECKING:
    from jobctl.cli.run import Run

P = ParamSpec("P")

_COMMON = {
    "database": options.Database,
    "config": options.Config,
    "profile": options.Profile,
    "setting": options.Setting,
    "no_color": options.NoColor,
    "debug": options.Debug,
    "quiet": options.Quiet,
}


class ReaderGoneError(Exception):
    """Nobody reads stdout any more."""


class Command(NamedTuple):
    """A command.

    Attributes:
        name: Its name.
        section: Under which heading the help lists it.
        examples: Command lines, each with what it does.
        function: What typer calls.
        changes: Whether it changes data.
    """

    name: str
    section: str
    examples: Sequence[tuple[str, str]]
    function: Callable[..., None]
    changes: bool

    def built(self) -> Any:
        """What typer makes of it."""
        app = typer.Typer()
        epilog = "\n".join(f"{line}\t{what}" for line, what in self.examples)
        app.command(self.name, cls=QuickCommand, epilog=epilog)(self.function)
        (info,) = app.registered_commands
        return get_command_from_info(info, pretty_exceptions_short=True, rich_markup_mode=None)


def command(
    name: str, *, section: str, examples: Sequence[tuple[str, str]], changes: bool = False
) -> Callable[[Callable[Concatenate[Run, P], None]], Command]:
    """Make a function a command; it gets a Run, made of the options of every command, and its own options.

    Args:
        name: The command's name.
        section: Under which heading the help lists it.
        examples: Command lines, each with what it does.
        changes: Whether it changes data: then it says on stderr which database it acts on.
    """

    def decorate(function: Callable[Concatenate[Run, P], None]) -> Command:
        def with_run(context: typer.Context, given: Common, **values: Any) -> None:
            from jobctl.cli.hiding import hide  # a help needs neither
            from jobctl.cli.run import Run

            json = bool(values.get("json") or values.get("jsonl"))
            run = Run(given.over(context.obj or Common()), changes=changes, json=json)
            hide(lambda: run.sensitive)
            try:
                function(run, **values)  # type: ignore[call-arg]
            except BrokenPipeError as error:  # typer would make it exit code 1
                raise ReaderGoneError from error
            run.ends()

        return Command(name, section, examples, with_common(with_run, like=function), changes)

    return decorate


def with_common(function: Callable[..., None], *, like: Callable[..., None]) -> Callable[..., None]:
    """A function with the options of every command, which ``function`` gets as one value after typer's context.

    A parameter that is a dataclass stands for its fields: options that several commands have, read together.

    Args:
        function: Takes the context, a Common and the parameters of ``like`` after its first.
        like: Whose parameters, name and documentation it has.
    """
    keyword = inspect.Parameter.KEYWORD_ONLY
    given = list(inspect.signature(like, eval_str=True).parameters.values())[1:]
    groups = {each.name: each.annotation for each in given if _is_group(each.annotation)}
    own = [each for one in given for each in (_options_of(groups[one.name]) if one.name in groups else [one])]

    @functools.wraps(like)
    def called(context: typer.Context, **values: Any) -> None:
        common = Common(**{name: values.pop(name) for name in _COMMON})
        together = {
            name: group(**{each.name: values.pop(each.name) for each in fields(group)})
            for name, group in groups.items()
        }
        function(context, common, **together, **values)

    parameters = [
        inspect.Parameter("context", keyword, annotation=typer.Context),
        *(each.replace(kind=keyword) for each in own),
        *(
            inspect.Parameter(each.name, keyword, default=each.default, annotation=_COMMON[each.name])
            for each in fields(Common)
        ),
    ]
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {each.name: each.annotation for each in parameters}
    return called


def _is_group(annotation: Any) -> bool:
    """Whether a parameter stands for several options."""
    return isinstance(annotation, type) and is_dataclass(annotation)


def _options_of(group: type[Any]) -> list[inspect.Parameter]:
    """The parameters that a dataclass of options stands for."""
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=each.default, annotation=hints[each.name])
        for each in fields(group)
    ]
