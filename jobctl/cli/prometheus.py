"""Numbers in the text format of Prometheus."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from jobctl import __version__
from jobctl.durations import BOUNDS, Durations
from jobctl.model import Status
from jobctl.stats import Activity, Stats

BUCKETS: Final = (*BOUNDS[8:-8:4], math.inf)
"""Two bounds to a decade, each one of those that durations are counted by: the counts are exact."""

RESULTS: Final = ("completed", "continued", "rescheduled", "errors")

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Sample:
    """A value.

    Attributes:
        labels: What it is of.
        value: A number.
        suffix: What is added to the metric's name, for a part of a histogram.
    """

    labels: Labels
    value: float
    suffix: str = ""


def exposition(stats: Stats, activity: Activity) -> str:
    """The metrics, each with its help and its kind; every type has all series, so that none comes and goes."""
    lines: list[str] = []
    for name, kind, what, samples in _metrics(stats, activity):
        lines += [f"# HELP {name} {_escaped_help(what)}", f"# TYPE {name} {kind}"]
        lines += [f"{name}{each.suffix}{_labels(each.labels)} {_number(each.value)}" for each in samples]
    return "".join(f"{line}\n" for line in lines)


def _metrics(stats: Stats, activity: Activity) -> Iterator[tuple[str, str, str, list[Sample]]]:
    types = stats.types
    yield "jobctl_info", "gauge", "The version of jobctl that wrote this.", [Sample({"version": __version__}, 1)]
    yield (
        "jobctl_jobs",
        "gauge",
        "Jobs that are not closed, by type and status.",
        [
            Sample({"type": each.type_name, "status": status.value}, waiting.count)
            for each in types
            for status, waiting in each.open.items()
        ],
    )
    yield (
        "jobctl_oldest_job_age_seconds",
        "gauge",
        "How long the oldest job has been ready, has run, or has waited for a person or for others; 0: there is none.",
        [
            Sample(
                {"type": each.type_name, "status": status.value},
                max(0.0, (stats.at - waiting.oldest_at).total_seconds()) if waiting.oldest_at else 0,
            )
            for each in types
            for status, waiting in each.open.items()
            if status is not Status.SCHEDULED
        ],
    )
    yield (
        "jobctl_paused",
        "gauge",
        "Whether a type is paused, by itself or with all others.",
        [Sample({"type": each.type_name}, int(each.paused)) for each in types],
    )
    yield (
        "jobctl_paused_chains",
        "gauge",
        "Paused chains that are at a job of the type.",
        [Sample({"type": each.type_name}, each.paused_chains) for each in types],
    )
    yield (
        "jobctl_attempts_total",
        "counter",
        "Attempts of workers, by type and by how they ended; those of workers that died are errors.",
        [
            Sample({"type": each.type_name, "result": result.removesuffix("s")}, getattr(each.ever, result))
            for each in types
            for result in RESULTS
        ],
    )
    yield (
        "jobctl_jobs_failed_total",
        "counter",
        "Jobs whose attempts were used up.",
        [Sample({"type": each.type_name}, each.ever.failed) for each in types],
    )
    yield (
        "jobctl_attempt_duration_seconds",
        "histogram",
        "How long attempts took that their workers saw the end of.",
        [
            sample
            for each in types
            for sample in _histogram({"type": each.type_name}, each.ever.durations, each.ever.seconds)
        ],
    )
    yield (
        "jobctl_acts",
        "gauge",
        "What was done by hand within the window, by type and action.",
        [
            Sample({"type": each.type_name, "action": action, "window": done.window.label}, count)
            for each in types
            for done in each.done
            for action, count in sorted(done.by_hand.items())
        ],
    )
    yield from _worker_metrics(activity)


def _worker_metrics(activity: Activity) -> Iterator[tuple[str, str, str, list[Sample]]]:
    alive = [each for each in activity.workers if each.lives(activity.at)]
    silent = len(activity.workers) - len(alive)
    yield (
        "jobctl_workers",
        "gauge",
        "Workers that are registered: alive, or silent for longer than they should be.",
        [Sample({"state": "alive"}, len(alive)), Sample({"state": "silent"}, silent)],
    )
    slots = sum(each.concurrency for each in alive)
    yield "jobctl_worker_slots", "gauge", "How many jobs the workers alive run at once.", [Sample({}, slots)]
    used = sum(each.running for each in alive)
    yield "jobctl_worker_slots_used", "gauge", "How many jobs they run now.", [Sample({}, used)]


def _histogram(labels: Labels, durations: Durations, seconds: float) -> Iterable[Sample]:
    for bound in BUCKETS:
        yield Sample({**labels, "le": _number(bound)}, durations.within(bound), "_bucket")
    yield Sample(labels, round(seconds, 6), "_sum")
    yield Sample(labels, durations.count, "_count")


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _escaped_help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf"
    return f"{value:.15g}"
