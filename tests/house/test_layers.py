"""Imports go one way (``docs/house.md``): every module has a floor, and imports only from floors below its own or from its own room."""

from __future__ import annotations

from tests.house.source import PRODUCT, report, sources

# A room is a package or a single module, named by its longest matching prefix; rooms on one floor are siblings and do not
# import each other. Only the vocabulary is one room of several modules.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("overlay.errors", "overlay.units", "overlay.name", "overlay.limits"),
    ("overlay.wire", "overlay.identity"),
    ("overlay.machine", "overlay.settings", "overlay.logged"),
    ("overlay.config",),
    ("overlay.records",),
    ("overlay.founding", "overlay.roots"),
    ("overlay.session", "overlay.directory", "overlay.cluster", "overlay.nat", "overlay.release"),
    ("overlay.statements", "overlay.peers"),
    ("overlay.renewal", "overlay.upholding", "overlay.raised", "overlay.tried"),
    ("overlay.admission", "overlay.presence", "overlay.calling"),
    ("overlay.newcomer", "overlay.reach"),
    ("overlay.arriving", "overlay.welcoming",),
    ("overlay.setup",),
    ("overlay.remembered",),
    ("overlay.probing", "overlay.lan", "overlay.belonging", "overlay.outlook"),
    ("overlay.operating",),
    ("overlay.node",),
    ("overlay.summaries",),
    ("overlay.acts", "overlay.reports", "overlay.unkept"),
    ("overlay.acts", "overlay.publishing", "overlay.reports", "overlay.unkept"),
    ("overlay.observing",),
    ("overlay.netcheck",),
    ("overlay.findings",),
    ("tld", "bootstrap"),
    ("overlay.driver",),
    ("tld.driver", "bootstrap.driver"),
    ("overlay.lab",),
    ("overlay.cli", "overlay.__main__"),
)
VOCABULARY = FLOORS[0]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
OPEN = {"overlay"}  # the package itself: its version, importable from anywhere
# The lab runs whole nodes with their names, and the start of a program imports what it starts.
ALLOWED = {("overlay.__main__", "overlay.cli")}


def room_of(module: str) -> str | None:
    parts = module.split(".")
    return next((".".join(parts[:n]) for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in FLOOR), None)


def may_import(here: str, there: str) -> bool:
    if here == there or (here in VOCABULARY and there in VOCABULARY) or (here, there) in ALLOWED:
        return True
    if {here.split(".")[0], there.split(".")[0]} == {"tld", "bootstrap"}:
        return False
    return FLOOR[there] < FLOOR[here]


def test_every_module_has_a_floor() -> None:
    report([source.where for source in sources(*PRODUCT) if source.module not in OPEN and room_of(source.module) is None])


def test_imports_go_one_way() -> None:
    offences = []
    for source in sources(*PRODUCT):
        here = room_of(source.module)
        for line, target in source.imports():
            there = room_of(target)
            if here is not None and there is not None and target not in OPEN and not may_import(here, there):
                offences.append(f"{source.where}:{line}: {here} imports {there}, which is not below it")
    report(offences)


def test_nothing_below_the_command_line_in_overlay_imports_names_or_bootstrap() -> None:
    report(
        [
            f"{source.where}:{line}: imports {target}"
            for source in sources("overlay")
            if not source.module.startswith(("overlay.cli", "overlay.__main__", "overlay.lab"))
            for line, target in source.imports()
            if target.split(".")[0] in ("tld", "bootstrap")
        ]
    )


def test_modules_import_each_other_without_a_circle() -> None:
    modules = {source.module for source in sources(*PRODUCT)}
    edges = {source.module: {target for _, target in source.imports() if target in modules} for source in sources(*PRODUCT)}
    done: set[str] = set()
    circles: list[str] = []

    def walk(module: str, way: list[str]) -> None:
        if module in way:
            circles.append(" -> ".join([*way[way.index(module) :], module]))
        elif module not in done:
            for target in sorted(edges[module]):
                walk(target, [*way, module])
            done.add(module)

    for module in sorted(modules):
        walk(module, [])
    report(circles)


def test_the_rule_itself_tells_up_from_down() -> None:
    assert may_import("overlay.records", "overlay.wire")
    assert not may_import("overlay.wire", "overlay.records")
    assert not may_import("overlay.session", "overlay.directory")
    assert not may_import("tld.driver", "bootstrap")
    assert room_of("tld.driver.server") == "tld.driver"
    assert room_of("tld.engine") == "tld"
