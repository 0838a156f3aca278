"""The compiled contracts in the Python package are those that the sources make (issue 4, point 5)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from prepaid.chain.artefacts import gas_report

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "prepaid" / "chain"
INPUTS = (
    "scripts",
    "contracts/examples",
    "contracts/sdk",
    "contracts/snapshots",
    "contracts/src",
    "contracts/test",
    "src/prepaid/chain",
)


def run(script, *arguments, cwd=ROOT):
    command = [sys.executable, str(cwd / "scripts" / script), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=900)


def files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def copy(tmp_path):
    """The parts of the project that the check looks at, to be spoiled."""
    for folder in INPUTS:
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("foundry.toml", "package-lock.json"):
        shutil.copy2(ROOT / "contracts" / file, tmp_path / "contracts" / file)
    return tmp_path


def test_they_are_up_to_date():
    """Without a compiler: by the digests that were written down at the last build."""
    done = run("build_contracts.py", "--check")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("contracts/src/DtnAi.sol", "contracts/src/DtnAi.sol has changed"),
        ("contracts/src/libraries/TokenMoves.sol", "contracts/src/libraries/TokenMoves.sol has changed"),
        ("contracts/sdk/with-dtn-ai.sol", "contracts/sdk has changed"),
        ("src/prepaid/chain/sdk/idtn-ai.sol", "sdk/idtn-ai.sol was edited"),
        ("src/prepaid/chain/abi/dtn_ai.json", "abi/dtn_ai.json was edited"),
        ("src/prepaid/chain/abi/gas.json", "abi/gas.json was edited"),
    ],
)
def test_a_change_is_seen(copy, file, said):
    with (copy / file).open("a") as opened:
        opened.write("\n")
    done = run("build_contracts.py", "--check", cwd=copy)
    assert done.returncode == 1
    assert said in done.stdout
    assert "run uv run scripts/build_contracts.py" in done.stdout


def test_other_gas_is_seen(copy):
    snapshot = copy / "contracts/snapshots/ai.json"
    snapshot.write_text(snapshot.read_text().replace('"72431"', '"72432"'))
    assert "contracts/snapshots has changed" in run("build_contracts.py", "--check", cwd=copy).stdout


def test_the_package_says_what_each_step_costs():
    measured = json.loads((ROOT / "contracts/snapshots/ai.json").read_text())
    assert gas_report()["ai"] == {step: int(gas) for step, gas in measured.items()}


def test_other_settings_and_other_packages_are_seen(copy):
    settings, lock = copy / "contracts/foundry.toml", copy / "contracts/package-lock.json"
    before = settings.read_text()
    settings.write_text(before.replace('evm_version = "cancun"', 'evm_version = "prague"'))
    assert (
        "contracts/foundry.toml has other settings" in run("build_contracts.py", "--check", cwd=copy).stdout
    )
    settings.write_text(before)
    locked = json.loads(lock.read_text())
    locked["packages"]["node_modules/solc"]["version"] = "0.8.36"
    lock.write_text(json.dumps(locked))
    assert "package-lock.json has other versions" in run("build_contracts.py", "--check", cwd=copy).stdout


def test_a_missing_file_is_seen(copy):
    (copy / "src/prepaid/chain/abi/test_usdt.json").unlink()
    done = run("build_contracts.py", "--check", cwd=copy)
    assert (done.returncode, "test_usdt.json is missing" in done.stdout) == (1, True)


@pytest.mark.slow
def test_a_build_makes_the_same_bytes(copy):
    """With the compiler: what lies in the package is what the sources make, to the byte."""
    (copy / "contracts/node_modules").symlink_to(ROOT / "contracts/node_modules")
    for name in ("tools", "package.json", ".npmrc"):
        (copy / "contracts" / name).symlink_to(ROOT / "contracts" / name)
    shutil.rmtree(copy / "src/prepaid/chain/abi")
    done = run("build_contracts.py", cwd=copy)
    assert done.returncode == 0, done.stdout + done.stderr
    for folder in ("abi", "sdk"):
        assert files(copy / "src/prepaid/chain" / folder) == files(PACKAGE / folder)


@pytest.mark.slow
def test_the_wheel_carries_them(tmp_path):
    """Spec B15 and issue 4, point 1: ABIs, bytecode and the SDK come with ``pip install``; no compiler runs."""
    command = [os.environ.get("UV", "uv"), "build", "--wheel", "--out-dir", str(tmp_path), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        for folder in ("abi", "sdk"):
            for name, content in files(PACKAGE / folder).items():
                assert opened.read(f"prepaid/chain/{folder}/{name}") == content
        assert not [name for name in opened.namelist() if name.endswith(".sol") and "/sdk/" not in name]
