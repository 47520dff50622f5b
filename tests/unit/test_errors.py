"""The tree of errors is the one that is drawn, and the package offers what it says."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys

import pytest

import jobctl
from jobctl import errors

_LINE = re.compile(r"^ {4}( *)(\w+Error) +(\d+)  \S", re.MULTILINE)


def drawn_tree():
    path: list[str] = []
    for indent, name, code in _LINE.findall(errors.__doc__):
        depth = len(indent) // 2
        del path[depth:]
        yield name, path[-1] if path else "Exception", int(code)
        path.append(name)


def test_tree_of_errors_is_as_drawn():
    """The module's docstring draws exactly its classes, with their bases and exit codes."""
    drawn = list(drawn_tree())
    real = [
        (name, kind.__base__.__name__, kind.exit_code)
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and issubclass(kind, errors.JobctlError)
    ]
    assert sorted(drawn) == sorted(real)
    assert len(drawn) == len(set(drawn)) > 15


def test_exit_codes_are_the_documented_ones():
    """The exit codes in use are the ones a script may rely on."""
    assert {code for _, _, code in drawn_tree()} == {1, 2, 3, 4, 5, 6, 8, 75, 124}


def test_facts_are_attributes():
    """What a caller can act on is an attribute, and details has it all for a machine."""
    error = errors.GuardError("moved on", chain_id="c", expected="a", current="b")
    assert str(error) == "moved on"
    assert error.details == {"chain_id": "c", "expected": "a", "current": "b"}
    assert errors.NotFoundError("none", id="x").details == {"id": "x"}


@pytest.mark.parametrize("name", jobctl.__all__)
def test_package_offers_what_it_names(name):
    """Every name in __all__ can be imported from the package, with a docstring."""
    assert inspect.getdoc(getattr(jobctl, name))


def test_unknown_name_of_the_package():
    """A name that the package does not have is an AttributeError, as with any module."""
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = jobctl.nonsense


def test_a_module_of_processors_imports_no_database():
    """Importing the package and a handler's tools loads neither SQLAlchemy nor a driver."""
    code = (
        "import sys; from jobctl import Job, processor, continue_with; "
        "print([each for each in ('sqlalchemy', 'psycopg', 'sqlite3', 'typer', 'rich') if each in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
