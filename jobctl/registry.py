"""Registries: the processors of some modules, and loading those modules."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import importlib.util
import sys
import types
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jobctl.codecs import PLAIN
from jobctl.errors import InvalidDataError, ProcessorError
from jobctl.processors import AnyProcessor, Defaults, Processor, Takes, seconds_of
from jobctl.sensitive import Sensitive


class Registry(Mapping[str, AnyProcessor]):
    """The processors of some modules, by type; a processor with aliases stands under each of its names."""

    def __init__(self, processors: Iterable[AnyProcessor] = ()) -> None:
        self._by_type: dict[str, AnyProcessor] = {}
        for each in processors:
            for name in each.names:
                known = self._by_type.setdefault(name, each)
                if known.handler is not each.handler:
                    raise ProcessorError(
                        f"'{name}' has two processors: {_placed(known, name)} and {_placed(each, name)}"
                    )
        self._paths = {name: each.sensitive for name, each in self._by_type.items()}
        self.sensitive = Sensitive(self._paths)
        """What is never shown of the types' inputs and outputs."""

    def __getitem__(self, name: str) -> AnyProcessor:
        return self._by_type[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_type)

    def __len__(self) -> int:
        return len(self._by_type)

    def hide(self, paths: Mapping[str, Collection[str]]) -> None:
        """Never show this either: paths by type, of types that need not have a processor here."""
        self._paths |= {name: (*self._paths.get(name, ()), *more) for name, more in paths.items()}
        self.sensitive = Sensitive(self._paths)

    @property
    def processors(self) -> list[AnyProcessor]:
        """The processors, each once."""
        return [each for name, each in self._by_type.items() if name == each.name]

    def check_declared(self) -> None:
        """Refuse processors that declare what may follow them, or what they wait for, wrongly.

        Raises:
            ProcessorError: There is no processor of a declared type, or a chain to wait for cannot start with it.
        """
        for each in self.processors:
            for reference in each.continues or ():
                self._require_declared(each, reference, "continues with")
            for reference in each.blockers or ():
                if not any(self[name].entry for name in self._require_declared(each, reference, "waits for")):
                    raise ProcessorError(
                        f"'{each.name}' ({each.where}) waits for {_said(reference)}, but a chain cannot start with "
                        "that: it is reached by continuation alone"
                    )

    def _require_declared(self, by: AnyProcessor, reference: str | Takes, does: str) -> list[str]:
        found = [name for name in self._types_of(reference) if name in self._by_type]
        if not found:
            raise ProcessorError(
                f"'{by.name}' ({by.where}) {does} {_said(reference)}, but there is no such processor: load the module "
                "that has it too; a worker's types can be restricted"
            )
        return found

    def _types_of(self, reference: str | Takes) -> Iterable[str]:
        if isinstance(reference, str):
            known = self._by_type.get(reference)
            return (reference,) if known is None else known.names
        return (name for each in self.processors if each.input_type == reference.input for name in each.names)

    def check_continuation(self, type_name: str, successor: str) -> None:
        """Refuse a successor of a job, if the job's processor is known and declares others.

        Raises:
            InvalidDataError: It is not declared.
        """
        known = self._by_type.get(type_name)
        if known is not None and known.continues is not None:
            self._check_reference(f"'{type_name}' continues with", known.continues, successor, "with ")

    def check_blockers(self, type_name: str, types: Iterable[str]) -> None:
        """Refuse chains of these types as blockers of a job, if its processor is known and declares others.

        Raises:
            InvalidDataError: One is not declared.
        """
        known = self._by_type.get(type_name)
        if known is not None and known.blockers is not None:
            for each in types:
                self._check_reference(f"'{type_name}' waits for", known.blockers, each, "for ")

    def _check_reference(self, does: str, declared: Sequence[str | Takes], name: str, preposition: str) -> None:
        if all(name not in self._types_of(each) for each in declared):
            allowed = ", ".join(map(_said, declared)) or "nothing"
            raise InvalidDataError(f"{does} {allowed}, not {preposition}'{name}'")

    def encode_input(self, type_name: str, value: Any, *, starts_chain: bool = False) -> str:
        """The input as JSON text, checked against the type's processor if there are processors at all.

        Raises:
            InvalidDataError: No processor of the type, not one that a chain may start with, or a wrong input.
        """
        if self._by_type:
            self._known(type_name, starts_chain=starts_chain)
        return self.encode_continuation(type_name, value)

    def encode_continuation(self, type_name: str, value: Any) -> str:
        """The input as JSON text, checked if the type's processor is known: it may be another worker's.

        Raises:
            InvalidDataError: A wrong input.
        """
        known = self._by_type.get(type_name)
        try:
            return (known.input_codec if known else PLAIN).encode(value)
        except InvalidDataError as error:
            raise self._invalid("input", type_name, value, error) from error

    def encode_output(self, type_name: str, value: Any) -> str:
        """The output as JSON text, checked if the type's processor is known.

        Raises:
            InvalidDataError: A wrong output.
        """
        known = self._by_type.get(type_name)
        try:
            return (known.output_codec if known else PLAIN).encode(value)
        except InvalidDataError as error:
            raise self._invalid("output", type_name, value, error) from error

    def _invalid(self, what: str, type_name: str, value: Any, error: InvalidDataError) -> InvalidDataError:
        said = self.sensitive.scrubbed(str(error), (value, [type_name]))
        return InvalidDataError(f"the {what} of '{type_name}' {said}")

    def _known(self, type_name: str, *, starts_chain: bool) -> None:
        known = self._by_type.get(type_name)
        if known is None:
            close = difflib.get_close_matches(type_name, self._by_type, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(sorted(self._by_type))}"
            raise InvalidDataError(f"no processor handles '{type_name}'; {hint}")
        if starts_chain and not known.entry:
            raise InvalidDataError(f"a chain cannot start with '{type_name}': it is reached by continuation alone")


