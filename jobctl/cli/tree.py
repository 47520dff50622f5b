"""A chain as a small tree: what ``show`` draws, the same text with and without colour."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from jobctl.cli.documents import iso, to_json
from jobctl.cli.hiding import error_of, input_of, output_of
from jobctl.cli.render import STYLES, plain, relative, said_line, what_changed
from jobctl.model import Act, AttemptError, Chain, ChainDetail, Job, Paused, Status

if TYPE_CHECKING:
    from rich.tree import Tree

SETTLING = {"complete", "continue", "cancel"}
"""The acts by which a job is settled."""

ACTS_SHOWN = 5
"""How many acts by hand are drawn, the latest; ``history`` has all."""

ERRORS_SHOWN = 3
"""How many of a job's errors are drawn, the latest; --json has all."""

Words = tuple[tuple[str, str], ...]
"""Pieces of a line, each with its style."""


@dataclass(frozen=True, slots=True)
class Node:
    """A line of the tree and what hangs under it."""

    words: Words
    children: Sequence[Node] = field(default_factory=tuple)


def chain_tree(detail: ChainDetail, now: datetime | None) -> Node:
    """The tree of a chain.

    Args:
        detail: The chain.
        now: The instant that a person sees times from; None: for scripts, times in UTC alone.
    """
    chain = detail.chain
    jobs = [_job_node(job, detail, now) for job in detail.jobs]
    waiting = [_dependent_node(job) for job in detail.dependents]
    if waiting:
        jobs.append(Node((("waited for by", "bold"),), waiting))
    others = [each for each in detail.history if each.action not in SETTLING]  # what settled a job stands beside it
    if others:
        jobs.append(Node((("by hand", "bold"),), [*_act_nodes(others, now)]))
    closed = "" if chain.closed_at is None else f", closed {_when(chain.closed_at, now)}"
    words = (
        *_headed(chain.type_name, chain.id, chain.status),
        *_paused(chain.paused),
        (f", started {_when(chain.created_at, now)}{closed}", ""),
    )
    return Node(words, jobs)


def _headed(type_name: str, id_: str, status: Status) -> Words:
    return ((plain(type_name), "bold"), (f" {id_} ", "dim"), (status.value, STYLES[status]))


def _paused(paused: Paused | None) -> Words:
    match paused:
        case None:
            return ()
        case Paused.CHAIN:
            return ((", paused", "yellow"),)
        case Paused.TYPE:
            return ((", its type is paused", "yellow"),)
    return ((", all types are paused", "yellow"),)


def _act_nodes(acts: Sequence[Act], now: datetime | None) -> Iterator[Node]:
    if len(acts) > ACTS_SHOWN:
        yield Node(((f"{len(acts) - ACTS_SHOWN} earlier acts", "dim"),))
    for act in acts[-ACTS_SHOWN:]:
        changed = what_changed(act, people=now is not None)
        yield Node(
            (
                (act.action, ""),
                (f" {_when(act.at, now)} by {plain(act.actor)}", "dim"),
                (f" ({plain(changed)})" if changed else "", "dim"),
                (f": {plain(act.note)}" if act.note else "", ""),
            )
        )


def _job_node(job: Job[Any], detail: ChainDetail, now: datetime | None) -> Node:
    number = ((f"{job.chain_index + 1} ", "dim"),)
    acts = [each for each in detail.history if each.job_id == job.id and each.action in SETTLING]
    act = acts[-1] if acts else None
    words = (*number, *_headed(job.type_name, job.id, job.status), *_settled_by(job, act))
    errors = [each for each in detail.errors if each.job_id == job.id]
    return Node(words, [Node(each) for each in _facts(job, errors, now)] + _blocker_nodes(job, detail))


def _settled_by(job: Job[Any], act: Act | None) -> Words:
    """Who settled the job, and why; or who holds it."""
    if job.status is Status.RUNNING:
        return ((f" by worker {plain(job.worker or '?')}", ""),)
    if not job.status.closed:
        return ()
    if job.completed_by is not None:
        return ((f" by worker {plain(job.completed_by)}", ""),)
    if act is None:
        return ((" by hand", ""),)
    note = f": {plain(act.note)}" if act.note else ""
    inside = act.details.get("worker")  # a command settled the job that it was run for
    how = "hand" if inside is None else f"the command of worker {plain(inside)}"
    return ((f" by {how}, {plain(act.actor)}{note}", ""),)


