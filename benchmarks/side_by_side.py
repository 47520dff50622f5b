"""Peers on the same server, with the same payload: each in an environment of its own, installed for it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.databases import Databases
from benchmarks.measuring import Figure, Sizes

SCRIPTS = Path(__file__).parent / "peers"


@dataclass(frozen=True)
class Peer:
    """Another library.

    Attributes:
        name: Its name.
        packages: What its environment needs.
        script: Measures it, with the settings that are its fastest; prints figures by name as JSON.
    """

    name: str
    packages: tuple[str, ...]
    script: str


PEERS = (Peer("pgqueuer", ("pgqueuer==1.6.0", "asyncpg"), "pgqueuer_peer.py"),)


def prepare(peer: Peer, folder: Path) -> Path:
    """Make a peer's environment; returns its interpreter."""
    environment = folder / f"environment-{peer.name}"
    interpreter = environment / "bin" / "python"
    if not interpreter.exists():
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        subprocess.run([str(interpreter), "-m", "pip", "install", "--quiet", *peer.packages], check=True)
    return interpreter


def measure(peer: Peer, interpreter: Path, databases: Databases, sizes: Sizes) -> list[Figure]:
    """Measure a peer once, on an empty database."""
    with databases.empty() as url:
        arguments = [str(SCRIPTS / peer.script), url, str(max(sizes.jobs, 1000)), str(sizes.single)]
        done = subprocess.run([str(interpreter), *arguments], check=True, capture_output=True, text=True)
    return [Figure(name, "jobs/s", value) for name, value in json.loads(done.stdout).items()]
