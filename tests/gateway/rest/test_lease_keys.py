"""Spec B8, D3: a lease has a space of idempotency keys of its own, over every way that takes one."""

from __future__ import annotations

import json

import pytest

from .api import Api

KEY = "x"
OWNERS, BOBS, CAROLS = "The owner's secret?", "Bob's question?", "Carol's question?"


class Person:
    """Somebody who spends a session, as its owner or under a lease."""

    def __init__(self, api, session_id, lease_id=None):
        self.api = api
        self.path = f"/sessions/{session_id}"
        self.head = {} if lease_id is None else {"X-Prepaid-Lease": lease_id}
        self.session_id = session_id

    def did(self, method, path, body=None, *, key=KEY):
        return self.api.did(method, self.path + path, body, key=key, **self.head)

    def completed(self, text, *, key=KEY, chat=None):
        """The reply of chat completions, which says what was asked."""
        head = {"Authorization": f"Bearer {self.api.key}", "Idempotency-Key": key, **self.head}
        head |= {} if chat is None else {"X-Prepaid-Chat": f"{self.session_id}.{chat}"}
        if not self.api.did("GET", "/keys/self")["session_id"]:
            head["X-Prepaid-Session"] = self.session_id
        body = {"model": "offline", "messages": [{"role": "user", "content": text}]}
        return self.api.gateway.post("/v1/chat/completions", json=body, headers=head)


@pytest.fixture
def people(world, operator, fresh):
    """The owner, and two takers, one after the other, of the same session; Bob's lease was given back."""
    session = fresh("1 USD")
    world.ann.user.did("PUT", f"/sessions/{session['session_id']}/pool", {})
    carol = Api(world.gateway, operator.did("POST", "/keys", {"user_id": "carol"})["api_key"])
    found = {"owner": Person(Api(world.gateway, session["api_key"]), session["session_id"])}

    def taking(name, api):
        lease = api.did("POST", "/pool/leases", {})
        assert lease["session_id"] == session["session_id"]
        found[name] = Person(api, lease["session_id"], lease["lease_id"])
        return found[name]

    def giving_back(name):
        person = found[name]
        lease_id = person.head["X-Prepaid-Lease"]
        person.api.did("DELETE", f"{person.path}/leases/{lease_id}")

    yield found["owner"], lambda: taking("bob", world.bob.user), lambda: taking("carol", carol), giving_back
    world.ann.user.did("DELETE", f"/sessions/{session['session_id']}/pool")


def test_chat_completions(people):
    owner, take_bob, take_carol, give_back = people
    texts = [owner.completed(OWNERS)]
    bob = take_bob()
    texts += [bob.completed(BOBS), bob.completed(BOBS)]
    give_back("bob")
    carol = take_carol()
    texts += [carol.completed(CAROLS), carol.completed(CAROLS)]
    assert [each.status_code for each in texts] == [200] * 5
    ids = [each.json()["id"] for each in texts]
    assert len(set(ids)) == 3
    assert (ids[1], ids[3]) == (ids[2], ids[4])
    conflict = carol.completed(OWNERS)
    assert (conflict.status_code, "lease_" in conflict.text) == (409, False)
    assert "'x'" in conflict.json()["error"]["message"]


def test_what_the_owner_asked_is_not_told_to_who_asks_the_same(people):
    """The very same request, under the very same key: an answer of the taker's own, paid by the lease."""
    owner, take_bob, _, _ = people
    first = owner.completed(OWNERS)
    assert take_bob().completed(OWNERS).json()["id"] != first.json()["id"]
    assert owner.completed(OWNERS).json()["id"] == first.json()["id"]


def test_chats(people):
    owner, take_bob, take_carol, give_back = people
    steps = (
        ("POST", "/chats", lambda name: {"name": name}),
        ("PUT", "/chats/{chat}/config", lambda name: {"system_prompt": name}),
        ("POST", "/chats/{chat}/messages", lambda name: {"text": f"{name}?"}),
        ("DELETE", "/chats/{chat}/messages", lambda _: None),
    )
    told = {}
    for name, take in (("owner", lambda: owner), ("bob", take_bob), ("carol", take_carol)):
        person = take()
        chat = 0
        for number, (method, path, body) in enumerate(steps):
            for _ in range(2):  # again gets the same
                done = person.did(method, path.format(chat=chat), body(name), key=f"{KEY}{number}")
                told.setdefault((name, number), []).append(done)
            chat = told[name, 0][0]["chat"]
        if name != "owner":
            give_back(name)
    assert [told[name, 0][0]["chat"] for name in ("owner", "bob", "carol")] == [1, 2, 3]
    for (name, number), (first, again) in told.items():
        assert json.dumps(again).replace("true", "false") == json.dumps(first).replace("true", "false"), (
            number
        )
        if number == 0:
            assert first["name"] == name


def test_an_exchange_is_kept_in_a_chat_of_the_taker_s_own_only(people):
    """Spec A5: X-Prepaid-Chat under a lease."""
    owner, take_bob, _, _ = people
    owner.did("POST", "/chats", {"name": "private"})
    bob = take_bob()
    reply = bob.completed(BOBS, chat=1)
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "chat_not_found")
    assert owner.api.did("GET", f"{owner.path}/chats/1")["message_count"] == 0
    own = bob.did("POST", "/chats", {"name": "mine"})["chat"]
    assert bob.completed(BOBS, key="y", chat=own).status_code == 200
