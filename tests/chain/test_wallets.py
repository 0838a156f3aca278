"""Wallets: keys from files and the environment, signers elsewhere, and nothing that tells a secret."""

from __future__ import annotations

import copy
import getpass
import json
import logging
import pickle
import stat

import pytest
from aiohttp import web
from eth_account import Account
from eth_utils import keccak
from hexbytes import HexBytes

from chain.world import ALICE, BOB, QUICK, USDT
from prepaid import ConfigError, WalletUnusable
from prepaid.chain.ai import AiContract
from prepaid.chain.external_signer import ExternalSigner
from prepaid.chain.opening import open_wallet
from prepaid.chain.wallets import (
    KeyWallet,
    password_from_environment,
    password_from_file,
    password_from_prompt,
)
from prepaid.config import ChainSettings

KEY = keccak(text="a key for tests: alice")
PASSWORD = "correct horse battery staple"


@pytest.fixture(scope="session")
def keystore(tmp_path_factory):
    """A keystore as others write it, with few iterations, so that it opens at once."""
    path = tmp_path_factory.mktemp("keys") / "keystore.json"
    path.write_text(json.dumps(Account.encrypt(KEY, PASSWORD, kdf="pbkdf2", iterations=10)))
    return path


@pytest.fixture
def settings(keystore):
    return ChainSettings(keystore=str(keystore))


async def test_a_keystore_with_its_password_in_the_environment(settings, monkeypatch):
    monkeypatch.setenv("PREPAID_KEYSTORE_PASSWORD", PASSWORD)
    assert (await open_wallet(settings)).address == ALICE.address


async def test_a_keystore_with_its_password_in_a_file(keystore, tmp_path):
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\r\nnot this line\n")
    opened = await open_wallet(ChainSettings(keystore=str(keystore), password_file=str(file)))
    assert opened.address == ALICE.address


async def test_a_keystore_with_its_password_typed(keystore, monkeypatch):
    asked = []
    monkeypatch.setattr(getpass, "getpass", lambda text: asked.append(text) or PASSWORD)
    opened = await KeyWallet.from_keystore(keystore, password_from_prompt())
    assert (opened.address, asked) == (ALICE.address, ["Password of the keystore: "])


async def test_nobody_is_asked_where_nobody_is(settings, monkeypatch):
    """Without a terminal, a missing password is an error, not a hang."""
    monkeypatch.delenv("PREPAID_KEYSTORE_PASSWORD", raising=False)
    with pytest.raises(WalletUnusable, match="PREPAID_KEYSTORE_PASSWORD"):
        await open_wallet(settings)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        ("", "it is no keystore"),
        ("{}", "it is no keystore"),
        ('{"version": 3}', "it is no keystore"),
        ("\xff", "it is no keystore"),
        ("[" * 500, "it is no keystore"),
    ],
)
async def test_a_keystore_that_is_none(tmp_path, content, said):
    path = tmp_path / "keystore.json"
    if content is not None:
        path.write_text(content, encoding="latin-1")
    with pytest.raises(WalletUnusable, match=said):
        await KeyWallet.from_keystore(path, lambda: PASSWORD)


async def test_another_password(keystore, tmp_path):
    with pytest.raises(WalletUnusable, match="the password is another") as caught:
        await KeyWallet.from_keystore(keystore, lambda: "Tr0ub4dor&3")
    assert "Tr0ub4dor&3" not in str(caught.value)
    with pytest.raises(WalletUnusable, match="password file"):
        await KeyWallet.from_keystore(keystore, password_from_file(tmp_path / "none"))
    with pytest.raises(WalletUnusable, match="NOT_SET"):
        await KeyWallet.from_keystore(keystore, password_from_environment("NOT_SET"))


async def test_the_key_in_the_environment(monkeypatch):
    monkeypatch.setenv("PREPAID_CHAIN_KEY", f"0x{KEY.hex()}")
    assert (await open_wallet(ChainSettings())).address == ALICE.address
    for wrong in ("", "0x12", "zz" * 32, KEY.hex() + "00", "00" * 32):
        monkeypatch.setenv("PREPAID_CHAIN_KEY", wrong)
        with pytest.raises(WalletUnusable) as caught:
            await open_wallet(ChainSettings())
        assert not wrong or wrong not in str(caught.value)
        assert caught.value.__cause__ is None


