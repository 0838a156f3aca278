"""Content ids and blocks are those of IPFS (spec A15)."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prepaid.chain.content import ContentId, content_id_of, decode_content_id, encode_content_id
from prepaid.chain.content.tree import PIECE_BYTES, Branch, cut
from prepaid.chain.node.content.contents import content_named, content_of
from prepaid.chain.values import encode_prompt, encode_text
from prepaid.errors import ContentMismatch, InvalidRequestError, ValueTooLarge

HELLO = "bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"),
        (b"hello", HELLO),
        (b"\x07" * (PIECE_BYTES + 1), "bafybeigjlpad4kropgqbvvtp4leb45zzlmlgtwcnswuiq4au36xg6a4ibq"),
        (bytes(5_000_000), "bafybeihftv73qycd2avrbe6llq2vev7x5sg2opp4d2v4ksdyiflzw7ykiu"),
    ],
)
def test_an_id_is_the_one_that_helia_finds(content, told):
    """Spec A15. By ``addBytes`` of @helia/unixfs 8.0.5; tests/chain/node asks it again for others."""
    assert str(content_id_of(content)) == told


def test_large_content_is_cut():
    """Spec A15: blocks of at most 1 MiB, put together again in order."""
    content = bytes(range(256)) * (5 * PIECE_BYTES // 256) + b"the end"
    root, *leaves = cut(content)
    assert root.content_id.codec == "dag-pb"
    assert [len(leaf.content) for leaf in leaves] == [PIECE_BYTES] * 5 + [7]
    assert b"".join(leaf.content for leaf in leaves) == content
    assert Branch.read(root.content) == Branch(b"", tuple(leaf.content_id for leaf in leaves))


def test_more_than_one_node_can_link_to_is_refused():
    with pytest.raises(ValueTooLarge, match="1073741824"):
        cut(bytes(1_024 * PIECE_BYTES + 1))


def test_ids_of_other_forms_are_read():
    """Version 0, which has no codec; and content that stands in the id itself."""
    assert ContentId.read("QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPBdG").codec == "dag-pb"
    nothing = ContentId.read("bafkqaaa")
    assert nothing.is_inline
    assert nothing.check(b"") == b""
    assert str(nothing) == "bafkqaaa"
    assert ContentId.read(HELLO.upper()) == ContentId.read(HELLO)
    for each in (nothing, ContentId.read(HELLO)):
        assert ContentId.read(bytes(each)) == ContentId.read(str(each)) == each


@pytest.mark.parametrize(
    "told",
    [
        "",
        "x",
        "bafk",
        HELLO[:-1],
        HELLO[:-1] + "r",
        "Qm123",
        "b" * 10_000,
        "../../etc/passwd",
        "bafyreibml5uieyxa5tufngvg7fgwbkwvlsuntwbxgtskoqynbt7wlchmfm",  # dag-cbor
        b"",
        b"\x01",
        b"\xff" * 64,
    ],
)
def test_what_is_no_id_of_a_file_is_refused(told):
    with pytest.raises(InvalidRequestError, match="ontent id"):
        ContentId.read(told)


def test_a_block_is_checked():
    """Spec A15."""
    hello = ContentId.read(HELLO)
    assert hello.check(b"hello") == b"hello"
    with pytest.raises(ContentMismatch, match=HELLO):
        hello.check(b"hullo")


def test_a_response_carries_the_id_as_text():
    """Spec A15: a contract reads it with ``abi.decode(response, (string))``."""
    response = encode_content_id(ContentId.read(HELLO))
    assert response == encode_text(HELLO)
    assert len(response) == 128
    assert decode_content_id(response) == ContentId.read(HELLO)


@pytest.mark.parametrize("response", [b"", b"\x00", encode_text("Sunny.")])
def test_a_response_without_an_id(response):
    with pytest.raises(InvalidRequestError):
        decode_content_id(response)


@given(st.binary(max_size=200))
def test_rubbish_is_no_branch(block):
    """Whatever a gateway serves ends in a typed error, or in a branch."""
    with suppress(InvalidRequestError):
        assert isinstance(Branch.read(block), Branch)


@given(st.data())
def test_damaged_branches(data):
    """The same, near to what is right."""
    block = bytearray(cut(bytes(2 * PIECE_BYTES))[0].content)
    for at in data.draw(st.lists(st.integers(0, len(block) - 1), min_size=1, max_size=3)):
        block[at] = data.draw(st.integers(0, 255))
    with suppress(InvalidRequestError):
        Branch.read(bytes(block[: data.draw(st.integers(0, len(block)))]))


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("Sunny.", b"Sunny."),
        ("é \ud800", b"\xc3\xa9 ?"),
        ("data:image/png;base64,aGVsbG8=", b"hello"),
        (" data:;base64,aGVsbG8=\n", b"hello"),
        ("data:image/svg+xml;charset=utf-8,%3Csvg/%3E", b"<svg/>"),
        ("data:,", b""),
        ("Here: data:image/png;base64,aGVsbG8=", b"Here: data:image/png;base64,aGVsbG8="),
    ],
)
def test_what_a_model_means(text, content):
    """Spec A15: a picture comes as a data: URI; everything else is text."""
    assert content_of(text) == content


@pytest.mark.parametrize(
    "text", ["data:image/png;base64,aGVsbG8", "data:image/png;base64,a b", "data:image/png"]
)
def test_a_picture_that_was_cut(text):
    with pytest.raises(InvalidRequestError, match="no whole data: URI"):
        content_of(text)


def test_a_prompt_or_its_id():
    """Spec A15: the id as text, encoded or not; anything else is the prompt."""
    for call in (HELLO.encode(), encode_text(HELLO)):
        assert content_named(call) == ContentId.read(HELLO)
    for call in (b"", b"\xff", encode_prompt(HELLO), encode_prompt(), encode_text("Why?")):
        assert content_named(call) is None
