"""Connections as the system knows them: whose they are, and which ports they have."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

_LISTENS = "0A"


class Socket(NamedTuple):
    """One of this machine's TCP sockets, IPv4."""

    inode: str
    port: int
    listens: bool


def all_sockets():
    """Every one, those that are nobody's any more left out."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    found = [Socket(row[9], int(row[1].split(":")[1], 16), row[3] == _LISTENS) for row in rows]
    return [each for each in found if each.inode != "0"]


def sockets_of(pid):
    """A process's own."""
    own = set(_inodes(pid))
    return [each for each in all_sockets() if each.inode in own]


def _inodes(pid):
    try:
        handles = list(Path(f"/proc/{pid}/fd").iterdir())
    except FileNotFoundError:
        return  # it has ended
    for handle in handles:
        try:
            target = str(handle.readlink())
        except FileNotFoundError:
            continue  # closed meanwhile
        if target.startswith("socket:["):
            yield target[8:-1]
