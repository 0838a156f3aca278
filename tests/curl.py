"""curl for machines that have none, such as a bare Debian: its own library, with the options that our pages use."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path

import pycurl


def main():
    """Ask once; curl's own exit code."""
    asked = options()
    with ExitStack() as stack:
        handle = pycurl.Curl()
        stack.callback(handle.close)
        handle.setopt(pycurl.URL, asked.url)
        handle.setopt(pycurl.HTTPHEADER, asked.header)
        handle.setopt(pycurl.FAILONERROR, asked.fail)
        handle.setopt(pycurl.WRITEDATA, written(stack, asked.output))
        if asked.data is not None:
            handle.setopt(pycurl.POSTFIELDS, asked.data)
        if asked.request is not None:
            handle.setopt(pycurl.CUSTOMREQUEST, asked.request)
        if asked.dump_header is not None:
            handle.setopt(pycurl.WRITEHEADER, written(stack, asked.dump_header))
        try:
            handle.perform()
        except pycurl.error as error:
            return error.args[0]
        status = handle.getinfo(pycurl.RESPONSE_CODE)
    sys.stdout.write(asked.write_out.replace("\\n", "\n").replace("%{http_code}", str(status)))
    return 0


def options():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("url")
    parser.add_argument("-s", "--silent", action="store_true")
    parser.add_argument("-N", "--no-buffer", action="store_true")
    parser.add_argument("-f", "--fail", action="store_true")
    parser.add_argument("-H", "--header", action="append", default=[])
    parser.add_argument("-d", "--data")
    parser.add_argument("-X", "--request")
    parser.add_argument("-D", "--dump-header")
    parser.add_argument("-o", "--output", default="-")
    parser.add_argument("-w", "--write-out", default="")
    return parser.parse_args()


def written(stack, name):
    """Where it goes: a file, or standard output for a dash."""
    return sys.stdout.buffer if name == "-" else stack.enter_context(Path(name).open("wb"))


if __name__ == "__main__":
    sys.exit(main())
