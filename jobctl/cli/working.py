"""What ``worker`` and ``run`` share: modules and commands that handle jobs, a log, and an end by signals."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import sysconfig
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jobctl.cli import settings
from jobctl.cli.config import PROFILE_VARIABLE
from jobctl.cli.documents import handled_document
from jobctl.cli.programs import Program, exec_arguments, size_argument, timeout_argument
from jobctl.cli.run import Run
from jobctl.cli.supervision import Supervisor
from jobctl.cli.worker_log import worker_log
from jobctl.errors import UsageError
from jobctl.events import Event, Told
from jobctl.forking import in_forked_children

if TYPE_CHECKING:
    from jobctl.claiming import Claim
    from jobctl.options import WorkerOptions
    from jobctl.processes import Commands
    from jobctl.processors import AnyProcessor
    from jobctl.storage.store import Store
    from jobctl.worker import Worker

OTHER_CONNECTIONS = 4
"""Besides those of handlers: for claiming, for settling, for renewing leases, and for signs of life."""

SWITCH_SECONDS = 0.001
"""How long a handler that computes keeps other threads waiting, a fifth of Python's own: the thread that talks to the
database waits so long after each statement. With handlers that do nothing, a tenth more jobs are done."""

STOPPING = (signal.SIGTERM, signal.SIGINT)

LAST_SECONDS = 8.0
"""How long a worker may take to end beside the time that its handlers have: longer than it ever does where the database
answers. Where it does not, the worker would wait for that."""

GIVEN_UP = b"jobctl: the database gives no answer: what runs is left, until its lease runs out\n"

END = 0
"""Where the numbers of signals are read: no more will come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """With what jobs are worked, as the options say.

    Attributes:
        processors: ``--processors``.
        exec_: ``--exec``.
        shell: ``--exec-shell``.
        timeout: ``--exec-timeout``.
        max_output: ``--exec-max-output``.
        on_failed: ``--on-failed``.
        log_format: ``--log-format``.
    """

    processors: list[str] | None
    exec_: list[str] | None
    shell: bool
    timeout: str | None
    max_output: str | None
    on_failed: str | None
    log_format: str | None

    def programs(self, run: Run) -> dict[str, Program]:
        """The commands that handle types: those of the options, or else of the configuration."""
        if self.shell and not self.exec_:
            raise UsageError("--exec-shell is about --exec: give it too, or leave it out")
        timeout = timeout_argument("--exec-timeout", self.timeout)
        max_output = size_argument("--exec-max-output", self.max_output)
        chosen = exec_arguments(self.exec_, shell=self.shell) if self.exec_ else run.setting(settings.EXEC)
        if not chosen and (timeout, max_output) != (None, None):
            raise UsageError("--exec-timeout and --exec-max-output are about commands: give --exec too")
        return {name: each.within(timeout, max_output) for name, each in chosen.items()}

    def hook(self, run: Run) -> Program | None:
        """What to run for a job that has failed: what the option says, or else the configuration."""
        return run.setting(settings.ON_FAILED, self.on_failed)

    def log(self, run: Run, *, json: bool) -> str:
        """How to log: as the option says, as JSON where a document is asked for, or else as the configuration says."""
        return run.setting(settings.LOG_FORMAT, self.log_format or ("json" if json else None))