def _placed(known: AnyProcessor, name: str) -> str:
    """Where a processor is, and under which name, if not under this one."""
    return known.where if known.name == name else f"'{known.name}' ({known.where}), of which it is an alias,"


def _said(reference: str | Takes) -> str:
    return f"'{reference}'" if isinstance(reference, str) else str(reference)


def load_modules(names: Iterable[str], others: Iterable[AnyProcessor] = ()) -> Registry:
    """Import processor modules by name or file path and merge what they hold.

    Args:
        names: The modules.
        others: Processors that are in none of them.

    Raises:
        ProcessorError: A module cannot be imported, holds no processor, two handle one type, or one declares that a
            type follows or is waited for that cannot.
    """
    found: list[AnyProcessor] = []
    modules: dict[Path, types.ModuleType] = {}
    for name in names:
        module = _import(name, modules)
        here = list(_processors_in(module))
        if not here:
            raise ProcessorError(f"the module '{name}' holds no processor: decorate a function with @processor")
        found += here
    registry = Registry([*found, *others])
    registry.check_declared()
    return registry


def _processors_in(module: types.ModuleType) -> Iterable[AnyProcessor]:
    values = list(vars(module).values())
    defaults = next((value for value in values if isinstance(value, Defaults)), Defaults())
    for value in values:
        if isinstance(value, Processor):
            yield dataclasses.replace(
                value,
                lease=value.lease if value.lease is not None else seconds_of(defaults.lease),
                backoff=value.backoff or defaults.backoff,
                max_attempts=value.max_attempts or defaults.max_attempts,
                middleware=(*defaults.middleware, *value.middleware),
                sensitive=(*defaults.sensitive, *value.sensitive),
            )


def _import(name: str, modules: dict[Path, types.ModuleType]) -> types.ModuleType:
    """The module of this name or in this file; ``modules`` holds those loaded before, by file, however named."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return _load(name, modules)
    except ProcessorError as error:
        raise ProcessorError(f"the module '{name}' cannot be loaded: {error}") from error
    except ModuleNotFoundError as error:
        if error.name == name.partition(".")[0] or error.name == name:
            raise ProcessorError(
                f"there is no module '{name}': give the name of a module importable from {here}, or a path to a file"
            ) from error
        raise ProcessorError(f"the module '{name}' cannot be loaded: {error}") from error
    except (Exception, SystemExit) as error:  # whatever a module does at import, it is the module's fault
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise ProcessorError(f"the module '{name}' cannot be loaded: {reason}") from error


def _load(name: str, modules: dict[Path, types.ModuleType]) -> types.ModuleType:
    is_path = name.endswith(".py") or "/" in name
    file = Path(name).resolve() if is_path else _file_of(name)
    if file is None:
        return importlib.import_module(name)
    if file not in modules:
        modules[file] = _import_file(file) if is_path else importlib.import_module(name)
    return modules[file]


def _file_of(name: str) -> Path | None:
    """The file that a module of this name is, or would be, imported from."""
    if name in sys.modules:
        origin = getattr(sys.modules[name], "__file__", None)
    else:
        spec = importlib.util.find_spec(name)
        origin = spec.origin if spec is not None and spec.has_location else None
    return None if origin is None else Path(origin).resolve()


def _import_file(path: Path) -> types.ModuleType:
    if not path.is_file():
        raise ProcessorError(f"there is no file {path}")
    if path.stem.isidentifier() and _file_of(path.stem) == path:
        return importlib.import_module(path.stem)  # so that modules which import it have the same processors
    name = f"jobctl_processors_{path.stem}_{abs(hash(str(path))):x}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ProcessorError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pydantic look their module up while it runs
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
