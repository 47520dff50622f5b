"""What PostgreSQL and SQLite spell differently: column types and small SQL elements with two compilers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    FromClause,
    Text,
    Uuid,
    and_,
    bindparam,
    column,
    literal_column,
    select,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import BindParameter, ColumnElement
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType, TypeDecorator, TypeEngine

EPOCH_JULIAN_DAY = 2440587.5


class Timestamp(TypeDecorator[datetime]):
    """An aware datetime in UTC: timestamptz on PostgreSQL, whole milliseconds since 1970 on SQLite."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(BigInteger())
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None or dialect.name != "sqlite":
            return value
        return round(value.timestamp() * 1000)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if dialect.name == "sqlite":
            return datetime.fromtimestamp(value / 1000, UTC)
        return value.astimezone(UTC)  # type: ignore[no-any-return]


class Id(TypeDecorator[str]):
    """A UUID as text: uuid on PostgreSQL, its 36 characters on SQLite."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(Text())
        return dialect.type_descriptor(Uuid(as_uuid=False))

    def column_expression(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return as_text(column)  # the driver would make each a UUID, which takes longer than all else of a row


class JsonText(TypeDecorator[str]):
    """JSON as the text it was given as: json on PostgreSQL, text on SQLite. Values are str, never decoded here."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(Text())
        return dialect.type_descriptor(JSON())

    def bind_processor(self, dialect: Dialect) -> None:
        return None

    def result_processor(self, dialect: Dialect, coltype: object) -> None:
        return None

    def column_expression(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return as_text(column)


class as_text(FunctionElement[str]):  # noqa: N801 - reads as the SQL function it stands for
    """The text of a UUID or of JSON, which the driver would otherwise decode."""

    type = Text()
    inherit_cache = True


@compiles(as_text, "postgresql")
def _as_text_postgresql(element: as_text, compiler: SQLCompiler, **kw: Any) -> str:
    return f"CAST({compiler.process(element.clauses, **kw)} AS TEXT)"


@compiles(as_text, "sqlite")
def _as_text_sqlite(element: as_text, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)


class as_json(FunctionElement[str]):  # noqa: N801 - as above
    """JSON from its text, as a value for a JsonText column."""

    type: TypeEngine[Any] = NullType()  # no coercion is wanted
    inherit_cache = True


@compiles(as_json, "postgresql")
def _as_json_postgresql(element: as_json, compiler: SQLCompiler, **kw: Any) -> str:
    return f"CAST({compiler.process(element.clauses, **kw)} AS JSON)"


@compiles(as_json, "sqlite")
def _as_json_sqlite(element: as_json, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)


class now(FunctionElement[datetime]):  # noqa: N801 - as above
    """The database's clock at the start of the statement."""

    type = Timestamp()
    inherit_cache = True


@compiles(now, "postgresql")
def _now_postgresql(element: now, compiler: SQLCompiler, **kw: Any) -> str:
    return "statement_timestamp()"


_SQLITE_NOW = f"CAST(ROUND((julianday('now') - {EPOCH_JULIAN_DAY}) * 86400000) AS INTEGER)"


@compiles(now, "sqlite")
def _now_sqlite(element: now, compiler: SQLCompiler, **kw: Any) -> str:
    return _SQLITE_NOW


class later(FunctionElement[datetime]):  # noqa: N801 - as above
    """An instant plus a number of seconds, of which there may be a fraction."""

    type = Timestamp()
    inherit_cache = True


@compiles(later, "postgresql")
def _later_postgresql(element: later, compiler: SQLCompiler, **kw: Any) -> str:
    instant, seconds = (compiler.process(each, **kw) for each in element.clauses)
    return f"{instant} + make_interval(secs => CAST({seconds} AS double precision))"


@compiles(later, "sqlite")
def _later_sqlite(element: later, compiler: SQLCompiler, **kw: Any) -> str:
    instant, seconds = (compiler.process(each, **kw) for each in element.clauses)
    return f"{instant} + CAST(ROUND({seconds} * 1000) AS INTEGER)"


class seconds_until(FunctionElement[float]):  # noqa: N801 - as above
    """Seconds from the database's clock to an instant; negative once it has passed."""

    type: TypeEngine[Any] = NullType()  # no coercion is wanted
    inherit_cache = True


@compiles(seconds_until, "postgresql")
def _seconds_until_postgresql(element: seconds_until, compiler: SQLCompiler, **kw: Any) -> str:
    instant = compiler.process(element.clauses, **kw)
    return f"CAST(EXTRACT(EPOCH FROM {instant} - statement_timestamp()) AS double precision)"


@compiles(seconds_until, "sqlite")
def _seconds_until_sqlite(element: seconds_until, compiler: SQLCompiler, **kw: Any) -> str:
    instant = compiler.process(element.clauses, **kw)
    return f"(({instant}) - {_SQLITE_NOW}) / 1000.0"


class epoch(FunctionElement[float]):  # noqa: N801 - as above
    """The seconds from the beginning of 1970 to an instant: a driver makes a number sooner than a time with a zone."""

    type: TypeEngine[Any] = NullType()  # no coercion is wanted
    inherit_cache = True


@compiles(epoch, "postgresql")
def _epoch_postgresql(element: epoch, compiler: SQLCompiler, **kw: Any) -> str:
    return f"CAST(EXTRACT(EPOCH FROM {compiler.process(element.clauses, **kw)}) AS double precision)"


@compiles(epoch, "sqlite")
def _epoch_sqlite(element: epoch, compiler: SQLCompiler, **kw: Any) -> str:
    return f"({compiler.process(element.clauses, **kw)}) / 1000.0"


class instant(FunctionElement[datetime]):  # noqa: N801 - as above
    """The instant a number of seconds after the beginning of 1970."""

    type = Timestamp()
    inherit_cache = True


@compiles(instant, "postgresql")
def _instant_postgresql(element: instant, compiler: SQLCompiler, **kw: Any) -> str:
    return f"to_timestamp({compiler.process(element.clauses, **kw)})"


@compiles(instant, "sqlite")
def _instant_sqlite(element: instant, compiler: SQLCompiler, **kw: Any) -> str:
    return f"CAST(ROUND({compiler.process(element.clauses, **kw)} * 1000) AS INTEGER)"


class latest(FunctionElement[datetime]):  # noqa: N801 - as above
    """The latest of some instants; on PostgreSQL null ones are passed over, on SQLite they must not occur."""

    type = Timestamp()
    inherit_cache = True


@compiles(latest, "postgresql")
def _latest_postgresql(element: latest, compiler: SQLCompiler, **kw: Any) -> str:
    return f"GREATEST({compiler.process(element.clauses, **kw)})"


@compiles(latest, "sqlite")
def _latest_sqlite(element: latest, compiler: SQLCompiler, **kw: Any) -> str:
    return f"MAX({compiler.process(element.clauses, **kw)})"


class _Among(FunctionElement[Any]):
    """A column's value is one of those of a subquery. Arguments: the column, the subquery."""

    type: TypeEngine[Any] = NullType()  # a Boolean would be compared with 1 on SQLite, and lose its index
    inherit_cache = True


@compiles(_Among, "postgresql")
def _among_postgresql(element: _Among, compiler: SQLCompiler, **kw: Any) -> str:
    column, subquery = (compiler.process(each, **kw) for each in element.clauses)
    # An array, so that the planner counts on a few values and goes by the column's index. It does not know how
    # many rows a parameter makes, expects a hundred, and would rather scan a table of some thousand rows.
    return f"{column} = ANY (ARRAY{subquery})"


@compiles(_Among, "sqlite")
def _among_sqlite(element: _Among, compiler: SQLCompiler, **kw: Any) -> str:
    column, subquery = (compiler.process(each, **kw) for each in element.clauses)
    return f"{column} IN {subquery}"


def among(column: ColumnElement[Any], values: ColumnElement[Any]) -> ColumnElement[Any]:
    """The column's value is one of those in a column of ``rows``; its table is reached by an index."""
    return _Among(column, select(values).correlate(None).scalar_subquery())


class _Reached(_Among):
    """Says the same beside a join on that column, which SQLite does not need to be told."""

    inherit_cache = True


@compiles(_Reached, "sqlite")
def _reached_sqlite(element: _Reached, compiler: SQLCompiler, **kw: Any) -> str:
    return "TRUE"


def matching(column: ColumnElement[Any], value: ColumnElement[Any]) -> ColumnElement[Any]:
    """Joins a table to ``rows`` by a column's value; the table is reached by an index."""
    return and_(column == value, _Reached(column, select(value).correlate(None).scalar_subquery()))


class probed(FunctionElement[Any]):  # noqa: N801 - reads as the condition it is
    """A column has a value that another table's row has; the column's index is asked for each of those rows.

    PostgreSQL can neither hash nor merge by it. By an equation it does: where its statistics say that a table is
    empty, as they do of one that was, to read all of an index in its order counts as cheap as to ask it once.
    """

    type: TypeEngine[Any] = NullType()
    inherit_cache = True


@compiles(probed, "postgresql")
def _probed_postgresql(element: probed, compiler: SQLCompiler, **kw: Any) -> str:
    column, value = (compiler.process(each, **kw) for each in element.clauses)
    return f"{column} = ANY (ARRAY[{value}])"


@compiles(probed, "sqlite")
def _probed_sqlite(element: probed, compiler: SQLCompiler, **kw: Any) -> str:
    column, value = (compiler.process(each, **kw) for each in element.clauses)
    return f"{column} = {value}"


class unindexed(FunctionElement[Any]):  # noqa: N801 - as above
    """A column's value, of which no index is used: SQLite may take the wrong one, knowing little of what there is."""

    inherit_cache = True

    def __init__(self, column: ColumnElement[Any]) -> None:
        super().__init__(column)
        self.type = column.type


@compiles(unindexed, "postgresql")
def _unindexed_postgresql(element: unindexed, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)


@compiles(unindexed, "sqlite")
def _unindexed_sqlite(element: unindexed, compiler: SQLCompiler, **kw: Any) -> str:
    return f"+{compiler.process(element.clauses, **kw)}"


class _Rows(FunctionElement[Any]):
    """A table made of one JSON parameter: an array of objects. Arguments: the parameter, then names and types."""

    inherit_cache = True


_POSTGRESQL_TYPES = {"id": "uuid", "text": "text", "int": "integer", "big": "bigint", "number": "double precision"}


def _row_columns(element: _Rows) -> tuple[str, list[tuple[str, str]]]:
    parameter, *declared = list(element.clauses)
    pairs = [str(each.name).split(" ") for each in declared]
    return parameter, [(name, kind) for name, kind in pairs]  # type: ignore[return-value]


@compiles(_Rows, "postgresql")
def _rows_postgresql(element: _Rows, compiler: SQLCompiler, **kw: Any) -> str:
    parameter, columns = _row_columns(element)
    kw.pop("asfrom", None)
    source = compiler.process(parameter, **kw)  # type: ignore[arg-type]
    declared = ", ".join(f"{name} {_POSTGRESQL_TYPES[kind]}" for name, kind in columns)
    return f"(SELECT * FROM json_to_recordset(CAST({source} AS JSON)) AS r({declared}))"


@compiles(_Rows, "sqlite")
def _rows_sqlite(element: _Rows, compiler: SQLCompiler, **kw: Any) -> str:
    parameter, columns = _row_columns(element)
    kw.pop("asfrom", None)
    source = compiler.process(parameter, **kw)  # type: ignore[arg-type]
    read = ", ".join(f"value ->> '{name}' AS {name}" for name, _ in columns)
    return f"(SELECT {read} FROM json_each({source}))"


def rows(parameter: str, **columns: str) -> FromClause:
    """A table made of one parameter, the JSON text of an array of objects: any number of rows, one round trip.

    A payload goes in as a string that holds JSON, so that PostgreSQL never looks into it.

    Args:
        parameter: The parameter's name; its value is JSON text.
        columns: Their names and kinds: id, text, int, big (a large int), number (of seconds).
    """
    declared: list[ColumnElement[Any]] = [literal_column(f"{name} {kind}") for name, kind in columns.items()]
    source: BindParameter[str] = bindparam(parameter, type_=Text())
    made = _Rows(source, *declared)
    return made.table_valued(*[column(name) for name in columns], name=parameter)
