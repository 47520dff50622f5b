"""Documents written safely to a file: compressed JSON lines, whole once ``write`` has returned."""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from collections.abc import Iterable
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from jobctl.cli.documents import to_json
from jobctl.errors import UsageError

# RFC 1952. A member begins with these bytes: its kind (deflate), that it has an extra field, no time, no hint, no
# system, the length of that field, and in it "jc" with the length of what follows: the length of the whole member.
_HEADER = struct.Struct("<4sI2sH2sHQ")
_FIXED = (b"\x1f\x8b\x08\x04", 0, b"\x00\xff", 12, b"jc", 8)
_TRAILER = struct.Struct("<II")


class Export:
    """A file of gzip members, one for each batch, to which documents are appended; ``zcat`` reads it as one.

    A member says how long it is, so that what a crash left half written is found and cut off without reading the rest:
    what it held was not deleted.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        Raises:
            UsageError: It cannot be written, or holds something else.
        """
        self.path = path
        try:
            self._file: FileIO = path.open("r+b" if path.exists() else "w+b", buffering=0)
        except OSError as error:
            raise UsageError(f"--export: the file {path} cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._end = self._whole()
        except BlockingIOError:
            self._file.close()
            raise UsageError(f"--export: the file {path} is being written by another prune: name another") from None
        except BaseException:
            self._file.close()
            raise
        self._sync_folder()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, documents: Iterable[dict[str, Any]]) -> None:
        """Append documents, a line each. When this returns they are on the disk; when it raises, none is in the file.

        Raises:
            UsageError: The file cannot be written.
        """
        member = _member("".join(f"{to_json(each)}\n" for each in documents).encode())
        try:
            self._file.seek(self._end)
            rest = memoryview(member)
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except BaseException as error:
            self._file.truncate(self._end)
            if isinstance(error, OSError):
                raise UsageError(
                    f"--export: the file {self.path} cannot be written: {error.strerror}; nothing more is deleted"
                ) from error
            raise
        self._end += len(member)

    def _whole(self) -> int:
        """Where the last whole member ends; what stands behind it is cut off."""
        size = self._file.seek(0, os.SEEK_END)
        place = 0
        while place < size:
            self._file.seek(place)
            head = self._file.read(_HEADER.size)
            if len(head) == _HEADER.size:
                *fixed, length = _HEADER.unpack(head)
                if tuple(fixed) != _FIXED:
                    raise UsageError(f"--export: the file {self.path} is not one of an earlier prune: name another")
                if place + length <= size:
                    place += length
                    continue
            elif not _HEADER.pack(*_FIXED, 0).startswith(head[: _HEADER.size - 8]):
                raise UsageError(f"--export: the file {self.path} is not one of an earlier prune: name another")
            self._file.truncate(place)
            break
        return place

    def _sync_folder(self) -> None:
        """Have a new file's name on the disk too."""
        folder = os.open(self.path.absolute().parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _member(content: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    body = compressor.compress(content) + compressor.flush()
    trailer = _TRAILER.pack(zlib.crc32(content), len(content) & 0xFFFFFFFF)
    return _HEADER.pack(*_FIXED, _HEADER.size + len(body) + len(trailer)) + body + trailer