def work(
    run: Run,
    means: Means,
    options: WorkerOptions,
    *,
    claim: Claim | None = None,
    echo: Callable[[bytes], object] | None = None,
    heard: Callable[[Event], None] = lambda _: None,
    left_out: Collection[Told] = (),
    json: bool = False,
) -> int | None:
    """Have a worker work until it ends.

    Args:
        run: The command.
        means: With what.
        options: How.
        claim: Takes jobs, if it is not the store that does.
        echo: Called with what commands write to stderr.
        heard: Called with what happens, besides the log.
        left_out: What the log says nothing of.
        json: Stdout is for a document alone: what handlers print goes to stderr.

    Returns:
        The first signal that it was stopped by, if one came.
    """
    from jobctl.cli.hook import FailureHook
    from jobctl.client import Client
    from jobctl.pool import MOST_TRANSACTIONS
    from jobctl.processes import Commands
    from jobctl.worker import Worker

    log = means.log(run, json=json)
    programs, hook = means.programs(run), means.hook(run)
    for each in (*programs.values(), *([] if hook is None else [hook])):
        each.check()
    pool_size = min(options.concurrency, MOST_TRANSACTIONS) + OTHER_CONNECTIONS
    with ExitStack() as open_:  # what is opened last is closed first
        if json:
            open_.enter_context(redirect_stdout(sys.stderr))
        environment: dict[str, str] = {}
        commands = open_.enter_context(closing(Commands(echo)))
        registry = run.registry(means.processors, command_processors(programs, commands, environment))
        if not registry:
            raise UsageError(
                "a worker needs processors: give --processors MOD or --exec TYPE=COMMAND, "
                "or 'processors' or [exec] in jobctl.toml"
            )
        # only now: what is wrong with the call is told in one line
        store = open_.enter_context(run.store(pool_size=pool_size, told=log == "json"))
        run.say_place()
        environment |= environment_of_commands(run, store)
        tell = open_.enter_context(worker_log(run, log, store.label, live=claim is None))
        listening = [heard]
        if hook is not None:
            others = open_.enter_context(closing(Commands()))
            listening.append(open_.enter_context(FailureHook(hook.command, others, Client(store), environment, tell)))

        def happened(event: Event) -> None:
            if event.told not in left_out:
                tell(event)
            for each in listening:
                each(event)

        supervisor = Supervisor.of_environment()
        working = Worker(store, registry, options, supervisor.hearing(happened), claim, cut_off=commands.close)
        sys.setswitchinterval(SWITCH_SECONDS)
        with _stopped_by_signals(working, options.shutdown_timeout) as received, supervisor.watching(working):
            working.run()
    return received[0] if received else None


def command_processors(
    programs: Mapping[str, Program], commands: Commands, environment: Mapping[str, str]
) -> Sequence[AnyProcessor]:
    """The processors of types that commands handle."""
    from jobctl.executing import command_processor

    return [
        command_processor(
            name,
            each.command,
            commands,
            handled_document,
            environment=environment,
            max_attempts=each.max_attempts,
            where=each.where,
        )
        for name, each in programs.items()
    ]


def environment_of_commands(run: Run, store: Store) -> dict[str, str]:
    """What commands are told, so that the jobctl that they call is ours and works on our database.

    It goes through the environment, which only this user and root can read, and never through arguments.
    """
    found = {"JOBCTL_DATABASE": store.label if store.dialect == "sqlite" else run.database}
    if run.common.config is not None:
        found["JOBCTL_CONFIG"] = str(Path(run.common.config).expanduser().absolute())
    if run.configuration.profile is not None:
        found[PROFILE_VARIABLE] = run.configuration.profile
    if shutil.which("jobctl") is None:  # it was called by its path, as services are
        found["PATH"] = os.pathsep.join(filter(None, [os.environ.get("PATH"), sysconfig.get_path("scripts")]))
    return found


@contextmanager
def _stopped_by_signals(working: Worker, seconds: float) -> Iterator[list[int]]:
    """Stop the worker at SIGTERM and SIGINT; gives the list of those that came.

    A thread heeds them. Python runs a signal's own handler on the main thread, which learns of a signal that comes just
    before it begins to wait only when it has waited: with the worker, that may be long.

    Args:
        working: The worker.
        seconds: How long its handlers have after the first signal.
    """
    received: list[int] = []
    last: list[threading.Timer] = []
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    before = signal.set_wakeup_fd(writable)  # first: with the handlers alone, a signal would be lost
    handlers = {number: signal.signal(number, lambda *_: None) for number in STOPPING}

    def give_up() -> None:
        os.write(sys.stderr.fileno(), GIVEN_UP)  # whoever has the stream may be what does not end
        os._exit(128 + received[0])

    def heed() -> None:
        for number in iter(lambda: os.read(readable, 1)[0], END):
            if number in STOPPING:
                received.append(number)
                working.stop()
                timer = threading.Timer(LAST_SECONDS + (seconds if len(received) == 1 else 0.0), give_up)
                timer.daemon = True
                timer.start()
                last.append(timer)

    def forget() -> None:
        """What is sent to a child that a handler forked is meant for that child, which is to be as any other."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.close(writable)
        os.close(readable)

    unforked = in_forked_children(forget)
    heeding = threading.Thread(target=heed, name="jobctl-signals", daemon=True)
    heeding.start()
    try:
        yield received
    finally:
        signal.set_wakeup_fd(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        unforked()
        os.write(writable, bytes([END]))
        heeding.join()
        for timer in last:
            timer.cancel()
        os.close(writable)
        os.close(readable)
