import pytest

from prepaid import SessionManager
from prepaid.audit import audit


@pytest.fixture
async def manager(tmp_path):
    async with SessionManager(tmp_path / "requests.db") as manager:
        yield manager
        report = audit(manager._workspace.store.reads)
        assert not report.findings, report.findings


@pytest.fixture
async def session(manager):
    return await manager.create_session("ann", "1 USD")
