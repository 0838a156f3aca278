"""Opening a database: its schema, what it is called when it cannot be opened, and what is set in any case."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from postgres_server import execute
from prepaid.config import Settings
from prepaid.errors import StoreCorrupted, StoreError, StoreTooNew
from prepaid.runtime import Runtime
from prepaid.store.postgres.connection import connect, shown_url, urls_of_hosts
from prepaid.store.postgres.store import PostgresStore
from store.books import create


@pytest.fixture
def spoiled(postgres):
    """A database whose schema a test may change."""
    made = postgres.new()
    yield made
    postgres.drop(made)


async def test_the_settings_name_it(url):
    runtime = Runtime(Settings(database=url))
    assert isinstance(runtime.store, PostgresStore)
    await runtime.aclose()


def test_a_database_of_a_newer_version(spoiled):
    execute(spoiled, "UPDATE prepaid_schema SET version = version + 5")
    with pytest.raises(StoreTooNew) as refused:
        PostgresStore(spoiled)
    assert refused.value.found == refused.value.supported + 5


def test_a_database_of_something_else(spoiled):
    execute(spoiled, "DROP SCHEMA public CASCADE")
    execute(spoiled, "CREATE SCHEMA public CREATE TABLE account (id int)")
    with pytest.raises(StoreCorrupted, match="not prepaid's"):
        PostgresStore(spoiled)
    execute(spoiled, "INSERT INTO account VALUES (1)")  # it is as it was


async def test_an_empty_database_is_brought_to_this_version(spoiled):
    execute(spoiled, "DROP SCHEMA public CASCADE")
    execute(spoiled, "CREATE SCHEMA public")
    store = PostgresStore(spoiled)
    assert (await store.submit(create("s", 5))).available == 5
    await store.aclose()


def test_a_database_that_is_not_there_is_named_without_its_password(postgres):
    missing = postgres.url.replace("postgres@/postgres", "postgres:hunter2@/nowhere")
    with pytest.raises(StoreError, match="/nowhere cannot be opened") as refused:
        PostgresStore(missing)
    assert "Check the name" in refused.value.remedy
    assert "hunter2" not in str(refused.value)


def test_a_server_that_is_not_there(tmp_path):
    with pytest.raises(StoreError, match="does not answer") as refused:
        PostgresStore(f"postgresql://postgres@/postgres?host={tmp_path}")
    assert refused.value.retryable
    assert "Check that the server runs" in refused.value.remedy


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann:pa%40ss@db.example:5432/app?sslmode=require", "postgresql://db.example:5432/app"),
        ("postgresql:///app", "postgresql:///app"),
    ],
)
def test_what_is_shown_of_a_url(url, shown):
    assert shown_url(url) == shown


@pytest.mark.parametrize(
    ("set_up", "ours"), [("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")]
)
async def test_a_commit_waits_for_the_disk_at_least(set_up, ours, spoiled):
    """Guarantee 6, whatever the database's default is."""
    execute(spoiled, f"ALTER DATABASE {urlsplit(spoiled).path[1:]} SET synchronous_commit = '{set_up}'")
    connection = await connect(spoiled)
    assert await connection.fetchval("SHOW synchronous_commit") == ours
    await connection.close()


async def test_time_is_the_database_s(url):
    store = PostgresStore(url)
    (server_ms,) = store.reads.row("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
    assert abs(store.clock() - server_ms) < 60_000
    before = store.clock()
    await asyncio.sleep(0.02)
    assert store.clock() - before >= 19
    await store.submit(create("s", 5))
    assert abs(store.reads.account("s").last_used_ms - server_ms) < 60_000
    await store.aclose()


def test_without_its_extra_the_error_says_what_to_install():
    program = (
        "import sys; sys.modules['asyncpg'] = None\n"
        "from prepaid import SessionManager\n"
        "SessionManager('postgresql:///app')"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert 'pip install "prepaid[postgres]"' in told.stderr


async def test_a_host_that_says_nothing_is_not_waited_for(url, tmp_path, monkeypatch):
    """Of several hosts the one that may write is taken, whatever becomes of the others."""
    silent = tmp_path / ".s.PGSQL.5432"
    asked = []
    server = await asyncio.start_unix_server(lambda _, writer: asked.append(writer), silent)
    hosts = url.replace("host=", f"host={tmp_path},{tmp_path / 'gone'},")
    monkeypatch.setattr("prepaid.store.postgres.connection.CONNECT_SECONDS", 600)
    store = await asyncio.wait_for(asyncio.to_thread(PostgresStore, hosts), 120)
    await store.submit(create("s", 5))
    assert store.reads.account("s").available == 5
    assert (await store.ask(lambda reads: reads.account("s"))).available == 5
    await store.aclose()
    assert asked
    for writer in asked:
        writer.close()
    server.close()
    await server.wait_closed()


async def test_of_several_hosts_the_reason_is_told_why_none_will_do(postgres, tmp_path):
    hosts = postgres.url.replace("/postgres?host=", f"/nowhere?host={tmp_path},")
    with pytest.raises(StoreError, match="/nowhere cannot be opened"):
        PostgresStore(hosts)


@pytest.mark.parametrize(
    ("url", "each"),
    [
        ("postgresql://a/app?host=/x", ["postgresql://a/app?host=/x"]),
        (
            "postgresql://ann:p%40@a:1,b/app?sslmode=require",
            [
                "postgresql://ann:p%40@a:1/app?sslmode=require&target_session_attrs=read-write",
                "postgresql://ann:p%40@b/app?sslmode=require&target_session_attrs=read-write",
            ],
        ),
        (
            "postgresql:///app?host=a,b&port=1,2&target_session_attrs=any",
            [
                "postgresql:///app?host=a&port=1&target_session_attrs=any",
                "postgresql:///app?host=b&port=2&target_session_attrs=any",
            ],
        ),
        ("postgresql:///app?host=a,b,c&port=1,2", ["postgresql:///app?host=a,b,c&port=1,2"]),
    ],
)
def test_each_of_several_hosts(url, each):
    assert urls_of_hosts(url) == each
