"""What ``demo`` plays: the stories of four chains, and how they must end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

WORKER = "demo-worker"


@dataclass(frozen=True, slots=True)
class Logged:
    """A step of a story: the worker's log has a line with this word about the chain's current job."""

    word: str


@dataclass(frozen=True, slots=True)
class Story:
    """What is done to a chain, and how it must end.

    Attributes:
        name: Its name in the document.
        title: Its name for people.
        about: What happens in it.
        steps: Command lines, in which ``$id`` is the chain, and what the worker logs between them.
        completed_by: Who settled each job, first to last; None: a person.
        output: The chain's output.
    """

    name: str
    title: str
    about: str
    steps: tuple[str | Logged, ...]
    completed_by: tuple[str | None, ...]
    output: Any


STORIES = (
    Story(
        name="approved",
        title="Approved by hand",
        about="It would reject itself in two hours. A person approves it, and the worker goes on.",
        steps=(
            """jobctl start await-approval --input '{"requestId":"1"}' --after 2h""",
            "jobctl complete $id --expect await-approval --continue process-request",
            "jobctl wait $id --timeout 30s",
            Logged("completed"),
        ),
        completed_by=(None, WORKER),
        output={"processed": True},
    ),
    Story(
        name="rejected",
        title="Rejected by hand",
        about="A person says no: the chain ends with that, and the history knows why.",
        steps=(
            """jobctl start await-approval --input '{"requestId":"2"}' --after 2h""",
            """jobctl complete $id --expect await-approval --output '{"rejected":true}' --note 'not in this quarter'""",
            "jobctl show $id",
        ),
        completed_by=(None,),
        output={"rejected": True},
    ),
    Story(
        name="left_alone",
        title="Left alone",
        about="Nobody answers in time: the worker runs it, and it rejects itself.",
        steps=(
            """jobctl start await-approval --input '{"requestId":"3"}' --after 500ms""",
            "jobctl wait $id --timeout 30s",
            Logged("completed"),
        ),
        completed_by=(WORKER,),
        output={"rejected": True},
    ),
    Story(
        name="settled_meanwhile",
        title="Settled by hand while the worker is at it",
        about="The worker would need a minute. A person is quicker: the worker notices, stops, and writes nothing.",
        steps=(
            """jobctl start await-approval --input '{"requestId":"4","steps":600}' --after 2h""",
            "jobctl complete $id --expect await-approval --continue process-request",
            Logged("started"),
            """jobctl complete $id --expect process-request --output '{"processed":"by hand"}'""",
            Logged("already_completed"),
            "jobctl show $id",
        ),
        completed_by=(None, None),
        output={"processed": "by hand"},
    ),
)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a story ended.

    Attributes:
        story: Which.
        id: Its chain; None: it was not even started.
        status: The chain's status, then.
        completed_by: Who settled each job.
        output: The chain's output.
        wrong: What is not as told; None when everything is.
    """

    story: Story
    id: str | None
    status: str | None
    completed_by: tuple[str | None, ...]
    output: Any
    wrong: str | None
