"""Name-paths: what is a legal name, how people write one, and which stands below which."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlay.errors import UsageError
from overlay.name import MAX_DEPTH, MAX_PATH, ROOT, Path, parse_name, parse_path, parse_zone
from tests.records.actors import refused

LABELS = st.from_regex(r"[a-z0-9_]([a-z0-9_-]{0,8}[a-z0-9_])?", fullmatch=True)
PATHS = st.lists(LABELS, max_size=8).map(lambda labels: Path(tuple(labels)))
ZONE, TLD = "cloud.example.org", "cloud"


@given(PATHS)
@settings(max_examples=150, deadline=500)
def test_a_path_reads_back_in_every_spelling(path: Path) -> None:
    assert parse_path(str(path)) == path == parse_path(str(path).upper())
    assert parse_name(path.fqdn(ZONE) + ".", zone=ZONE, tld=TLD) == path
    assert parse_name(path.fqdn(TLD) + ".", zone=ZONE, tld=TLD) == path
    if len(path) > 1:
        assert parse_name(str(path)) == path


@given(PATHS, PATHS)
@settings(max_examples=150, deadline=500)
def test_a_path_covers_itself_and_what_is_below(above: Path, below: Path) -> None:
    assert above.covers(above) and ROOT.covers(above)
    joined = Path((*above.labels, *below.labels))
    assert above.covers(joined) and (joined.covers(above) == (not below.labels))
    assert [p for p in joined.ancestors() if p == above]
    assert list(joined.ancestors())[-1] == ROOT


def test_covering_goes_by_labels_and_not_by_letters() -> None:
    assert not parse_path("eu/home").covers(parse_path("eu/homestead"))
    assert not parse_path("eu").covers(parse_path("europe/home"))


@given(st.text(max_size=300))
@settings(max_examples=300, deadline=500)
def test_any_text_is_a_name_or_a_usage_error(text: str) -> None:
    for read in (parse_path, parse_name, lambda t: parse_name(t, zone=ZONE, tld=TLD)):
        try:
            path = read(text)
        except UsageError as why:
            assert why.rule and len(why.what) < 300
        else:
            assert parse_path(str(path)) == path and str(path).isascii()


@pytest.mark.parametrize(
    "label",
    [
        "",
        "-",
        "-a",
        "a-",
        "a b",
        "a.b",
        "a/b",
        "\u00fc",
        "\u212a",
        "\u017f",
        "\u0131",
        "\uff41",
        "a\u200d",
        "a\n",
        "\na",
        "\x00",
        "A",
        "*a",
        "**",
        "a*",
        "x" * 64,
        "xn--\u00fc",
        "\u200b",
        "%41",
        "a\\",
        "'",
    ],
)
def test_illegal_labels_are_refused(label: str) -> None:
    with refused("label", UsageError):
        Path((label,))


@pytest.mark.parametrize("label", ["a", "0", "_", "_tcp", "a-b", "a--b", "xn--bcher-kva", "x" * 63, "*", "ns1"])
def test_legal_labels_are_taken(label: str) -> None:
    assert Path((label,)).leaf == label


@pytest.mark.parametrize("text", ["\u212aey/home", "\u212aey", "ca\ufb01", "\u0130d", "b\u00fccher", "stra\u00dfe/eu"])
def test_no_letter_becomes_another_ones_ascii(text: str) -> None:
    """U+212A has the ASCII letter k as its lower case."""
    for read in (parse_path, parse_name):
        with refused("label", UsageError):
            read(text)


def test_a_wildcard_stands_last_only() -> None:
    assert parse_name("*.home.eu") == Path(("eu", "home", "*"))
    with refused("label", UsageError):
        Path(("eu", "*", "home"))


def test_over_long_names_are_refused() -> None:
    Path(("a",) * MAX_DEPTH)
    with refused("name-length", UsageError):
        Path(("a",) * (MAX_DEPTH + 1))
    Path(("x" * 59,) * 3)
    with refused("name-length", UsageError):
        Path(("x" * 60,) * 3)
    assert MAX_PATH == 180
    with refused("name-length", UsageError):
        parse_name("a." * 100_000 + "b")


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("web.home.eu", "eu/home/web"),
        ("WEB.Home.EU", "eu/home/web"),
        ("web.home.eu.cloud", "eu/home/web"),
        ("web.home.eu.cloud.", "eu/home/web"),
        ("web.home.eu.cloud.example.org", "eu/home/web"),
        ("eu/home/web", "eu/home/web"),
        ("/eu/home/", "eu/home"),
        ("cloud", ""),
        ("cloud.", ""),
        ("cloud.example.org.", ""),
        ("cloud.cloud", "cloud"),
        ("mycloud", "mycloud"),
        ("", ""),
        (".", ""),
        (" web ", "web"),
    ],
)
def test_names_as_people_write_them(text: str, labels: str) -> None:
    assert parse_name(text, zone=ZONE, tld=TLD) == parse_path(labels)


def test_an_absolute_name_of_another_world_is_refused() -> None:
    with refused("absolute", UsageError):
        parse_name("www.example.com.", zone=ZONE, tld=TLD)


@pytest.mark.parametrize("text", ["a..b", ".a", "a..", "..", "//", "a//b"])
def test_empty_labels_are_refused(text: str) -> None:
    if text == "//":
        assert parse_name(text) == ROOT  # slashes around nothing: the root
        return
    with pytest.raises(UsageError):
        parse_name(text)


@pytest.mark.parametrize(
    ("text", "zone"), [("cloud.example.org", "cloud.example.org"), ("Cloud.Example.ORG.", "cloud.example.org"), ("cloud", "cloud")]
)
def test_zones_are_domains(text: str, zone: str) -> None:
    assert parse_zone(text) == zone


@pytest.mark.parametrize(
    "text", ["", ".", "a..b", "a..", "*.org", "-a.org", "a/b", "x" * 64, "a." * 127 + "org", "\u212aey.org", "a b", "a\n.org"]
)
def test_other_texts_are_no_zones(text: str) -> None:
    with refused("zone", UsageError):
        parse_zone(text)
