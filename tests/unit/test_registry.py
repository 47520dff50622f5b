"""Loading processor modules, and what the registry made of them accepts."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path

import pytest

from jobctl import Backoff, Job, processor
from jobctl.errors import InvalidDataError, ProcessorError
from jobctl.registry import Registry, load_modules

HANDLER = """
from jobctl import Job, processor

@processor("{name}")
def handle(job: Job) -> dict:
    return {{}}
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


# --- loading ---------------------------------------------------------------------------------------------------------


def test_module_by_name(here):
    """A module of the current folder is loaded by its name, a module of a package by its dotted one."""
    write(here / "slice_one.py", HANDLER.format(name="one"))
    write(here / "slices" / "__init__.py", "")
    write(here / "slices" / "two.py", HANDLER.format(name="two"))
    assert sorted(load_modules(["slice_one", "slices.two"])) == ["one", "two"]


@pytest.mark.parametrize("spelling", ["deep/er/file.py", "./deep/er/file.py", "{here}/deep/er/file.py"])
def test_module_by_path(here, spelling):
    """A file is loaded by its path, relative or absolute."""
    write(here / "deep" / "er" / "file.py", HANDLER.format(name="one"))
    assert list(load_modules([spelling.format(here=here)])) == ["one"]


def test_file_is_loaded_once(here):
    """A file named twice, however it is written, is one module and no conflict with itself."""
    write(here / "file.py", HANDLER.format(name="one"))
    assert list(load_modules(["file.py", "./file.py", str(here / "file.py")])) == ["one"]


@pytest.mark.parametrize(
    "names",
    [
        ["hand.py", "hand"],
        ["hand", "hand.py"],
        ["./hand.py", "everything"],
        ["everything", "hand.py", "hand"],
        ["slices/two.py", "slices.two"],
        ["slices.two", "slices/two.py"],
    ],
)
def test_module_is_loaded_once_by_name_and_path(here, names):
    """A module named both by its name and by its file is loaded once, and is no conflict with itself."""
    counting = "import builtins\nbuiltins.loaded = getattr(builtins, 'loaded', 0) + 1\n"
    write(here / "hand.py", counting + HANDLER.format(name="one"))
    write(here / "everything.py", "from hand import handle as one\n")
    write(here / "slices" / "__init__.py", "")
    write(here / "slices" / "two.py", counting + HANDLER.format(name="one"))
    try:
        assert list(load_modules(names)) == ["one"]
        assert builtins.loaded == 1
    finally:
        del builtins.loaded


def test_file_with_the_name_of_a_module(here):
    """A file is the one that the path names, though a module of that name is installed, loaded or built in."""
    for name in ("json", "time", "mypy", "__main__"):
        write(here / f"{name}.py", HANDLER.format(name=name))
    found = load_modules(["json.py", "time.py", "mypy.py", "__main__.py"])
    assert sorted(found) == ["__main__", "json", "mypy", "time"]


def test_two_files_of_one_name(here):
    """Two files of one name in different folders are two modules."""
    write(here / "a" / "handlers.py", HANDLER.format(name="one"))
    write(here / "b" / "handlers.py", HANDLER.format(name="two"))
    assert sorted(load_modules(["a/handlers.py", "b/handlers.py"])) == ["one", "two"]


def test_module_with_dataclasses_by_path(here):
    """A file whose classes look their module up while it runs can be loaded by path."""
    write(
        here / "file.py",
        """
from __future__ import annotations
import dataclasses
import pydantic
from jobctl import Job, processor

@dataclasses.dataclass
class In:
    n: int
    more: list[In] = dataclasses.field(default_factory=list)

class Out(pydantic.BaseModel):
    n: int
    more: list[Out] = []

@processor("one")
def handle(job: Job[In]) -> Out:
    return Out(n=job.input.n)
""",
    )
    registry = load_modules(["file.py"])
    assert registry["one"].input_codec.decode('{"n": 1, "more": [{"n": 2}]}').more[0].n == 2


def test_imported_processors_count(here):
    """A module's namespace is the registry: what it imports from its slices is in it."""
    write(here / "slice_a.py", HANDLER.format(name="a"))
    write(here / "slice_b.py", HANDLER.format(name="b"))
    write(here / "everything.py", "from slice_a import handle as one\nfrom slice_b import handle as two\n")
    assert sorted(load_modules(["everything", "slice_a"])) == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "text", "about"),
    [
        ("missing_module", None, "there is no module 'missing_module': give the name of a module importable from"),
        ("missing.py", None, "there is no file .*missing.py"),
        ("folder/", None, "there is no file .*folder"),
        ("failing", "1 / 0", "the module 'failing' cannot be loaded: ZeroDivisionError: division by zero"),
        ("failing.py", "1 / 0", "the module 'failing.py' cannot be loaded: ZeroDivisionError"),
        ("syntax.py", "def (:", "the module 'syntax.py' cannot be loaded: SyntaxError"),
        ("leaving", "raise SystemExit(3)", "the module 'leaving' cannot be loaded: SystemExit: 3"),
        ("lines", "raise ValueError('one\\ntwo')", "the module 'lines' cannot be loaded: ValueError: one$"),
        ("needs", "import not_installed", "the module 'needs' cannot be loaded: No module named 'not_installed'"),
        ("needs.py", "import not_installed", "the module 'needs.py' cannot be loaded: No module named 'not_installed'"),
        ("empty", "x = 1", "the module 'empty' holds no processor: decorate a function with @processor"),
        (
            "illegal.py",
            "from jobctl import processor\n@processor('a')\ndef f(job, what): ...\n",
            r"the module 'illegal.py' cannot be loaded: the handler of 'a' \(.*illegal.py:2\) has the signature",
        ),
        ("not/../valid name", None, "there is no file"),
        ("", None, "''"),
        ("..relative", None, "'..relative'"),
    ],
)
def test_module_that_cannot_be_used(here, name, text, about):
    """Whatever is wrong with a module is one line that names it; the exit code is that of a wrong call."""
    if text is not None:
        write(here / (name if name.endswith(".py") else f"{name}.py"), text)
    with pytest.raises(ProcessorError, match=about) as refused:
        load_modules([name])
    assert "\n" not in str(refused.value)


