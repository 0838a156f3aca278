"""Compiles the contracts into the Python package, or checks that what lies there is what they say.

    uv run scripts/build_contracts.py [--check]

Writes ``src/prepaid/chain/abi/NAME.json`` (ABI, creation code, and what they were compiled from) for each
contract in ``CONTRACTS`` and ``gas.json`` (what each step costs, as ``contracts/snapshots`` has it, which the
contracts' own tests measure), and copies the SDK to ``src/prepaid/chain/sdk``, so that neither building the
wheel nor using it needs a compiler. ``--check`` needs none either: it compares digests of the sources, the
settings and the locked packages with those written down at the last build.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any, Final

import node
from Crypto.Hash import keccak

ROOT: Final = Path(__file__).resolve().parent.parent
SOLIDITY: Final = ROOT / "contracts"
SDK: Final = SOLIDITY / "sdk"
SNAPSHOTS: Final = SOLIDITY / "snapshots"
PACKAGE: Final = ROOT / "src" / "prepaid" / "chain"
MANIFEST: Final = "manifest.json"
GAS: Final = "abi/gas.json"

CONTRACTS: Final = {
    "dtn_ai": "src/DtnAi.sol:DtnAi",
    "session_manager": "src/session-manager/SessionManager.sol:SessionManager",
    "text_consumer": "examples/TextConsumer.sol:TextConsumer",
    "image_consumer": "examples/ImageConsumer.sol:ImageConsumer",
    "managed_consumer": "examples/ManagedConsumer.sol:ManagedConsumer",
    "test_usdt": "test/kit/Tokens.sol:TetherMock",
    "test_usd": "test/kit/Tokens.sol:TokenMock",
    "test_asker": "test/kit/Askers.sol:AskerMock",
}
"""What the package knows, by its name there: ``test_`` are for local chains, and so are the examples."""

SETTINGS: Final = (
    "solc",
    "evm_version",
    "optimizer",
    "optimizer_runs",
    "via_ir",
    "bytecode_hash",
    "additional_compiler_profiles",
    "compilation_restrictions",
)
"""What in foundry.toml decides about the bytes that come out."""

CODE_BYTES_MAX: Final = 24_576
"""EIP-170: longer contracts cannot be deployed."""

_NOT_OURS: Final = "node_modules/"


class StaleError(Exception):
    """The package is not what the sources make; the message says where."""


def build() -> dict[str, bytes]:
    """Compile, and return every file of the package that is generated, by its path below it."""
    node.install(SOLIDITY)
    with tempfile.TemporaryDirectory() as folder:  # nobody else's build is in the way, nor ours in theirs
        paths = sorted({place.partition(":")[0] for place in CONTRACTS.values()})
        command = [node.NODE, node.NPM, "run", "--silent", "build", "--", *paths]
        done = subprocess.run(  # noqa: S603
            [*command, "--out", folder, "--cache-path", folder],
            cwd=SOLIDITY,
            env=node.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise SystemExit(f"forge could not compile:\n{done.stdout}{done.stderr}")
        files = {f"abi/{name}.json": _artefact(name, Path(folder)) for name in CONTRACTS}
    files[GAS] = _gas()
    files |= {f"sdk/{path.relative_to(SDK)}": path.read_bytes() for path in sorted(SDK.rglob("*.sol"))}
    manifest = {
        "settings": _settings(),
        "packages": _packages(),
        "files": {name: _sha256(content) for name, content in files.items()},
    }
    return files | {f"abi/{MANIFEST}": _json(manifest)}


def check() -> None:
    """Compare the package with the sources, without a compiler.

    Raises:
        StaleError: something was changed since the last build.
    """
    manifest = json.loads(_read(PACKAGE / "abi" / MANIFEST))
    if manifest["settings"] != _settings():
        raise StaleError("contracts/foundry.toml has other settings")
    if manifest["packages"] != _packages():
        raise StaleError("contracts/package-lock.json has other versions")
    generated = {GAS} | {f"abi/{name}.json" for name in CONTRACTS}
    if generated != {each for each in manifest["files"] if _is_abi(each)}:
        raise StaleError("scripts/build_contracts.py lists other contracts")
    for name, digest in manifest["files"].items():
        if _sha256(_read(PACKAGE / name)) != digest:
            raise StaleError(f"{name} was edited")
    if _read(PACKAGE / GAS) != _gas():
        raise StaleError("contracts/snapshots has changed")
    kept = {
        name.removeprefix("sdk/"): digest for name, digest in manifest["files"].items() if not _is_abi(name)
    }
    if kept != {str(path.relative_to(SDK)): _sha256(path.read_bytes()) for path in SDK.rglob("*.sol")}:
        raise StaleError("contracts/sdk has changed")
    for name in CONTRACTS:
        _check_sources(name)


def write(files: dict[str, bytes]) -> None:
    """Put the files into the package, and take out those that are no longer made."""
    for folder in ("abi", "sdk"):
        for path in (PACKAGE / folder).rglob("*.*"):
            if path.suffix in {".json", ".sol"} and str(path.relative_to(PACKAGE)) not in files:
                path.unlink()
    for name, content in files.items():
        path = PACKAGE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def too_long(files: dict[str, bytes]) -> list[str]:
    """What no chain would take, in words."""
    sizes = {name: json.loads(files[f"abi/{name}.json"])["runtime_bytes"] for name in CONTRACTS}
    return [
        f"{name} has {size} bytes of code; EIP-170 allows {CODE_BYTES_MAX}"
        for name, size in sizes.items()
        if size > CODE_BYTES_MAX
    ]


def _check_sources(name: str) -> None:
    for path, digest in json.loads(_read(PACKAGE / "abi" / f"{name}.json"))["sources"].items():
        if not path.startswith(_NOT_OURS) and _keccak(_read(SOLIDITY / path)) != digest:
            raise StaleError(f"{name}: contracts/{path} has changed")


def _artefact(name: str, folder: Path) -> bytes:
    source, contract = CONTRACTS[name].split(":")
    made: dict[str, Any] = json.loads((folder / Path(source).name / f"{contract}.json").read_bytes())
    if made["bytecode"]["linkReferences"]:
        raise SystemExit(f"{contract} has libraries to be linked, which the package does not know how to do")
    metadata = made["metadata"]
    settings = metadata["settings"]
    return _json(
        {
            "contract": contract,
            "compiler": metadata["compiler"]["version"],
            "settings": {each: settings.get(each) for each in ("evmVersion", "optimizer", "viaIR")},
            "sources": {path: each["keccak256"] for path, each in sorted(metadata["sources"].items())},
            "runtime_bytes": (len(made["deployedBytecode"]["object"]) - 2) // 2,
            "abi": made["abi"],
            "bytecode": made["bytecode"]["object"],
        }
    )


def _gas() -> bytes:
    """Gas of whole receipts by step, by contract."""
    report = {path.stem: json.loads(path.read_bytes()) for path in sorted(SNAPSHOTS.glob("*.json"))}
    return _json({name: {step: int(gas) for step, gas in steps.items()} for name, steps in report.items()})


def _settings() -> dict[str, Any]:
    profile = tomllib.loads((SOLIDITY / "foundry.toml").read_text(encoding="utf-8"))["profile"]["default"]
    return {name: profile.get(name) for name in SETTINGS}


def _packages() -> dict[str, str]:
    """The locked packages: compiler and libraries are among them."""
    locked = json.loads((SOLIDITY / "package-lock.json").read_bytes())["packages"]
    compiled = ("node_modules/solc", "node_modules/@openzeppelin/", "node_modules/openzeppelin-")
    return {name: each["version"] for name, each in locked.items() if name.startswith(compiled)}


def _is_abi(name: str) -> bool:
    return name.startswith("abi/")


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode() + b"\n"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise StaleError(f"{path.relative_to(ROOT)} is missing") from None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _keccak(content: bytes) -> str:
    return "0x" + keccak.new(digest_bits=256, data=content).hexdigest()


def main() -> int:
    """Build, or with ``--check`` only compare; 1 if something is stale or too long."""
    if "--check" in sys.argv:
        try:
            check()
        except StaleError as stale:
            print(f"src/prepaid/chain is stale: {stale}; run uv run scripts/build_contracts.py")
            return 1
        return 0
    files = build()
    write(files)
    problems = too_long(files)
    print("\n".join(problems), end="\n" if problems else "")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