@pytest.mark.slow
async def test_a_new_wallet_is_kept_where_only_its_owner_reads(tmp_path):
    """Written once: a key is never overwritten."""
    made, path = KeyWallet.create(), tmp_path / "new.json"
    made.to_keystore(path, lambda: PASSWORD)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (await KeyWallet.from_keystore(path, lambda: PASSWORD)).address == made.address
    with pytest.raises(FileExistsError):
        KeyWallet.create().to_keystore(path, lambda: PASSWORD)


async def test_a_key_is_told_nowhere(caplog):
    """Not by repr, not by pickle or a copy, not in what is logged while it signs."""
    caplog.set_level(logging.DEBUG)
    own = KeyWallet(KEY)
    await own.sign_transaction(
        {"to": BOB.address, "value": 1, "gas": 21_000, "nonce": 0, "chainId": 1, "type": 2}
        | {"maxFeePerGas": 1, "maxPriorityFeePerGas": 1}
    )
    told = f"{own!r} {own} {[own]!r} {caplog.text}"
    assert repr(own) == f"<KeyWallet {ALICE.address}>"
    assert KEY.hex() not in told.lower()
    assert str(int.from_bytes(KEY)) not in told
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="not copied"):
            leak(own)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"data": "0x", "value": 2**255},
        {"data": "0x" + "ab" * 700, "nonce": 2**40, "gas": 30_000_000},
        {"data": b"\x00\x01", "maxFeePerGas": 2**90, "maxPriorityFeePerGas": 0, "chainId": 2**60},
    ],
)
async def test_it_signs_as_eth_account_does(change):
    """To the byte; a contract's creation, which has no addressee, too."""
    fees = {"maxFeePerGas": 2 * 10**9, "maxPriorityFeePerGas": 10**9}
    asked = {"gas": 21_000, "nonce": 0, "chainId": 1, "type": 2, "value": 0} | fees | change
    for each in (asked, {"to": BOB.address} | asked):
        ours = await KeyWallet(KEY).sign_transaction(each)
        assert ours == bytes(Account.from_key(KEY).sign_transaction(each).raw_transaction)


class Signer:
    """A signer over HTTP, with a key of its own; ``spoil`` changes what it is asked before it signs."""

    def __init__(self, key, namespace):
        self._wallet = KeyWallet(key)
        self._namespace = namespace
        self.spoil = lambda transaction: transaction
        self.answer = None

    async def __aenter__(self):
        application = web.Application()
        application.router.add_post("/", self._handle)
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/"
        return self

    async def __aexit__(self, *_):
        await self._runner.cleanup()

    async def _handle(self, request):
        call = await request.json()
        result = self.answer or {"result": await self._sign(call["method"], call["params"])}
        return web.json_response({"jsonrpc": "2.0", "id": call["id"], **result})

    async def _sign(self, method, params):
        if method == f"{self._namespace}_signTransaction":
            asked = {name: int(value, 16) if name in NUMBERS else value for name, value in params[0].items()}
            assert asked.pop("from") == ALICE.address
            raw = await self._wallet.sign_transaction(self.spoil({**asked, "type": 2}))
            return {"raw": "0x" + raw.hex(), "tx": {}} if self._namespace == "account" else "0x" + raw.hex()
        assert method == {"account": "account_signTypedData", "eth": "eth_signTypedData_v4"}[self._namespace]
        typed = params[1]
        for field in typed["types"][typed["primaryType"]]:
            if field["type"].startswith("bytes"):
                typed["message"][field["name"]] = HexBytes(typed["message"][field["name"]])
        return "0x" + (await self._wallet.sign_typed_data(typed)).hex()


NUMBERS = ("nonce", "gas", "maxFeePerGas", "maxPriorityFeePerGas", "value", "chainId")


