"""A release that a person must approve: check the artefacts, wait for a yes, publish all of them or none.

::

    id=$(jobctl start release.check --set folder="$PWD/dist" --set target=/srv/releases)
    jobctl complete $id --expect release.await-approval --continue release.publish

``release.check`` reads a folder of wheels and sdists and hands a list of them with their hashes to
``release.await-approval``, which is due when the time for an answer is over, and rejects then. What a person approves
is that list, and ``release.publish`` publishes exactly that: it copies the files to a folder with a temporary name,
and in its completing transaction records the release and gives the folder its name. A worker may die at any moment:
the attempt that follows removes what was begun, or records what was complete already.

What cannot be released ends the chain with ``{"rejected": true, "reason": …}``: another attempt would find the same.
What may pass by itself, as a full disk, is an error, and tried again.
"""

from __future__ import annotations

import base64
import csv
import gzip
import hashlib
import os
import re
import shutil
import struct
import tarfile
import uuid
import zipfile
import zlib
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from pathlib import Path

from sqlalchemy import JSON, Column, Connection, DateTime, MetaData, Table, Text, func, insert, select
from sqlalchemy.schema import CreateTable

from jobctl import Attempt, Continuation, Job, continue_with, processor
from jobctl.errors import UsageError

CHUNK = 1 << 20


@dataclass(frozen=True)
class Request:
    """What is to be released.

    Attributes:
        folder: Where the artefacts are, absolute: a worker has a current folder of its own.
        target: Below which folder the release gets one of its own, absolute.
        version: Which version it must be; null: whichever the artefacts have.
        within: How long a person has to approve it.
    """

    folder: str
    target: str
    version: str | None = None
    within: str = "2h"


@dataclass(frozen=True)
class File:
    """An artefact, as it was checked."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Release:
    """What is approved and published."""

    project: str
    version: str
    folder: str
    target: str
    files: list[File]

    @property
    def place(self) -> Path:
        """Where it is published."""
        return Path(self.target) / f"{self.project}-{self.version}"


RELEASES = Table(
    "published_release",
    MetaData(),
    Column("project", Text, primary_key=True),
    Column("version", Text, primary_key=True),
    Column("chain_id", Text, nullable=False),
    Column("place", Text, nullable=False),
    Column("files", JSON, nullable=False),
    Column("published_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)


class RefusedError(Exception):
    """This cannot be released, however often it is tried."""


# --- the chain ---------------------------------------------------------------------------------------------------


@processor("release.check", continues=("release.await-approval",), max_attempts=10)
def check(job: Job[Request]) -> dict[str, object] | Continuation:
    """Check what is to be released, and ask for an approval."""
    try:
        release = read_release(job.input)
        return continue_with(await_approval, release, after=job.input.within)
    except (RefusedError, UsageError) as error:  # the latter: `within` is not a duration
        return rejected(error)


@processor("release.await-approval", entry=False, continues=("release.publish",))
def await_approval(job: Job[Release]) -> dict[str, object]:
    """Run only when nobody settled it before it was due."""
    return rejected("nobody approved it in time")


@processor("release.publish", entry=False, continues=())
def publish(job: Job[Release], attempt: Attempt) -> dict[str, object]:
    """Publish the release whole, once."""
    release, place = job.input, job.input.place
    with attempt.prepare() as conn:  # should two workers make it in the same moment, one of them tries again
        conn.execute(CreateTable(RELEASES, if_not_exists=True))
    place.parent.mkdir(parents=True, exist_ok=True)
    for left in place.parent.glob(f".{job.id}.*"):  # by an attempt that died
        shutil.rmtree(left)
    partial = place.parent / f".{job.id}.{uuid.uuid4().hex}"
    try:
        published = place.exists()
        if published:  # by an attempt that died before it was recorded, or it is another release
            require_same(place, release.files)
        else:
            partial.mkdir()
            for file in release.files:
                copy(file, Path(release.folder), partial, attempt)
            sync(partial)
        with attempt.complete() as conn:  # the job is locked from here on: nobody else can settle it
            record(conn, release, job.chain_id)
            if not published:
                partial.rename(place)
                sync(place.parent)
    except RefusedError as error:
        return rejected(error)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return {"published": str(place)}


def rejected(reason: object) -> dict[str, object]:
    """The output of a chain that ends without a release."""
    return {"rejected": True, "reason": str(reason)}


# --- publishing --------------------------------------------------------------------------------------------------


def copy(file: File, source: Path, destination: Path, attempt: Attempt) -> None:
    """Copy a file to the disk itself, and make sure that it is the one that was approved; stop if the job is lost."""
    digest = hashlib.sha256()
    with (source / file.name).open("rb") as read, (destination / file.name).open("xb") as written:
        attempt.raise_if_lost()
        while chunk := read.read(CHUNK):
            attempt.raise_if_lost()
            digest.update(chunk)
            written.write(chunk)
        written.flush()
        os.fsync(written.fileno())
    if digest.hexdigest() != file.sha256:
        raise RefusedError(f"{file.name} has changed since it was checked")
    if sha256(destination / file.name) != file.sha256:
        raise OSError(f"{destination / file.name} is not what was written to it")


def require_same(place: Path, files: list[File]) -> None:
    """Refuse what is at the release's place if it is anything else than the release."""
    found = {each.name: sha256(each) if each.is_file() else None for each in place.iterdir()}
    if found != {each.name: each.sha256 for each in files}:
        raise RefusedError(f"{place} exists already and holds something else")


