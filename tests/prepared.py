"""Processes of jobctl that begin where its imports end.

Most of what a short command costs is importing what it is made of. So one process imports that once, and is forked for
each command: what runs then is a process as any other, with its own id, streams, environment, folder and session, which
can be signalled and killed. What Python itself does at its start (options, locale, warnings) is not done anew: tests of
that start an interpreter, as `support.jobctl_command` says.

A client connects to the server's socket, sends what is to be run with its three streams, and is told the process's id
and, when it ends, how. This file is three programs: ``server SOCKET``, ``shim SOCKET ARGUMENT…`` (a command that is in
the place of ``jobctl``, for shells), and the module that the tests import.
"""

import os
import signal
import socket
import struct
import sys

NUMBER = struct.Struct("!i")
SIZE = struct.Struct("!q")
STREAMS = ((0, "r", "strict", -1), (1, "w", "strict", -1), (2, "w", "backslashreplace", 1))

# --- the client ------------------------------------------------------------------------------------------------------


class Forked:
    """A process of jobctl, as `subprocess.Popen` would have it."""

    def __init__(self, path, arguments, *, env, cwd, streams):
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(path)
        # a literal, for the shim shall import little
        request = repr((list(map(str, arguments)), dict(env), str(cwd))).encode("ascii", "backslashreplace")
        socket.send_fds(self._connection, [SIZE.pack(len(request))], streams)
        self._connection.sendall(request)
        self.returncode = None
        self.pid = self._told(None)

    def poll(self):
        """How it ended; None while it runs."""
        return self._ended(0.0)

    def wait(self, timeout=None):
        """Wait until it ends."""
        if self._ended(timeout) is None:
            from subprocess import TimeoutExpired

            raise TimeoutExpired("jobctl", timeout)
        return self.returncode

    def send_signal(self, number):
        """Send it a signal, if it has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def _ended(self, timeout):
        if self.returncode is None:
            self.returncode = self._told(timeout)
            if self.returncode is not None:
                self._connection.close()
        return self.returncode

    def _told(self, timeout):
        self._connection.settimeout(timeout)
        try:
            told = self._connection.recv(NUMBER.size, socket.MSG_WAITALL)
        except (TimeoutError, BlockingIOError):
            return None
        if len(told) < NUMBER.size:
            raise RuntimeError("the server of prepared processes has ended")
        return NUMBER.unpack(told)[0]


def shim(path, arguments):
    """Be a process of jobctl for those who started this one: with its streams, signals and end."""
    process = Forked(path, arguments, env=os.environ, cwd=os.getcwd(), streams=[0, 1, 2])  # noqa: PTH109 - pathlib takes long
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda came, _: os.kill(process.pid, came))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # the other ends of pipes shall see when the process has closed them
        os.dup2(nowhere, stream)
    code = process.wait()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


# --- the server ------------------------------------------------------------------------------------------------------


class Server:
    """Forks the processes, and tells how they end; ends itself when its stdin does."""

    def __init__(self, path):
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(f"{path}.new")
        self._listening.listen(64)
        os.rename(f"{path}.new", path)  # noqa: PTH104 - who sees it can connect
        self._woken, waking = os.pipe()
        os.set_blocking(waking, False)
        self._waking = waking
        signal.set_wakeup_fd(waking)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._connections = {}
        self._killed = set()

    def serve(self):
        """Serve. Returns in each process that is to be, with what it is to run; in the server, None."""
        import select

        while True:
            open_ = [each for pid, each in self._connections.items() if pid not in self._killed]
            ready, _, _ = select.select([self._listening, self._woken, 0, *open_], [], [])
            if self._woken in ready:
                os.read(self._woken, 4096)
                self._reap()
            for pid, connection in self._connections.items():
                if connection in ready:  # closed: the shim was killed, and stood for it
                    self._killed.add(pid)
                    os.kill(pid, signal.SIGKILL)
            if self._listening in ready:
                request = self._accept()
                if request is not None:
                    return request
            if 0 in ready:
                return None

    def _accept(self):
        connection, _ = self._listening.accept()
        header, streams, _, _ = socket.recv_fds(connection, SIZE.size, 3)
        if len(header) < SIZE.size:
            connection.close()
            return None
        content = b""
        (size,) = SIZE.unpack(header)
        while len(content) < size:
            content += connection.recv(size - len(content))
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for each in (self._listening, connection, *self._connections.values()):
                each.close()
            os.close(self._woken)
            os.close(self._waking)
            return content, streams
        for stream in streams:
            os.close(stream)
        self._connections[pid] = connection
        connection.sendall(NUMBER.pack(pid))
        return None

    def _reap(self):
        while self._connections:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            self._killed.discard(pid)
            with self._connections.pop(pid) as connection:
                try:
                    connection.sendall(NUMBER.pack(os.waitstatus_to_exitcode(status)))
                except OSError:
                    continue  # nobody wants to know


def import_everything():
    """Import what commands import, most of it when they run."""
    import gc
    import importlib
    import pkgutil

    import jobctl

    for each in pkgutil.walk_packages(jobctl.__path__, "jobctl."):
        if not each.name.endswith("__main__"):
            importlib.import_module(each.name)
    for name in ("rich.console", "rich.live", "rich.table", "rich.text", "rich.tree", "platformdirs", "tomllib"):
        importlib.import_module(name)
    gc.freeze()


def become(content, streams):
    """Make this process the one that was asked for."""
    import ast
    import time

    arguments, environment, folder = ast.literal_eval(content.decode())
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    sys.argv = ["jobctl", *arguments]
    sys.path[0] = folder
    sys.stdin, sys.stdout, sys.stderr = (
        open(number, mode, encoding="utf-8", errors=errors, buffering=buffering, closefd=False)  # noqa: SIM115 - streams
        for number, mode, errors, buffering in STREAMS
    )
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr


def be_server(path):
    """The server's life, and those of all that it becomes."""
    import runpy

    import_everything()
    request = Server(path).serve()
    if request is not None:
        become(*request)
        runpy.run_module("jobctl", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    if sys.argv[1] == "server":
        be_server(sys.argv[2])
    else:
        shim(sys.argv[2], sys.argv[3:])
