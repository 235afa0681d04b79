"""Drafts of what the root keys sign: gathered on several machines, complete at every threshold, refused when odd (R11, R17)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlay.errors import OverlayError, TrustError, UsageError
from overlay.identity.keys import Signer
from overlay.records import rights
from overlay.roots import SHOWN, RootDraft, due, key_file, next_version, read_key, renewal
from overlay.units import DAY, b64
from tests.directory.books import book_of
from tests.records.actors import AT, Overlay, found, refused, seed

NEW = [Signer.from_seed(seed(f"new root key {number}")) for number in range(3)]


@pytest.fixture
def overlay() -> Overlay:
    return found(keys=3, threshold=2)


def carried(draft: RootDraft) -> RootDraft:
    """The same draft after it was carried to another machine."""
    return RootDraft.read(draft.text(), "draft")


def rotation(overlay: Overlay, *, keys: list[Signer] = NEW, threshold: int = 2, admission: str | None = None) -> RootDraft:
    return next_version([overlay.root], [key.public for key in keys], threshold, admission, AT + 60)


def test_two_of_three_keys_on_different_machines_change_the_root(overlay: Overlay) -> None:
    draft = rotation(overlay)
    assert draft.sign(NEW) == 3
    assert draft.missing() == 2
    draft = carried(draft)
    assert draft.sign(overlay.keys[:1]) == 1
    draft = carried(draft)
    assert draft.missing() == 1
    with refused("root-unsigned", UsageError):
        draft.record()
    assert draft.sign(overlay.keys[2:]) == 1
    record = carried(draft).record()
    trust = overlay.trust()
    trust.judge(record, AT + 61, overlay.lookup)
    assert trust.adopt_root(record) and trust.root is not None and trust.root.version == 2


def test_a_lost_key_is_replaced_by_the_others(overlay: Overlay) -> None:
    """Key 0 is gone: the other two bring in a new one, and it is out."""
    keys = [*overlay.keys[1:], NEW[0]]
    draft = rotation(overlay, keys=keys)
    draft.sign(keys)
    trust = overlay.trust()
    trust.adopt_root(record := draft.record())
    trust.judge(record, AT + 61, overlay.lookup)
    late = overlay.root_grant(overlay.stranger, "", {rights.GRANT}, keys=overlay.keys[:2], at=AT + 3_600)
    with pytest.raises(TrustError) as told:
        trust.judge(late, AT + 3_601, overlay.lookup)
    assert told.value.rule == "R11", "the lost key rules no more"


def test_one_key_of_three_changes_nothing(overlay: Overlay) -> None:
    draft = rotation(overlay)
    draft.sign([*NEW, overlay.keys[0]])
    assert draft.missing() == 1
    draft.rulers = draft.rulers[1:]  # somebody leaves out the line that names the old keys
    with refused("R17"):
        overlay.trust().judge(draft.record(), AT + 61, overlay.lookup)


def test_strangers_signatures_are_not_taken(overlay: Overlay) -> None:
    draft = rotation(overlay)
    assert draft.sign([Signer.from_seed(seed("stranger"))]) == 0


def test_admission_changes_with_the_version(overlay: Overlay) -> None:
    draft = rotation(overlay, admission="invite")
    draft.sign([*NEW, *overlay.keys])
    book = book_of(overlay)
    book.add(draft.record(), AT + 61)
    assert book.trust.root is not None and book.trust.root.admission == "invite"


def test_what_the_root_keys_gave_is_renewed_and_all_below_can_be(overlay: Overlay) -> None:
    given_then = overlay.founder.holds(rights.GRANT)
    assert not due(given_then, AT + 100 * DAY) and due(given_then, AT + 200 * DAY)
    at = AT + 200 * DAY
    draft = renewal([overlay.root], given_then, at)
    draft.sign(overlay.keys[:2])
    record = carried(draft).record()
    book = book_of(overlay)
    book.add(record, at)
    assert record.identity == given_then.identity and record.expires == at + 365 * DAY
    assert book.grants_of(overlay.founder.node_id, AT + 400 * DAY)[0] == record


def test_a_draft_says_what_one_signs(overlay: Overlay) -> None:
    keys = ", ".join(b64(key)[:SHOWN] for key in sorted(key.public for key in NEW))
    assert rotation(overlay).describe() == f"root version 2: 2 of 3 keys {keys}, admission open, zone cloud.example.org, TLD cloud"
    assert "the root" in renewal([overlay.root], overlay.founder.holds(rights.GRANT), AT).describe()


@settings(max_examples=200)
@given(st.data())
def test_a_damaged_draft_is_refused_or_the_same(data: st.DataObject) -> None:
    overlay = found()
    draft = rotation(overlay)
    draft.sign([*NEW, *overlay.keys])
    text = draft.text()
    place = data.draw(st.integers(0, len(text) - 1))
    damaged = text[:place] + data.draw(st.sampled_from(["", "A", "\n", " ", "of", "\x00", "é"])) + text[place + 1 :]
    try:
        other = RootDraft.read(damaged, "draft")
        record = other.record()
    except OverlayError:
        return
    if record.content == draft.content:
        assert set(record.sigs) <= set(draft.record().sigs), "a signature that does not hold is never kept"
    else:
        with pytest.raises(TrustError):
            overlay.trust().judge(record, AT + 61, overlay.lookup)


def test_key_files_are_read_whole_or_not_at_all(overlay: Overlay) -> None:
    text = key_file(overlay.overlay_id, seed("x"))
    overlay_id, signer = read_key(text, "root.key")
    assert (overlay_id, signer.public) == (overlay.overlay_id, Signer.from_seed(seed("x")).public)
    for junk in ("", "x", text[:-10], text + "more\n", text.replace("key 1", "key 2")):
        with refused("root-key", UsageError):
            read_key(junk, "root.key")