def record(conn: Connection, release: Release, chain_id: str) -> None:
    """Record the release; a project has each version once."""
    same = (RELEASES.c.project == release.project, RELEASES.c.version == release.version)
    before = conn.scalar(select(RELEASES.c.chain_id).where(*same))
    if before is not None:
        raise RefusedError(f"{release.project} {release.version} was published by the chain {before} already")
    row = {
        "project": release.project,
        "version": release.version,
        "chain_id": chain_id,
        "place": str(release.place),
        "files": {each.name: each.sha256 for each in release.files},
    }
    conn.execute(insert(RELEASES).values(row))


def sync(folder: Path) -> None:
    """Have the disk know the names in a folder."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def sha256(path: Path) -> str:
    """A file's hash."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


# --- checking ----------------------------------------------------------------------------------------------------


def read_release(request: Request) -> Release:
    """The release that a folder holds: all its files are artefacts of one version of one project.

    Raises:
        RefusedError: It holds none, or something else.
    """
    folder = Path(request.folder)
    if not (folder.is_absolute() and Path(request.target).is_absolute()):
        raise RefusedError("folder and target must be absolute: a worker has a current folder of its own")
    if not folder.is_dir():
        raise RefusedError(f"there is no folder {folder}")
    paths = sorted(each for each in folder.iterdir() if not each.name.startswith("."))
    if not paths:
        raise RefusedError(f"{folder} holds no artefact")
    found = {path.name: read_artefact(path) for path in paths}
    releases = set(found.values())
    if len(releases) > 1:
        of = ", ".join(f"{name} is {project} {version}" for name, (project, version) in found.items())
        raise RefusedError(f"the artefacts are not of one release: {of}")
    ((project, version),) = releases
    if request.version not in {None, version}:
        raise RefusedError(f"the artefacts are of the version {version}, not {request.version}")
    files = [File(each.name, each.stat().st_size, sha256(each)) for each in paths]
    release = Release(project, version, request.folder, request.target, files)
    if release.place.exists():
        raise RefusedError(f"{release.place} exists already")
    return release


WHEEL = re.compile(r"(?P<name>\w[\w.]*)-(?P<version>\d[\w.!+]*)(-\d[\w.]*)?-[\w.]+-[\w.]+-[\w.]+\.whl", re.ASCII)
SDIST = re.compile(r"(?P<name>\w[\w.-]*)-(?P<version>\d[\w.!+]*)\.tar\.gz", re.ASCII)

MALFORMED = (
    *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, struct.error, csv.Error),
    *(EOFError, LookupError, ValueError, NotImplementedError, RuntimeError),  # the latter: an encrypted wheel
)
"""What reading an archive ends with that is not one."""


def read_artefact(path: Path) -> tuple[str, str]:
    """The project and version of a wheel or sdist, which must be whole and what its name says."""
    for pattern, read in ((WHEEL, read_wheel), (SDIST, read_sdist)):
        if (name := pattern.fullmatch(path.name)) is not None and path.is_file():
            try:
                metadata = read(path, name["name"], name["version"])
            except MALFORMED as error:
                raise RefusedError(f"{path.name} is malformed: {type(error).__name__}: {error}") from error
            return described(path, metadata, name["name"], name["version"])
    raise RefusedError(f"{path.name} is neither a wheel nor an sdist")


def read_wheel(path: Path, name: str, version: str) -> bytes:
    """The METADATA of a wheel, all of whose files are those of its RECORD."""
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path) as archive:
        files = [each for each in archive.namelist() if not each.endswith("/")]
        rows = csv.reader(archive.read(f"{info}/RECORD").decode().splitlines())
        listed = {row[0]: row[1] for row in rows if row}
        signatures = {f"{info}/RECORD.jws", f"{info}/RECORD.p7s"}
        if sorted({*files} - signatures) != sorted({*listed} - signatures) or len(files) != len({*files}):
            raise RefusedError(f"{path.name} is malformed: its files are not those of its RECORD")
        for each in {*files} - signatures - {f"{info}/RECORD"}:
            algorithm, _, expected = listed[each].partition("=")
            digest = hashlib.new(algorithm, archive.read(each)).digest()
            if base64.urlsafe_b64encode(digest).decode().rstrip("=") != expected:
                raise RefusedError(f"{path.name} is malformed: {each} is not what its RECORD says")
        return archive.read(f"{info}/METADATA")


def read_sdist(path: Path, name: str, version: str) -> bytes:
    """The PKG-INFO of an sdist, all of whose files are in one folder."""
    root = f"{name}-{version}"
    with gzip.open(path) as stream:
        while stream.read(CHUNK):
            pass  # to the checksum at its end
    with tarfile.open(path, "r:gz") as archive:
        for each in archive:
            if each.name != root and (not each.name.startswith(f"{root}/") or ".." in Path(each.name).parts):
                raise RefusedError(f"{path.name} is malformed: {each.name} is outside of {root}")
        metadata = archive.extractfile(f"{root}/PKG-INFO")
        if metadata is None:
            raise RefusedError(f"{path.name} is malformed: its PKG-INFO is not a file")
        return metadata.read()


def described(path: Path, metadata: bytes, name: str, version: str) -> tuple[str, str]:
    """The project and version that the metadata names, which are those of the file's name."""
    headers = BytesHeaderParser().parsebytes(metadata)
    told = normal(str(headers["Name"])), str(headers["Version"])
    if (told[0], told[1].replace("-", "_").lower()) != (normal(name), version.lower()):
        raise RefusedError(f"{path.name} says inside that it is {told[0]} {told[1]}")
    return told


def normal(name: str) -> str:
    """A project's name in its one spelling."""
    return re.sub(r"[-_.]+", "-", name).lower()
