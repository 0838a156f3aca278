"""Runs the command line as users do: in a process of its own, through a pipe or under a terminal."""

import codecs
import errno
import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

SLOW = """
import prepaid.models.offline as offline
init = offline.OfflineModel.__init__
offline.OfflineModel.__init__ = lambda self, *a, **k: init(self, *a, **(k | {"delay_seconds": 0.03}))
from prepaid.cli import main
main()
"""
"""The command line with an offline model that takes its time, so that it can be interrupted."""


def environment(folder):
    """Nothing of the machine's settings, and a database of the test's own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREPAID_")}
    return kept | {"PREPAID_DATABASE": str(folder / "test.db"), "TMPDIR": str(folder), "COLUMNS": "100"}


def prepaid(folder, *arguments, stdin="", program=("-m", "prepaid")):
    """The finished process; ``stdin`` is a pipe."""
    return subprocess.run(
        [sys.executable, *program, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment(folder),
        timeout=180,
        check=False,
    )


def result_of(process):
    """The one JSON value on its standard output."""
    assert process.returncode == 0, process.stderr
    assert "Traceback" not in process.stderr
    return json.loads(process.stdout)


class Terminal:
    """A process under a terminal of 100 columns; what it wrote so far is ``seen``."""

    def __init__(self, folder, *arguments, program=("-m", "prepaid")):
        self.seen = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._fd, self._process = _started(folder, [sys.executable, *program, *arguments])

    def type(self, keys):
        os.write(self._fd, keys.encode())

    def wait_for(self, text, seconds=120):
        """Read until ``text`` is there, and forget all up to its end."""
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            if time.monotonic() > deadline or not self._read():
                self._process.kill()
                self.finish()
                raise AssertionError(f"no {text!r} in {self.seen!r}")
        before, _, self.seen = self.seen.partition(text)
        return before

    def finish(self, seconds=120):
        """Read to the end; all that was not waited for, and the exit code."""
        deadline = time.monotonic() + seconds
        while self._read():
            assert time.monotonic() < deadline, self.seen
        os.close(self._fd)
        return self.seen, self._process.wait(120)

    def _read(self):
        ready, _, _ = select.select([self._fd], [], [], 0.2)
        if not ready:
            return True
        try:
            found = os.read(self._fd, 65_536)
        except OSError as error:
            assert error.errno == errno.EIO  # noqa: PT017 -- Linux says so when the other side has closed
            return False
        self.seen += self._decoder.decode(found).replace("\r\n", "\n")
        return bool(found)


def _started(folder, command):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    process = subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        env=environment(folder) | {"TERM": "xterm-256color"},
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 -- so that Ctrl-C is a signal
    )
    os.close(theirs)
    return ours, process


def console_script():
    """The installed ``prepaid``."""
    return Path(sys.executable).parent / "prepaid"
