"""``overlay.toml``: what holds, and how mistakes are told (CONTRACT, "Configuration")."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlay.cli.config_file import load, remember
from overlay.config import Config, InvalidConfig, Lan, Listen, Names, Operate, Release, dump, overrides, parse, plain
from overlay.errors import ConfigError, UsageError
from overlay.settings import OFF, SETTINGS

DOCS = Path(__file__).parent.parent / "docs" / "configuration.md"

CONTRACT = """
[listen]
overlay = ["0.0.0.0:7653", "[::]:7653"]
tls     = ["0.0.0.0:443", "[::]:443"]
http    = ["0.0.0.0:80"]
dns     = ["0.0.0.0:53"]
stub    = ["127.0.0.1:53"]
advertise = []
[names]
policy   = "overlay-first"
upstream = []
[lan]
discovery = true
admit      = false
virtual_ip = ""
[release]
kernel = "ask"
[operate]
reboot = "program"
"""


def problems(text: str) -> list[tuple[int, str]]:
    with pytest.raises(InvalidConfig) as caught:
        parse(text, "overlay.toml")
    return [tuple(problem) for problem in caught.value.problems]


def test_the_defaults_are_the_contracts() -> None:
    assert parse(CONTRACT, "overlay.toml") == Config() == parse("", "overlay.toml")


def test_the_page_shows_every_key_with_its_default_and_meaning() -> None:
    block = re.search(r"```toml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert block is not None
    assert parse(block[1], "docs") == Config()
    for section, keys in SETTINGS.items():
        assert f"[{section}]" in block[1]
        for key, setting in keys.items():
            line = next(line for line in block[1].splitlines() if line.startswith(f"{key} = "))
            assert setting.meaning.split(",")[0] in line, key


def test_all_mistakes_are_told_at_once_with_line_and_nearest_key() -> None:
    found = problems(
        "# a comment\n"
        "[listen]\n"
        'overlya = ["0.0.0.0:7653"]\n'
        "stub = 53\n"
        'policy = "exclusive"\n'
        "\n"
        "[names]\n"
        'policy = "exclusiv"\n'
        "[lann]\n"
        "discovery = true\n"
        "[operate]\n"
        "reboot = true\n"
    )
    assert [line for line, _ in found] == [3, 4, 5, 8, 9, 12]
    assert "did you mean overlay?" in found[0][1]
    assert "the number 53" in found[1][1]
    assert "belongs in [names]" in found[2][1]
    assert 'did you mean "exclusive"?' in found[3][1]
    assert "did you mean [lan]?" in found[4][1]
    assert "the truth value true" in found[5][1]


def test_the_error_itself_names_them_all() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("[lan]\nadmitt = true\nvirtual_ip = 3\n", "home/overlay.toml")
    assert caught.value.exit_status == 1
    assert re.match(r"home/overlay.toml: line 2: .*admit\?; line 3: ", caught.value.what)


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("lan = 3\n", 1, "is a section"),
        ("\n[[lan]]\ndiscovery = true\n", 2, "is a section"),
        ('\npolicy = "exclusive"\n', 2, "policy in [names]"),
        ("[zzz]\n", 1, "there are listen, names"),
        ("[names]\nzzzzzz = 1\n", 2, "it has policy, upstream"),
        ("[names]\npolicy = ['exclusive']\n", 2, "a list"),
        ("names.policy = 1979-05-27\n", 1, "a date"),
        ("names = { policy = 1.5 }\n", 1, "the number 1.5"),
        ("[names]\n\n'policy' = {}\n", 3, "a section"),
        ("[names]\nupstream = '1.1.1.1'\n", 2, "wants a list"),
        ("[names]\nupstream = ['dns.example']\n", 2, "not the address of a resolver"),
        ("[names]\nupstream = ['1.1.1.1:0']\n", 2, "not the address of a resolver"),
        ("[names]\nupstream = ['1.1.1.1', '1.1.1.1:53']\n", 2, "twice"),
        ("[listen]\ndns = []\n", 2, "wants a list such as"),
        ("[listen]\ndns = 'on'\n", 2, "wants a list such as"),
        ("[listen]\ndns = ['off', '1.2.3.4:53']\n", 2, "either a list of addresses or"),
        ("[listen]\ndns = ['1.2.3.4']\n", 2, "IP:PORT"),
        ("[listen]\ndns = ['1.2.3.4:65536']\n", 2, "IP:PORT"),
        ("[listen]\ndns = ['1.2.3.4:-1']\n", 2, "IP:PORT"),
        ("[listen]\ndns = ['::1:53']\n", 2, "IP:PORT"),
        ("[listen]\ndns = ['[1.2.3.4]:53']\n", 2, "IP:PORT"),
        ("[listen]\ndns = ['localhost:53']\n", 2, "IP:PORT"),
        ("[listen]\ndns = [53]\n", 2, "list of strings"),
        ("[listen]\ndns = ['127.0.0.1:53', '127.0.0.1:053']\n", 2, "twice"),
        ("[listen]\nadvertise = ['not an interface']\n", 2, "neither an interface"),
        ("[listen]\nadvertise = ['1.2.3']\n", 2, "neither an interface"),
        ("[lan]\ndiscovery = 'yes'\n", 2, "is true or false"),
        ("[lan]\ndiscovery = 1\n", 2, "is true or false"),
        ("[lan]\nvirtual_ip = '192.168.1.250'\n", 2, "with its prefix"),
        ("[lan]\nvirtual_ip = '192.168.1.0/24'\n", 2, "with its prefix"),
        ("[lan]\nvirtual_ip = '192.168.1.250/33'\n", 2, "with its prefix"),
        ("[lan]\nvirtual_ip = '192.168.1.255/24'\n", 2, "with its prefix"),
        ("[lan]\nvirtual_ip = '127.0.0.5/8'\n", 2, "with its prefix"),
        ("[lan]\nvirtual_ip = '2001:db8::5/64'\n", 2, "IPv4 so far"),
        ("[release]\nkernel = true\n", 2, 'is "yes", "no" or "ask"'),
        ("[operate]\nreboot = 'machin'\n", 2, 'did you mean "machine"?'),
        ("[lan]\ndiscovery = true\ndiscovery = true\n", 3, "not valid TOML"),
        ("[lan]\ndiscovery = \n", 2, "not valid TOML"),
        ("[lan\n", 1, "not valid TOML"),
        ("x = " + "[" * 5_000 + "]" * 5_000, 1, "too deeply"),
    ],
)  # fmt: skip
def test_each_mistake_is_told_with_its_line(text: str, line: int, told: str) -> None:
    found = problems(text)
    assert len(found) == 1, found
    assert found[0][0] == line
    assert told in found[0][1]


def test_values_are_held_in_one_spelling() -> None:
    config = parse(
        "[listen]\noverlay = ['127.0.0.1:07653', '[0:0::1]:1']\nstub = 'off'\ndns = ['off']\nadvertise = ['eth0', '2001:DB8::1']\n"
        "[names]\nupstream = ['9.9.9.9', '[2001:db8::1]:5353']\n[lan]\nvirtual_ip = '192.168.1.250/24'\n",
        "overlay.toml",
    )
    assert config.listen == Listen(overlay=("127.0.0.1:7653", "[::1]:1"), stub=OFF, dns=OFF, advertise=("eth0", "2001:db8::1"))
    assert config.names == Names(upstream=("9.9.9.9:53", "[2001:db8::1]:5353"))
    assert config.lan == Lan(virtual_ip="192.168.1.250/24")


def test_a_home_without_a_file_has_the_defaults(tmp_path: Path) -> None:
    assert load(tmp_path) == load(tmp_path / "absent") == Config()


def test_a_file_that_is_no_text_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "overlay.toml").write_bytes(b"[lan]\n# \xff\n")
    with pytest.raises(InvalidConfig) as caught:
        load(tmp_path)
    assert [problem.line for problem in caught.value.problems] == [2]


def test_a_file_that_cannot_be_read_is_an_error_of_configuration(tmp_path: Path) -> None:
    (tmp_path / "overlay.toml").mkdir()
    with pytest.raises(ConfigError, match="cannot read"):
        load(tmp_path)


def test_a_file_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "overlay.toml").write_bytes(b"#" * 1_048_577)
    with pytest.raises(ConfigError, match="longer than"):
        load(tmp_path)


def test_flags_lie_over_the_file() -> None:
    base = parse("[listen]\nhttp = ['127.0.0.1:80']\n[lan]\nadmit = true\n", "overlay.toml")
    flags = {"listen_overlay": ("127.0.0.1:1", "[::1]:1"), "listen_dns": ("off",), "listen_stub": (), "no_lan": True, "name": "x"}
    laid = overrides(base, flags)
    assert laid.listen == Listen(overlay=("127.0.0.1:1", "[::1]:1"), http=("127.0.0.1:80",), dns=OFF)
    assert laid.lan == Lan(discovery=False, admit=True)
    assert overrides(base, {"listen_overlay": (), "no_lan": False}) == base


def test_a_wrong_flag_is_misuse_and_names_itself() -> None:
    with pytest.raises(UsageError, match="--listen-stub"):
        overrides(Config(), {"listen_stub": ("localhost:53",)})


def test_what_was_chosen_at_the_founding_is_remembered_once(tmp_path: Path) -> None:
    chosen = overrides(Config(), {"listen_stub": ("127.0.0.2:53",), "no_lan": True})
    assert remember(tmp_path, chosen)
    assert load(tmp_path) == chosen
    assert not remember(tmp_path, Config(operate=Operate(reboot="machine")))
    assert load(tmp_path) == chosen


def test_defaults_are_not_written_down(tmp_path: Path) -> None:
    assert not remember(tmp_path, Config())
    assert not (tmp_path / "overlay.toml").exists()


def test_only_what_differs_is_shown_unless_all_is_asked_for() -> None:
    config = Config(names=Names(policy="exclusive"))
    assert plain(config, effective=False) == {"names": {"policy": "exclusive"}}
    assert set(plain(config)) == set(SETTINGS)
    assert dump(Config(), effective=False) == ""


HOSTS = st.ip_addresses().map(lambda ip: f"[{ip}]" if ip.version == 6 else str(ip))
LISTENER = st.tuples(HOSTS, st.integers(0, 65_535)).map(lambda pair: f"{pair[0]}:{pair[1]}")
LISTENERS = st.lists(LISTENER, min_size=1, max_size=3, unique=True).map(tuple)
CONFIGS = st.builds(
    Config,
    listen=st.builds(Listen, overlay=LISTENERS, stub=LISTENERS | st.just(OFF)),
    names=st.builds(Names, policy=st.sampled_from(["overlay-first", "exclusive", "public-first", "suffix-only"])),
    lan=st.builds(Lan, discovery=st.booleans(), admit=st.booleans(), virtual_ip=st.just("")),
    release=st.builds(Release, kernel=st.sampled_from(["yes", "no", "ask"])),
    operate=st.builds(Operate, reboot=st.sampled_from(["program", "machine"])),
)


@given(CONFIGS, st.booleans())
@settings(max_examples=50, deadline=2_000)
def test_what_is_written_reads_back_as_it_was(config: Config, effective: bool) -> None:
    assert parse(dump(config, effective=effective), "overlay.toml") == config


KEYS = [*SETTINGS, *(key for keys in SETTINGS.values() for key in keys)]
WORDS = st.sampled_from([*KEYS, "zz", "[", "]", "=", '"', "'", "\n", ".", " ", "1", "true", ","])


@given(st.lists(WORDS, max_size=30).map("".join) | st.text(max_size=40))
@settings(max_examples=150, deadline=2_000)
def test_any_text_is_a_configuration_or_told_as_mistakes_of_its_lines(text: str) -> None:
    try:
        parse(text, "overlay.toml")
    except InvalidConfig as error:
        assert error.problems
        assert all(1 <= problem.line <= text.count("\n") + 1 for problem in error.problems)
