"""Keys: derivation, signatures against RFC 8032's vectors, and the file `identity`, sound or damaged."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlay.errors import StateError
from overlay.identity.keys import Identity, Signer, digest, verify
from overlay.units import b64
from tests.records.actors import refused, seed

# RFC 8032, 7.1: (secret, public, message, signature)
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
]
ME = Identity.from_secret(seed("me"))


@pytest.mark.parametrize(("secret", "public", "message", "signature"), RFC_8032)
def test_signatures_are_those_of_rfc_8032(secret: str, public: str, message: str, signature: str) -> None:
    signer = Signer.from_seed(bytes.fromhex(secret))
    assert signer.public.hex() == public and signer.sign(bytes.fromhex(message)).hex() == signature
    assert verify(bytes.fromhex(public), bytes.fromhex(signature), bytes.fromhex(message))


def test_a_digest_is_blake2s() -> None:
    assert digest(b"abc").hex() == "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982"  # RFC 7693, appendix B


def test_both_keys_come_from_the_secret_and_neither_tells_of_the_other() -> None:
    again = Identity.from_secret(seed("me"))
    assert (again.node_id, again.exchange_public) == (ME.node_id, ME.exchange_public)
    assert len({ME.node_id, ME.exchange_public, ME.secret}) == 3


def test_a_secret_does_not_show_in_logs() -> None:
    for secret in (ME.secret.hex(), repr(ME.secret), b64(ME.secret)):
        assert secret not in repr(ME) and secret not in repr(ME.signer)


@pytest.mark.parametrize("position", [0, 31, 32, 63])
def test_a_changed_signature_does_not_hold(position: int) -> None:
    signature = bytearray(ME.signer.sign(b"said"))
    assert verify(ME.node_id, bytes(signature), b"said") and not verify(ME.node_id, bytes(signature), b"said ")
    signature[position] ^= 1
    assert not verify(ME.node_id, bytes(signature), b"said")


def test_a_signature_has_one_spelling() -> None:
    """S + L is the same number to a lax verifier (RFC 8032, 5.1.7): it must not make a second record of one."""
    signature = ME.signer.sign(b"said")
    order = 2**252 + 27742317777372353535851937790883648493
    other = signature[:32] + (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")
    assert not verify(ME.node_id, other, b"said")


@given(st.binary(max_size=40), st.binary(max_size=70), st.binary(max_size=10))
@settings(max_examples=100, deadline=500)
def test_no_key_and_no_signature_raise(public: bytes, signature: bytes, message: bytes) -> None:
    assert not verify(public, signature, message)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_secret_has_32_octets(length: int) -> None:
    with refused("identity", StateError):
        Identity.from_secret(bytes(length))


# -- the file


def test_the_file_reads_back() -> None:
    again = Identity.from_file(ME.to_file(), "identity")
    assert (again.secret, again.node_id) == (ME.secret, ME.node_id)


TITLE, SECRET, CHECK = ME.to_file().splitlines()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        TITLE,
        f"{TITLE}\n{SECRET}\n",
        f"{TITLE}\n{SECRET}\n{CHECK}\nmore\n",
        f"other 1\n{SECRET}\n{CHECK}\n",
        f"{TITLE}\n{SECRET[:-2]}\n{CHECK}\n",
        f"{TITLE}\n{SECRET}=\n{CHECK}\n",
        f"{TITLE}\n {SECRET}\n{CHECK}\n",
        f"{TITLE}\n{SECRET}\n{CHECK[:-1]}\n",
        f"{TITLE}\n{SECRET}\n{'A' * len(CHECK)}\n",
        f"{TITLE}\n{b64(seed('another'))}\n{CHECK}\n",
        "\x00" * 100,
        "\ufffd\n\ufffd\n\ufffd\n",
        TITLE.upper() + f"\n{SECRET}\n{CHECK}\n",
    ],
)
def test_a_damaged_file_is_told_by_its_name(text: str) -> None:
    with pytest.raises(StateError) as damaged:
        Identity.from_file(text, "/somewhere/identity")
    what, todo = damaged.value.lines()
    assert "/somewhere/identity" in what and todo and SECRET not in what


@given(st.integers(0, len(ME.to_file()) - 2), st.characters())
@settings(max_examples=150, deadline=500)
def test_no_changed_character_goes_unnoticed(position: int, character: str) -> None:
    text = ME.to_file()
    changed = text[:position] + character + text[position + 1 :]
    try:
        assert Identity.from_file(changed, "identity").secret == ME.secret  # only the spelling of a line's end may differ
    except StateError:
        assert changed != text
