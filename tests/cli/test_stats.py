"""Numbers on the command line: tables, lines, documents and metrics."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from prometheus_client import parser
from prometheus_client.core import Metric
from support import Result

from jobctl import Client
from jobctl.cli import prometheus
from jobctl.cli.numbers import duration_cell, rate_cell
from jobctl.durations import BOUNDS, Durations
from jobctl.ids import new_id
from jobctl.stats import Worked
from jobctl.storage import tallying
from jobctl.storage.tables import pause, worker

HOSTILE = 'a"type"\\n'
ONE = Worked(5, 2, 1, 4, 1, 6.25, Durations({0.001: 6, 0.0013: 1, 1.0: 3, 180.0: 2}))


@pytest.fixture
def filled(sqlite_url: str) -> str:
    """A database with open jobs of two types, of which workers have done something."""
    client = Client(sqlite_url)
    client.start("resize")
    client.start("resize", after="2h")
    with client.settle(client.start(HOSTILE).id) as step:
        step.complete()
    store = client.store
    with store.transaction() as conn:
        at = tallying.clock(store, conn)
        for ago in (timedelta(0), timedelta(hours=3), timedelta(days=5)):
            minute = (at - ago).replace(second=0, microsecond=0)
            tallying.write(store, conn, new_id(), {minute: {"resize": ONE, HOSTILE: ONE}})
        conn.execute(sa.insert(pause).values(type_name=HOSTILE, at=at, actor="me", note="why"))
        for name, ago in (("w1", timedelta(0)), ("w2", timedelta(minutes=5))):
            conn.execute(
                sa.insert(worker).values(
                    id=new_id(),
                    name=name,
                    host="h",
                    pid=7,
                    version="1",
                    types="[]",
                    concurrency=10,
                    running=3,
                    stopping=0,
                    started_at=at - ago,
                    seen_at=at - ago,
                    beat_seconds=5.0,
                )
            )
    client.close()
    return sqlite_url


@pytest.fixture
def stats(filled: str, call: Callable[..., Result]) -> Callable[..., Result]:
    """Runs ``stats`` on it."""

    def run(*args: str) -> Result:
        return call("stats", "--database", filled, *args)

    return run


def test_lines(stats: Callable[..., Result]):
    """In a pipe every number is a line of type, name and value, whatever the type's name has in it."""
    lines = [line.split("\t") for line in stats("--window", "5m").lines]
    assert all(len(each) == 3 for each in lines)
    found = {(type_name, name): value for type_name, name, value in lines}
    assert len(found) == len(lines)
    assert found["resize", "ready"] == found["resize", "scheduled"] == "1"
    assert re.fullmatch(r"\d{4}-.*Z", found["resize", "ready.oldest_at"])
    assert (found["resize", "failed"], found["resize", "failed.oldest_at"]) == ("0", "-")
    assert (found["resize", "5m.completed"], found["resize", "5m.attempts"]) == ("5", "12")
    assert (found[HOSTILE, "paused"], found[HOSTILE, "5m.by_hand.complete"]) == ("1", "1")
    assert found["resize", "5m.by_hand.cancel"] == "0"


def test_document(stats: Callable[..., Result]):
    """The document has the same numbers; windows may be repeated or given with commas."""
    document = stats("--json", "--window", "5m,1h", "--window", "2d").json
    assert [each["window"] for each in document["windows"]] == ["5m", "1h", "2d"]
    assert [(each["name"], each["note"]) for each in document["paused"]] == [(HOSTILE, "why")]
    (resize,) = [each for each in document["types"] if each["type"] == "resize"]
    assert [each["attempts"] for each in resize["done"]] == [12, 12, 24]
    assert resize["ever"]["attempts"] == 36
    assert resize["open"]["ready"]["count"] == 1
    assert 0.00075 < resize["ever"]["p50"] <= 0.001
    assert stats("--type", "resize", "--json", "--window", "5m,1h", "--window", "2d").json["types"] == [
        {
            **resize,
            "done": [{**each, "per_second": pytest.approx(each["per_second"], rel=0.3)} for each in resize["done"]],
        }
    ]


def test_nothing(call: Callable[..., Result]):
    """Of an empty database there are no lines, an empty document, and metrics of no type."""
    assert call("stats").out == ""
    assert call("stats", "--json").json["types"] == []
    assert "jobctl_workers" in call("stats", "--prometheus").out


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--window", "1s"], "out of range: 1m to 2d"),
        (["--window", "often"], "'often' is not a duration"),
        (["--window", ""], "--window is empty"),
        (["--json", "--prometheus"], "exclude each other"),
    ],
)
def test_refused(args: list[str], says: str, call: Callable[..., Result]):
    """What cannot be counted is a usage error."""
    result = call("stats", *args)
    assert (result.code, result.out) == (2, "")
    assert says in result.err


# --- on a terminal ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [80, 120])
def test_tables(filled: str, on_terminal: Callable[..., str], columns: int):
    """On a terminal there are two tables that fit: what is open, with ages, and what was done; and what is paused."""
    lines = on_terminal("stats", "--no-color", "--database", filled, columns=columns).splitlines()
    assert max(map(len, lines)) <= columns
    assert lines[0].split() == ["TYPE", "READY", "SCHEDULED", "RUNNING", "BLOCKED", "FAILED", "PAUSED"]
    (row,) = [line for line in lines[:3] if line.startswith("resize")]
    assert re.search(r"resize +1 \(\w+\) +1 \(in (2h|1h59m)\) +- +- +-", row)
    assert lines[1].rstrip().endswith("yes")
    heading = lines.index("")
    assert lines[heading + 1].split()[:4] == ["TYPE", "LAST", "DONE", "RATE"]
    assert any(re.search(r"^resize +5m +7 .*1\.0s$|^resize +5m +7 ", line) for line in lines)
    assert any(line.startswith("all types") for line in lines)
    assert lines[-1].startswith(f"{HOSTILE} is paused, ")
    assert lines[-1].endswith("by me: why")


