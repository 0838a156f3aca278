"""The trustless gateway, its store, and what is made of gateways that lie (spec A15)."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager

import aiohttp
import apsw
import pytest
from aiohttp import web
from pydantic import SecretStr

from chain.node.gateways import Kubo, helia, served, shelf, told
from prepaid.chain.content import ContentId, content_id_of, fetch_content
from prepaid.chain.content.tree import PIECE_BYTES, cut
from prepaid.chain.node.content import ContentGateway, ContentStore, Pushing
from prepaid.chain.node.content import pushing as pushing_module
from prepaid.errors import (
    ContentMismatch,
    ContentUnavailable,
    InvalidRequestError,
    StoreBusy,
    StoreFull,
    ValueTooLarge,
)

ROOM = 2**30
LARGE = bytes(range(251)) * (5_000_000 // 251)
RAW, CAR = "application/vnd.ipld.raw", "application/vnd.ipld.car"


@pytest.fixture
def store(tmp_path):
    with_store = ContentStore(tmp_path / "content.db", ROOM)
    yield with_store
    with_store.close()


@pytest.fixture
async def gateway(store):
    async with served(*ContentGateway(store).routes()) as url:
        yield url


@asynccontextmanager
async def asked(url, method="GET", **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        aiohttp.ClientSession(skip_auto_headers=["Accept"]) as client,
        client.request(method, url, headers=named, allow_redirects=False) as reply,
    ):
        yield reply


async def status_of(url, method="GET", **headers):
    async with asked(url, method, **headers) as reply:
        await reply.read()
        return reply.status


async def test_helia_fetches_and_verifies(store, gateway):
    """Spec A15: five megabytes in pieces; the same ids as it finds itself; CAR files of sound blocks."""
    large, small = await store.keep(LARGE), await store.keep(b"hello")
    twice = await store.keep(b"\x07" * 2 * PIECE_BYTES)
    said = await helia(gateway, fetch=[large, small, twice], archives=[large, small, twice], add=[5_000_000])
    assert said["fetch"] == [told(LARGE), told(b"hello"), told(b"\x07" * 2 * PIECE_BYTES)]
    assert said["add"] == [str(content_id_of(bytes([5_000_000 % 251]) * 5_000_000))]
    for archive, root, blocks in zip(said["archives"], (large, small, twice), (6, 1, 2), strict=True):
        assert archive["roots"] == [str(root)]
        assert archive["blocks"][0] == [str(root), True]
        assert [is_sound for _, is_sound in archive["blocks"]] == [True] * blocks


async def test_tampered_blocks_are_refused():
    """Spec A15: by Helia, and by us; whether the only block, a piece, or the root that names the pieces."""
    root, *pieces = cut(LARGE)
    (small,) = cut(b"hello")
    sound = {block.content_id.digest: block.content for block in (root, *pieces)}
    other, *_ = cut(LARGE + b"?")
    lies = {
        small.content_id.digest: b"hullo",
        pieces[3].content_id.digest: bytes(PIECE_BYTES),
        other.content_id.digest: root.content,
    }
    named = [small.content_id, root.content_id, other.content_id]
    async with shelf(sound | lies) as liar:
        for each in named:
            with pytest.raises(ContentMismatch):
                await fetch_content(each, liar)
        said = await helia(liar, fetch=named)
    assert [list(each) for each in said["fetch"]] == [["error"]] * 3


async def test_what_is_said_of_a_block(store, gateway):
    """As the trustless gateway specification has it."""
    root = await store.keep(b"hello")
    url = f"{gateway}/ipfs/{root}"
    async with asked(url, Accept=RAW) as reply:
        assert (reply.status, await reply.read()) == (200, b"hello")
        headers = reply.headers
    assert headers["Content-Type"] == RAW
    assert headers["Cache-Control"] == "public, max-age=29030400, immutable"
    assert headers["Etag"] == f'"{root}.raw"'
    assert headers["X-Ipfs-Path"] == f"/ipfs/{root}"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Disposition"] == f'attachment; filename="{root}.bin"'
    assert headers["Access-Control-Allow-Origin"] == "*"
    async with asked(f"{url}?format=raw", "HEAD") as reply:
        assert (reply.status, reply.headers["Content-Length"], await reply.read()) == (200, "5", b"")
    async with asked(f"{url}?format=car", "HEAD") as reply:
        assert (reply.status, await reply.read()) == (200, b"")
        assert "Content-Length" not in reply.headers
    assert await status_of(url, Accept=RAW, If_None_Match=f'"x", W/"{root}.raw"') == 304


@pytest.mark.parametrize(
    ("query", "accept", "kind"),
    [
        ("?format=raw", CAR, RAW),
        ("?format=car", None, CAR),
        ("?format=car&car-version=1", None, CAR),
        ("", f"text/html, {CAR};version=1;q=0.5, {RAW};q=0.4", CAR),
        ("", f"{CAR};version=2, {RAW}", RAW),
        ("?format=car&car-version=2", RAW, None),
        ("?format=tar", RAW, None),
        ("", f"{RAW};q=0, {CAR};q=x", None),
        ("", "*/*", None),
        ("", None, None),
    ],
)
async def test_forms(query, accept, kind, store, gateway):
    root = await store.keep(b"hello")
    headers = {} if accept is None else {"Accept": accept}
    async with asked(f"{gateway}/ipfs/{root}{query}", **headers) as reply:
        assert reply.status == (406 if kind is None else 200)
        assert kind is None or reply.headers["Content-Type"].startswith(kind)


async def test_the_root_alone(store, gateway):
    """``dag-scope=block``; ``entity`` and ``all`` are the same thing for a file."""
    root, *_ = cut(LARGE)
    await store.keep(LARGE)
    sizes = {}
    for scope in ("block", "entity", "all"):
        async with asked(f"{gateway}/ipfs/{root.content_id}?format=car&dag-scope={scope}") as reply:
            sizes[scope] = len(await reply.read())
    assert len(root.content) < sizes["block"] < len(root.content) + 200
    assert len(LARGE) < sizes["entity"] == sizes["all"]
    assert await status_of(f"{gateway}/ipfs/{root.content_id}?format=car&dag-scope=some") == 400


async def test_what_is_refused(store, gateway):
    root = await store.keep(b"hello")
    other = content_id_of(b"never here")
    for path, status in {
        "/ipfs/nonsense?format=raw": 400,
        "/ipfs/..%2F..%2Fetc%2Fpasswd?format=raw": 400,
        f"/ipfs/{other}?format=raw": 404,
        f"/ipfs/{other}?format=car": 404,
        f"/ipfs/{root}/part?format=car": 404,
        f"/ipfs/{root}/?format=raw": 200,
        "/ipfs/bafkqaaa?format=raw": 200,
        "/": 404,
    }.items():
        assert await status_of(gateway + path) == status, path
    assert await status_of(f"{gateway}/ipfs/{root}?format=raw", "POST") == 405
    assert await status_of(f"{gateway}/ipfs/{other}?format=raw", Cache_Control="only-if-cached") == 412


async def test_too_many_at_once(store):
    """They are told to come again; whoever is being served is served."""
    gateway = ContentGateway(store)
    root = await store.keep(b"hello")
    gateway._running = 64
    async with served(*gateway.routes()) as url:
        async with asked(f"{url}/ipfs/{root}?format=raw") as reply:
            assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
        gateway._running = 63
        assert await status_of(f"{url}/ipfs/{root}?format=raw") == 200
        assert await status_of(f"{url}/ipfs/nonsense?format=raw") == 400
        assert gateway._running == 63


async def test_what_is_dropped_is_gone(store, gateway):
    """Blocks that something else has too stay; what is kept again is back."""
    old, newer = await store.keep(LARGE), await store.keep(LARGE[:PIECE_BYTES])
    with_both = f"{gateway}/ipfs/{newer}?format=raw"
    await store.run(
        lambda books: books.execute("UPDATE content SET stored_at = 1 WHERE content_id = ?", (str(old),))
    )
    assert await store.drop_before(2) == 1
    assert await status_of(f"{gateway}/ipfs/{old}?format=raw") == 410
    assert await status_of(with_both) == 200
    assert not await store.has_room(ROOM)
    assert await store.has_room(ROOM - 2 * PIECE_BYTES), "the pages of what was dropped are free"
    assert await store.keep(LARGE) == old
    assert await fetch_content(old, gateway) == LARGE
    assert await store.drop_before(time.time() + 10) == 2
    assert await status_of(with_both) == 410


async def test_a_store_outlives_its_process(tmp_path):
    """And belongs to one at a time."""
    path = tmp_path / "content.db"
    first = ContentStore(path, ROOM)
    root = await first.keep(b"hello")
    with pytest.raises(StoreBusy, match=r"node\.content_store"):
        ContentStore(path, ROOM)
    first.close()
    second = ContentStore(path, ROOM)
    assert await second.block(root) == b"hello"
    second.close()


async def test_a_store_has_a_limit(tmp_path):
    store = ContentStore(tmp_path / "content.db", 2 * PIECE_BYTES)
    root = await store.keep(bytes(PIECE_BYTES))
    assert not await store.has_room(PIECE_BYTES)
    with pytest.raises(StoreFull, match=f"the limit is {2 * PIECE_BYTES}.*content_store_bytes_max"):
        await store.keep(bytes(PIECE_BYTES + 1))
    assert await store.keep(bytes(PIECE_BYTES)) == root, "what is here takes no room"
    store.close()


async def test_damage_is_noticed(tmp_path, caplog):
    """What the disk has changed is not served."""
    store = ContentStore(tmp_path / "content.db", ROOM)
    root = await store.keep(b"hello")
    store.close()
    with apsw.Connection(str(tmp_path / "content.db")) as books:
        books.execute("UPDATE block SET content = ?", (b"hullo",))
    books.close()
    store = ContentStore(tmp_path / "content.db", ROOM)
    async with served(*ContentGateway(store).routes()) as url:
        assert await status_of(f"{url}/ipfs/{root}?format=raw") == 500
    store.close()


async def test_a_piece_that_is_missing_ends_a_car(store, gateway):
    """It breaks off; it does not end as if it were whole."""
    root, *pieces = cut(LARGE)
    await store.keep(LARGE)
    gone = pieces[2].content_id.digest
    await store.run(lambda books: books.execute("UPDATE block SET content = NULL WHERE digest = ?", (gone,)))
    async with asked(f"{gateway}/ipfs/{root.content_id}?format=car") as reply:
        with pytest.raises(aiohttp.ClientPayloadError):
            await reply.read()


async def test_gateways_that_do_not_have_it(gateway):
    """Told as what may pass."""
    named = content_id_of(b"hello")
    with pytest.raises(ContentUnavailable, match="HTTP status 404"):
        await fetch_content(named, gateway)
    with pytest.raises(ContentUnavailable, match=str(named)):
        await fetch_content(str(named), "http://127.0.0.1:9")

    async def elsewhere(_):
        raise web.HTTPFound("http://127.0.0.1:9/secret")

    async with served(web.get("/ipfs/{cid}", elsewhere)) as url:
        with pytest.raises(ContentUnavailable, match="HTTP status 302"):
            await fetch_content(named, url)


async def test_content_that_is_too_large(store, gateway):
    large = await store.keep(LARGE)
    with pytest.raises(ValueTooLarge, match="the content has"):
        await fetch_content(large, gateway, bytes_max=3_000_000)
    endless = {large.digest: bytes(3 * PIECE_BYTES)}
    async with shelf(endless) as url:
        with pytest.raises(ValueTooLarge, match="the block has"):
            await fetch_content(large, url)


async def test_a_root_that_is_no_file():
    """A directory is dag-pb as well."""
    directory = b"\x0a\x02\x08\x01"
    named = ContentId.of(directory, "dag-pb")
    async with shelf({named.digest: directory}) as url:
        with pytest.raises(InvalidRequestError, match="not that of a file"):
            await fetch_content(named, url)


async def test_content_in_the_id_itself():
    """No gateway is asked."""
    assert await fetch_content("bafkqaaa", "http://127.0.0.1:9") == b""


async def test_a_push_is_made_until_it_is_taken(store, monkeypatch, caplog):
    """Whatever went wrong, and whatever else was pushed meanwhile."""
    caplog.set_level("INFO", "prepaid")
    monkeypatch.setattr(pushing_module, "_LOOK_SECONDS", 0.01)
    large, small = await store.keep(LARGE), await store.keep(b"hello")
    kubo = Kubo()
    kubo.replies = [
        (500, "busy"),
        (200, "<html>"),
        (200, "[]\n{}\n"),
        (200, f'{{"Root": {{"Cid": {{"/": "{large}"}}, "PinErrorMsg": "no space"}}}}'),
    ]
    async with kubo.running() as url:
        task = asyncio.create_task(Pushing(store, SecretStr(url.replace("//", "//user:pass@"))).run())
        async with asyncio.timeout(120):
            while await store.unpushed():  # noqa: ASYNC110 -- the file sets no events
                await asyncio.sleep(0.01)
        task.cancel()
    assert set(kubo.roots) == {str(large), str(small)}
    assert kubo.queries[-1] == {"pin-roots": "true"}
    assert len(kubo.archives) == 6
    assert max(map(len, kubo.archives)) > len(LARGE)
    assert len([each for each in caplog.records if each.getMessage() == "content not pushed"]) == 4
    assert kubo.credentials == {"Basic dXNlcjpwYXNz"}
    assert "pass" not in caplog.text