def _facts(job: Job[Any], errors: Sequence[AttemptError], now: datetime | None) -> Iterator[Words]:
    yield _times(job, now)
    if job.attempt:
        yield (("attempt " if job.status is Status.RUNNING else "attempts ", "dim"), (str(job.attempt), ""))
    if job.leased_until is not None:
        yield (("lease until ", "dim"), (_both(job.leased_until, now), ""))
    yield (("input ", "dim"), (plain(to_json(input_of(job))), ""))
    if job.status is Status.COMPLETED:
        yield (("output ", "dim"), (plain(to_json(output_of(job))), ""))
    if len(errors) > ERRORS_SHOWN:
        yield ((f"{len(errors) - ERRORS_SHOWN} earlier errors", "dim"),)
    for each in errors[-ERRORS_SHOWN:]:
        by = "" if each.worker is None else f", {plain(each.worker)}"
        said = f"error of attempt {each.attempt} "
        text = said_line(error_of(job, each.error) or "")
        yield ((said, "dim"), (text, "red"), (f" ({_when(each.at, now)}{by})", "dim"))


def _times(job: Job[Any], now: datetime | None) -> Words:
    words: list[tuple[str, str]] = [("created ", "dim"), (_both(job.created_at, None), "")]
    later = (job.scheduled_at - job.created_at).total_seconds() >= 1
    if later or job.status is Status.SCHEDULED:
        words += [(", due ", "dim"), (_both(job.scheduled_at, None if job.status.closed else now), "")]
    if job.completed_at is not None:
        words += [(", settled ", "dim"), (_both(job.completed_at, now), "")]
    return tuple(words)


def _when(instant: datetime, now: datetime | None) -> str:
    """An instant as a person sees it, or as a script does."""
    return _both(instant, None) if now is None else relative(instant, now)


def _both(instant: datetime, now: datetime | None) -> str:
    """An instant to the second, and for a person how far away it is."""
    text = iso(instant.replace(microsecond=0))
    return text if now is None else f"{text} ({relative(instant, now)})"


def _blocker_nodes(job: Job[Any], detail: ChainDetail) -> list[Node]:
    if not job.blocker_ids:
        return []
    said = "waits for" if job.status is Status.BLOCKED else "waited for"
    return [Node(((said, "bold"),), [_blocker_node(each, detail.blockers.get(each)) for each in job.blocker_ids])]


def _blocker_node(id_: str, chain: Chain | None) -> Node:
    return Node(((id_, "dim"),)) if chain is None else Node(_headed(chain.type_name, chain.id, chain.status))


def _dependent_node(job: Job[Any]) -> Node:
    of_chain = "" if job.chain_id == job.id else f" of {plain(job.chain_type)} {job.chain_id}"
    return Node((*_headed(job.type_name, job.id, job.status), (of_chain, "dim")))


def text_lines(node: Node) -> Iterator[str]:
    """The tree as text, one line per node however long."""
    yield "".join(text for text, _ in node.words)
    yield from _text_below(node.children, "")


def _text_below(nodes: Iterable[Node], indent: str) -> Iterator[str]:
    nodes = list(nodes)
    for place, node in enumerate(nodes):
        is_last = place == len(nodes) - 1
        yield f"{indent}{'└── ' if is_last else '├── '}{''.join(text for text, _ in node.words)}"
        yield from _text_below(node.children, indent + ("    " if is_last else "│   "))


def rich_tree(node: Node) -> Tree:
    """The tree for a terminal, whose lines fold under their own beginning."""
    from rich.text import Text
    from rich.tree import Tree

    def label(of: Node) -> Text:
        return Text.assemble(*of.words, overflow="fold")

    def grow(tree: Tree, children: Iterable[Node]) -> Tree:
        for each in children:
            grow(tree.add(label(each)), each.children)
        return tree

    return grow(Tree(label(node), guide_style="dim"), node.children)
