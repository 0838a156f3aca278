"""Sessions on an EVM chain: contracts as compiled, and the client that speaks to them (spec A, B)."""

import contextlib
import importlib
import sys

# py_ecc, which eth-account brings, raises the whole process's recursion limit to 100,000 when it is imported.
# Then JSON of a hundred thousand brackets ends the process, where it had raised RecursionError.
_recursion_limit = sys.getrecursionlimit()
with contextlib.suppress(ModuleNotFoundError):  # without the extra, only the artefacts are of use
    importlib.import_module("eth_keyfile")
sys.setrecursionlimit(_recursion_limit)
