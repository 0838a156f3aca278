"""Ports for servers that must be told theirs before they start; whoever can takes port 0 instead."""

from __future__ import annotations

import os
import socket
from itertools import count

_FIRST, _LAST = 20_000, 32_000
"""Below those that the system gives away by itself (``ip_local_port_range``), so nobody is given one meanwhile."""

_STEP = 16
"""So many for each process of a test run, whose ids follow on each other."""

_numbers = count(os.getpid() * _STEP)


def free_ports(wanted):
    """So many ports that nobody listens on; no two calls give the same one."""
    found = []
    while len(found) < wanted:
        port = _FIRST + next(_numbers) % (_LAST - _FIRST)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                found.append(port)
    return found