@pytest.fixture(params=["eth", "account"])
def namespace(request):
    return request.param


@pytest.fixture
async def signer(namespace):
    async with Signer(KEY, namespace) as running:
        yield running


@pytest.fixture
async def external(signer, namespace):
    wallet_ = ExternalSigner(signer.url, ALICE.address, namespace=namespace, timeout_seconds=60)
    yield wallet_
    await wallet_.aclose()


class TestASignerElsewhere:
    async def test_it_signs_transactions_and_messages(self, external, chain, world):
        """clef's API, and everybody else's."""
        hers = await AiContract.at(chain, world.signed_ai, external, QUICK)
        session_id = await hers.start_user_session("1 USDM")
        assert (await hers.session_of(session_id)).owner == ALICE.address
        assert await hers.start_user_session_with_permit("1 USDM") != session_id
        authorization = await hers.authorize("1 USDM")
        assert await hers.start_user_session_with_authorization(authorization) != session_id

    @pytest.mark.parametrize(
        "change",
        [
            {"to": BOB.address},
            {"value": 1},
            {"nonce": 7},
            {"data": "0x1234"},
            {"gas": 10**7},
            {"maxFeePerGas": 10**15},
            {"accessList": [{"address": BOB.address, "storageKeys": []}]},
        ],
    )
    async def test_what_it_changes_is_not_sent(self, external, signer, chain, world, change):
        signer.spoil = lambda transaction: transaction | change
        ai = await AiContract.at(chain, world.ai, external, QUICK)
        before = await chain.w3.eth.get_transaction_count(ALICE.address)
        with pytest.raises(WalletUnusable, match="signed another transaction"):
            await ai.deposit("1 USDT")
        assert await chain.w3.eth.get_transaction_count(ALICE.address) == before

    async def test_what_it_signs_with_another_key_is_not_sent(self, namespace, chain, world):
        async with Signer(keccak(text="a key for tests: bob"), namespace) as signer:
            mallory = ExternalSigner(signer.url, ALICE.address, namespace=namespace)
            hers = await AiContract.at(chain, world.signed_ai, mallory, QUICK)
            with pytest.raises(WalletUnusable, match="signed another transaction"):
                await hers.deposit("1 USDM")
            with pytest.raises(WalletUnusable, match="signed for somebody else"):
                await hers.authorize("1 USDM")
            await mallory.aclose()

    async def test_it_refuses(self, external, signer, chain, world):
        ai = await AiContract.at(chain, world.ai, external, QUICK)
        signer.answer = {"error": {"code": -32000, "message": "request denied"}}
        with pytest.raises(WalletUnusable, match="request denied"):
            await ai.deposit("1 USDT")
        signer.answer = {"result": "0x1234"}
        with pytest.raises(WalletUnusable, match="signed another transaction"):
            await ai.deposit("1 USDT")

    async def test_it_is_not_there(self):
        nobody = ExternalSigner("http://127.0.0.1:9/?key=secret", ALICE.address)
        with pytest.raises(WalletUnusable, match=r"127\.0\.0\.1:9 cannot be reached") as caught:
            await nobody.sign_transaction({"to": BOB.address, "value": 1})
        assert "secret" not in f"{caught.value} {nobody!r}"
        await nobody.aclose()

    async def test_it_is_configured(self, namespace, signer):
        configured = await open_wallet(ChainSettings(signer_url=signer.url, signer_address=ALICE.address))
        assert configured.address == ALICE.address
        with pytest.raises(ConfigError, match="signer_address"):
            await open_wallet(ChainSettings(signer_url=signer.url))


async def test_the_nodes_own_signer(anvil, chain, world):
    """A real ``eth_signTransaction``: anvil signs for the accounts it was started with."""
    account = anvil.rpc("eth_accounts")[0]
    external = ExternalSigner(anvil.url, account)
    token = (await AiContract.at(chain, world.ai, external, QUICK)).token
    await token.approve(BOB.address, USDT)
    assert await token.allowance(account, BOB.address) == USDT
    await external.aclose()