def test_file_that_failed_can_be_loaded_again(here):
    """A file that failed to load leaves nothing behind: mended, it loads."""
    path = write(here / "file.py", "1 / 0")
    with pytest.raises(ProcessorError):
        load_modules(["file.py"])
    write(path, HANDLER.format(name="one"))
    assert list(load_modules(["file.py"])) == ["one"]


def test_two_processors_of_one_type(here):
    """Two processors of one type are an error that names both places."""
    write(here / "one.py", HANDLER.format(name="same"))
    write(here / "two.py", HANDLER.format(name="same"))
    with pytest.raises(ProcessorError, match="'same' has two processors: ") as refused:
        load_modules(["one.py", "two.py"])
    assert f"{here / 'one.py'}:4 and {here / 'two.py'}:4" in str(refused.value)


def test_defaults_of_a_module(here):
    """A module's Defaults fill what its processors leave out, and reach no other module."""
    write(
        here / "with_defaults.py",
        """
from jobctl import Backoff, Defaults, processor

DEFAULTS = Defaults(lease="2m", backoff=Backoff(1, 1, 1), max_attempts=3)

@processor("plain")
def plain(job): ...

@processor("own", lease=5, backoff=Backoff(2, 2, 2), max_attempts=7)
def own(job): ...
""",
    )
    write(here / "without.py", HANDLER.format(name="other"))
    found = load_modules(["with_defaults", "without"])
    assert (found["plain"].lease, found["plain"].backoff, found["plain"].max_attempts) == (120, Backoff(1, 1, 1), 3)
    assert (found["own"].lease, found["own"].backoff, found["own"].max_attempts) == (5, Backoff(2, 2, 2), 7)
    assert (found["other"].lease, found["other"].backoff, found["other"].max_attempts) == (None, None, None)


# --- what it accepts -------------------------------------------------------------------------------------------------


@processor("first")
def first(job: Job[dict]) -> dict: ...


@processor("second", entry=False)
def second(job: Job[int]) -> list: ...


REGISTRY = Registry([first, second])


def test_input_is_checked_by_its_processor():
    """An input is checked against the type's processor and refused with the type's name."""
    assert REGISTRY.encode_input("first", {"a": 1}, starts_chain=True) == '{"a":1}'
    with pytest.raises(InvalidDataError, match="the input of 'first' must be an object, not an array"):
        REGISTRY.encode_input("first", [1])
    with pytest.raises(InvalidDataError, match="the input of 'first' is not JSON: "):
        REGISTRY.encode_input("first", {"a": float("nan")})


def test_chain_cannot_start_in_the_middle():
    """A processor that is no entry is reached by continuation alone."""
    with pytest.raises(InvalidDataError, match="a chain cannot start with 'second'"):
        REGISTRY.encode_input("second", 1, starts_chain=True)
    assert REGISTRY.encode_input("second", 1) == "1"


def test_unknown_type_is_refused_with_a_hint():
    """An unknown type is refused, with the name that was probably meant or all that are known."""
    with pytest.raises(InvalidDataError, match="no processor handles 'frist'; did you mean 'first'\\?"):
        REGISTRY.encode_input("frist", {})
    with pytest.raises(InvalidDataError, match="no processor handles 'xyz'; known: first, second"):
        REGISTRY.encode_input("xyz", {})


def test_output_is_checked_where_the_processor_is_known():
    """An output is checked against the type's processor; of an unknown type it need only be JSON."""
    assert REGISTRY.encode_output("second", [1]) == "[1]"
    with pytest.raises(InvalidDataError, match="the output of 'second' must be an array, not null"):
        REGISTRY.encode_output("second", None)
    assert REGISTRY.encode_output("unknown", None) == "null"
    with pytest.raises(InvalidDataError, match="the output of 'unknown' is not JSON"):
        REGISTRY.encode_output("unknown", object())


def test_without_processors_everything_is_accepted():
    """Where no processors are known, every type and every JSON value is accepted."""
    empty = Registry()
    assert empty.encode_input("anything", [1], starts_chain=True) == "[1]"
    assert empty.encode_output("anything", None) == "null"
    assert len(empty) == 0
    with pytest.raises(InvalidDataError, match="the input of 'anything' is not JSON"):
        empty.encode_input("anything", object())


def test_registry_is_a_mapping():
    """A registry is a mapping from types to processors."""
    assert dict(REGISTRY) == {"first": first, "second": second}
    assert "first" in REGISTRY
    assert "third" not in REGISTRY
