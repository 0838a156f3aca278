"""The systemd unit: what it says is known to systemd, and what it starts runs and ends as it says."""

from __future__ import annotations

import os
import shlex
from collections import defaultdict
from pathlib import Path

import pytest

from cli_running import console_script
from gateway.running import Gateway
from pages import ROOT
from prepaid.config import GatewaySettings

UNIT = ROOT / "deploy/prepaid.service"
KNOWN = {
    "Unit": "Description After Wants StartLimitIntervalSec StartLimitBurst",
    "Service": """Type User Group UMask ConfigurationDirectory StateDirectory StateDirectoryMode WorkingDirectory
        Environment EnvironmentFile ExecStart KillMode TimeoutStopSec Restart RestartSec LimitNOFILE
        NoNewPrivileges CapabilityBoundingSet LockPersonality PrivateDevices PrivateTmp ProtectClock
        ProtectControlGroups ProtectHome ProtectHostname ProtectKernelLogs ProtectKernelModules
        ProtectKernelTunables ProtectProc ProtectSystem RemoveIPC RestrictAddressFamilies RestrictNamespaces
        RestrictRealtime RestrictSUIDSGID SystemCallArchitectures SystemCallFilter""",
    "Install": "WantedBy",
}
"""The directives of systemd.unit(5), systemd.service(5), systemd.exec(5) and systemd.kill(5) that we use."""


def parsed():
    """Values by section and directive; those that repeat are all there."""
    sections, section = {}, None
    for line in UNIT.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = sections[line.strip("[]")] = defaultdict(list)
        elif line and not line.startswith("#"):
            name, value = line.split("=", 1)
            section[name].append(value)
    return sections


class Unit(Gateway):
    """What the unit starts, with its directories in a folder of the test's."""

    def __init__(self, folder, toml, secrets):
        super().__init__(folder)
        self._service = parsed()["Service"]
        self._places = {"%E": str(folder / "etc"), "%S": str(folder / "var")}
        (folder / "etc" / self._one("ConfigurationDirectory")).mkdir(parents=True)
        (folder / "var" / self._one("StateDirectory")).mkdir(parents=True)
        (folder / "etc/prepaid/prepaid.toml").write_text(toml, encoding="utf-8")
        (folder / "etc/prepaid/secrets.env").write_text(secrets, encoding="utf-8")
        self.database = folder / "var/prepaid/prepaid.db"
        program, *arguments = shlex.split(self._one("ExecStart"))
        assert Path(program).name == console_script().name
        self._command = [str(console_script()), *arguments]
        said = [self._filled(each) for each in self._service["Environment"]]
        said += Path(self._one("EnvironmentFile").removeprefix("-")).read_text(encoding="utf-8").splitlines()
        self._environment = {"PATH": os.environ["PATH"]} | dict(line.split("=", 1) for line in said)

    def _one(self, name):
        (value,) = self._service[name]
        return self._filled(value)

    def _filled(self, value):
        for specifier, place in self._places.items():
            value = value.replace(specifier, place)
        assert "%" not in value
        return value


def test_every_directive_is_known_and_in_its_section():
    found = parsed()
    assert found.keys() == KNOWN.keys()
    for section, directives in found.items():
        assert set(directives) == set(KNOWN[section].split())


def test_there_is_time_to_settle_before_it_is_killed():
    (seconds,) = parsed()["Service"]["TimeoutStopSec"]
    assert int(seconds) >= GatewaySettings().grace_seconds + 20


@pytest.mark.slow
def test_what_it_starts_runs_and_ends(tmp_path):
    toml = """
    [gateway]
    port = 0
    metrics = "anyone"

    [upstreams.one]
    base_url = "http://127.0.0.1:9/v1"
    prefix = "one/"
    api_key_env = "ONE_API_KEY"
    """
    unit = Unit(tmp_path, toml, "ONE_API_KEY=sk-one\n")
    with unit as gateway:
        assert gateway.get("/metrics").status_code == 200
        assert gateway.database.exists()
    assert unit.records()[-1]["message"] == "stopped"
    assert "sk-one" not in unit.log