@pytest.mark.parametrize(
    ("per_second", "shown"),
    [
        (0, "-"),
        (1234.5, "1,234/s"),
        (12, "12/s"),
        (2.25, "2.2/s"),
        (0.5, "30/min"),
        (0.02, "1.2/min"),
        (0.001, "3.6/h"),
    ],
)
def test_rates(per_second: float, shown: str):
    """A rate is told in the unit that makes it one or more."""
    assert rate_cell(per_second) == shown


def test_durations():
    """No duration is not the same as a short one."""
    assert (duration_cell(None), duration_cell(0.0001), duration_cell(1.5)) == ("-", "<1ms", "1.5s")


# --- Prometheus ------------------------------------------------------------------------------------------------------


def families(text: str) -> dict[str, Metric]:
    """The metrics, read by a parser that forgives nothing that matters; each has help, a kind and no series twice."""
    assert text.endswith("\n")
    found = list(parser.text_string_to_metric_families(text))
    assert len({each.name for each in found}) == len(found)
    series = [(sample.name, *sorted(sample.labels.items())) for each in found for sample in each.samples]
    assert len(set(series)) == len(series)
    for each in found:
        assert each.documentation
        assert each.type in {"gauge", "counter", "histogram"}
        assert all(sample.name.startswith(each.name) for sample in each.samples)
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert len(lines) == len(series)
    return {each.name: each for each in found}


def value(metric: Metric, suffix: str = "", **labels: str) -> float:
    (found,) = [each.value for each in metric.samples if each.name == metric.name + suffix and each.labels == labels]
    return float(found)


def test_metrics(stats: Callable[..., Result]):
    """Gauges are what is, counters what ever was; labels with quotes and backslashes come through."""
    found = families(stats("--prometheus").out)
    assert value(found["jobctl_jobs"], type="resize", status="ready") == 1
    assert value(found["jobctl_jobs"], type=HOSTILE, status="failed") == 0
    assert value(found["jobctl_paused"], type=HOSTILE) == 1
    assert 0 < value(found["jobctl_oldest_job_age_seconds"], type="resize", status="ready") < 60
    attempts = found["jobctl_attempts"]
    assert attempts.type == "counter"
    ends = {"completed": 15, "continued": 6, "rescheduled": 3, "error": 12}
    assert {each: value(attempts, "_total", type=HOSTILE, result=each) for each in ends} == ends
    assert value(found["jobctl_jobs_failed"], "_total", type="resize") == 3
    assert value(found["jobctl_acts"], type=HOSTILE, action="complete", window="5m") == 1
    assert value(found["jobctl_workers"], state="alive") == value(found["jobctl_workers"], state="silent") == 1
    assert (value(found["jobctl_worker_slots"]), value(found["jobctl_worker_slots_used"])) == (10, 3)


def test_escapes():
    """A label may have anything in it, a line's end too."""
    (line,) = (
        f"a{prometheus._labels({'type': each})} 1\n"
        for each in [
            '\\n\n"',
        ]
    )
    assert line == 'a{type="\\\\n\\n\\""} 1\n'
    (found,) = parser.text_string_to_metric_families(line)
    assert found.samples[0].labels == {"type": '\\n\n"'}


def test_histogram(stats: Callable[..., Result]):
    """Buckets are cumulative and end with +Inf, which is the count; their bounds are some of those that are counted."""
    histogram = families(stats("--prometheus").out)["jobctl_attempt_duration_seconds"]
    buckets = [
        (float(each.labels["le"]), each.value)
        for each in histogram.samples
        if each.name.endswith("_bucket") and each.labels["type"] == "resize"
    ]
    assert buckets == sorted(buckets)
    assert {f"{bound:g}" for bound, _ in buckets} <= {f"{bound:g}" for bound in BOUNDS}
    counts = dict(buckets)
    assert (counts[0.001], counts[0.0032], counts[1.0], counts[320.0], counts[float("inf")]) == (18, 21, 30, 36, 36)
    assert value(histogram, "_count", type="resize") == 36
    assert value(histogram, "_sum", type="resize") == 18.75


def test_counters_never_shrink(stats: Callable[..., Result], filled: str):
    """Summing up old numbers leaves every counter as it was."""

    def counters() -> list[str]:
        return [
            line for line in stats("--prometheus").lines if re.match(r"jobctl_\w+_(total|bucket|sum|count)\b", line)
        ]

    before = counters()
    assert len(before) == 2 * (4 + 1 + len(prometheus.BUCKETS) + 2)
    with Client(filled) as client:
        tallying.sum_up(client.store, new_id())
    assert counters() == before


def test_page_lists_the_metrics(stats: Callable[..., Result]):
    """The guide names every metric, with its kind."""
    page = (Path(__file__).parents[2] / "docs" / "guides" / "numbers.md").read_text(encoding="utf-8")
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", stats("--prometheus").out, re.MULTILINE))
    for name, kind in kinds.items():
        assert re.search(rf"^\| .*`{name}`.* \| {kind} \|", page, re.MULTILINE), name
