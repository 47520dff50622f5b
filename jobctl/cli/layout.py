"""Typer's commands with help that reads well at 80 columns, and without pydantic."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup

from jobctl.cli.index import BY_NAME, INDEX


class QuickCommand(TyperCommand):
    """A command whose help lists its own options first, and its examples last."""

    def get_params(self, ctx: Any) -> list[Any]:
        """All arguments and options."""
        return _coerced_without_pydantic(super().get_params(ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The options and the arguments as they are named in the help."""
        arguments = [each.metavar or each.name for each in self.params if each.param_type_name == "argument"]
        return ["[OPTIONS]", *arguments]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The arguments, the command's options, and those of every command."""
        _write_options(self.get_params(ctx), ctx, formatter)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """The examples."""
        _write_examples(self.epilog or "", formatter)


class QuickGroup(TyperGroup):
    """The application, whose help lists the commands by what they are for."""

    def get_params(self, ctx: Any) -> list[Any]:
        """All arguments and options."""
        return _coerced_without_pydantic(super().get_params(ctx))

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = dict(BY_NAME)  # type: ignore[arg-type]  # only their names are asked for

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order of the help."""
        return list(BY_NAME)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command, imported now; None: there is none."""
        listed = BY_NAME.get(cmd_name)
        return None if listed is None else listed.load().built()

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """The commands, then the options."""
        self.format_commands(ctx, formatter)
        _write_options(self.get_params(ctx), ctx, formatter)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The commands, by section."""
        sections: dict[str, list[tuple[str, str]]] = {}
        longest = max(map(len, BY_NAME))
        for each in INDEX:
            sections.setdefault(each.section, []).append((each.name, each.summary))
        for heading, rows in sections.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(longest), what) for name, what in rows])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """The examples."""
        _write_examples(self.epilog or "", formatter)


def _write_options(params: list[Any], ctx: Any, formatter: Any) -> None:
    sections: dict[str, list[tuple[str, str]]] = {}
    for each in params:
        if each.param_type_name == "argument":
            sections.setdefault("Arguments", []).append((each.metavar, each.help))
        elif (record := each.get_help_record(ctx)) is not None:
            panel = getattr(each, "rich_help_panel", None)
            sections.setdefault(panel if isinstance(panel, str) else "Options", []).append(record)
    for heading, rows in sections.items():
        with formatter.section(heading):
            formatter.write_dl(rows)


def _write_examples(text: str, formatter: Any) -> None:
    """The lines of an epilog: a command line, a tab, and what it does."""
    if not text:
        return
    with formatter.section("Examples"):
        for row in text.splitlines():
            line, _, what = row.partition("\t")
            pad = " " * formatter.current_indent
            if what:
                formatter.write(f"{pad}# {what}\n")
            formatter.write(f"{pad}{line}\n")


class _AsWritten:
    """Takes the text of an argument as it is: each command reads its own, and says what is wrong with it."""

    @staticmethod
    def coerce(value: Any, param: Any, ctx: Any) -> Any:  # noqa: ARG004 - typer's signature
        if value is None:
            return [] if param.multiple or param.nargs == -1 else None
        return list(value) if isinstance(value, tuple) else value


def _coerced_without_pydantic(params: list[Any]) -> list[Any]:
    """Spare every command the 70 ms of importing pydantic, which typer uses to turn a text into a text.

    Should a typer to come not ask this method, its own way is taken: slower, with the same result.
    """
    for each in params:
        each.get_runtime_param = _AsWritten
    return params
