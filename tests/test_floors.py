"""The house has six floors; a module imports its own floor or a lower one, wherever the import stands."""

from __future__ import annotations

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HOUSE = ROOT / "voip"

FLOORS = {
    0: """
        voip._lazy voip.errors voip.types voip.logs
        voip.sdp.types voip.sdp.messages voip.sdp.negotiation voip.sdp.formats voip.sdp.answering
        voip.sip.types voip.sip.uri voip.sip.syntax voip.sip.status voip.sip.headers
        voip.sip.messages voip.sip.fields voip.sip.section voip.sip.validation voip.sip.auth
        voip.sip.names voip.sip.shape voip.sip.copies voip.sip.digest
        voip.rtp.packet voip.rtp.rtcp voip.rtp.telephone_event
        voip.media.dsp voip.media.measure
        voip.codecs.base voip.codecs.registry voip.codecs.concealment voip.codecs.g711
        voip.codecs.pcmu voip.codecs.pcma voip.codecs.g722 voip.codecs.opus voip.codecs.l16
        voip.codecs.library
    """,
    1: """
        voip.machine voip.stun
        voip.sip.framing voip.sip.transactions voip.sip.dialog voip.sip.invite voip.sip.endpoint
        voip.sip.core voip.sip.events voip.sip.settings voip.sip.client voip.sip.attempt voip.sip.commands
        voip.sip.acceptance voip.sip.reoffer voip.sip.account voip.sip.registration
        voip.sip.admission voip.sip.binding voip.sip.connection voip.sip.reception voip.sip.departure
        voip.sip.invitation voip.sip.tables voip.sip.verifier voip.sip.farewell voip.sip.transaction
        voip.sip.lingering
        voip.rtp.stream voip.rtp.source voip.rtp.reports
        voip.media.jitter voip.media.delay voip.media.vad voip.media.playout
    """,
    2: """
        voip.hooks voip.legs voip.rtp.call
        voip.audio.call voip.audio.activity voip.audio.echo voip.audio.formats
    """,
    3: "voip.media.plane voip.media.inline voip.media.reception voip.media.link",
    4: """
        voip.aio voip.entropy voip.gathering voip.poller voip.sockets voip.system voip.watchdog
        voip.sip.answer voip.sip.description voip.sip.driver voip.sip.incoming voip.sip.media voip.sip.messaging voip.sip.registering voip.sip.protocol voip.sip.session voip.sip.serving voip.sip.transport
        voip.sip.udp voip.sip.streams voip.sip.tls voip.sip.resolver
        voip.rtp.protocol voip.rtp.ports voip.rtp.discovery voip.rtp.sharing voip.rtp.ticker
        voip.rtp.pairs voip.rtp.wires
        voip.testing.leaks voip.testing.legs voip.testing.loop voip.testing.network
        voip.testing.peer voip.testing.plugin voip.testing.sockets voip.testing.world
    """,
    5: """
        voip.__main__ voip.cli.app voip.cli.audio voip.cli.call voip.cli.echo voip.cli.loopback
        voip.cli.messages voip.cli.output voip.cli.report voip.cli.running
    """,
}
FLOOR = {name: floor for floor, names in FLOORS.items() for name in names.split()}

# What knows a clock, a socket, a thread or a dice: floor 4 and above.
OUTSIDE = {
    "asyncio", "concurrent", "ctypes", "datetime", "multiprocessing", "random", "secrets", "select",
    "selectors", "signal", "socket", "ssl", "subprocess", "threading", "time", "uuid",
}  # fmt: skip
# The one declared exception: the small helpers that let a leg made by hand work without an engine.
EXCEPTIONS = {
    "voip.rtp.call": {"asyncio", "concurrent"},
}


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(HOUSE.rglob("*.py"))}
PACKAGES = {name_of(path) for path in HOUSE.rglob("__init__.py")}
ROOMS = sorted(set(MODULES) - PACKAGES)


@cache
def tree(name):
    return ast.parse(MODULES[name].read_text())


@cache
def homes(package):
    """Return what a package re-exports: name to module."""
    found = {}
    for node in ast.walk(tree(package)):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                found[key.value] = value.value.partition(":")[0]
    return found


def is_type_checking(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports(name):
    """Yield (imported module, line, inside a function, for type checkers only)."""

    def walk(node, inside, typing_only):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield alias.name, child.lineno, inside, typing_only
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{name}:{child.lineno} imports relatively"
                for alias in child.names:
                    full = f"{child.module}.{alias.name}"
                    target = full if full in MODULES else child.module
                    if target in PACKAGES and full not in MODULES:
                        target = homes(target).get(alias.name, target)
                    yield target, child.lineno, inside, typing_only
            else:
                function = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
                yield from walk(child, inside or function, typing_only or is_type_checking(child))

    yield from walk(tree(name), False, False)


def floor_of(name):
    """A package counts as the lowest floor in it: what it re-exports is checked by name."""
    if name in PACKAGES:
        return min(floor for module, floor in FLOOR.items() if module.startswith(f"{name}."))
    return FLOOR[name]


def test_every_module_has_a_floor_and_every_floor_has_modules():
    assert [name for name in ROOMS if name not in FLOOR] == []
    assert {FLOOR[name] for name in ROOMS} >= {0, 1, 2, 4}


@pytest.mark.parametrize("name", ROOMS)
def test_a_module_imports_its_own_floor_or_a_lower_one(name):
    upward = [
        f"{name}:{line} (floor {FLOOR[name]}) imports {target} (floor {floor_of(target)})"
        for target, line, *_ in imports(name)
        if target.split(".")[0] == "voip" and floor_of(target) > FLOOR[name]
    ]
    assert upward == []


@pytest.mark.parametrize("name", [name for name in ROOMS if FLOOR.get(name, 0) < 4])
def test_no_clock_socket_thread_or_dice_below_the_shells(name):
    allowed = EXCEPTIONS.get(name, set())
    found = [
        f"{name}:{line} imports {target}"
        for target, line, _, typing_only in imports(name)
        if target.split(".")[0] in OUTSIDE - allowed and not typing_only
    ]
    assert found == []


@pytest.mark.parametrize("name", [name for name in ROOMS if FLOOR.get(name, 0) < 5])
def test_no_import_of_ours_hides_in_a_function(name):
    hidden = [
        f"{name}:{line} imports {target}"
        for target, line, inside, _ in imports(name)
        if inside and target.split(".")[0] == "voip"
    ]
    assert hidden == []


def test_nothing_imports_in_a_circle():
    graph = {
        name: {
            target
            for target, _, _, typing_only in imports(name)
            if target in MODULES and target not in PACKAGES and not typing_only
        }
        for name in ROOMS
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(error.args[1]))


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_a_package_holds_lazy_re_exports_only(package):
    body = tree(package).body
    for node in body:
        if is_type_checking(node):
            continue  # type checkers do not see what is lazy
        simple = isinstance(node, (ast.Assign, ast.ImportFrom, ast.Expr))
        assert simple, f"{package}:{node.lineno} holds more than re-exports"
        if isinstance(node, ast.ImportFrom):
            assert node.module in ("__future__", "typing", "voip._lazy")


@pytest.mark.parametrize("name", ROOMS)
def test_modules_and_functions_keep_to_their_size(name):
    """STYLE 35: functions up to 60 lines, modules about 400, five parameters beyond self."""
    assert len(MODULES[name].read_text().splitlines()) <= 700, f"{name} has outgrown its room"
    for node in ast.walk(tree(name)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = node.end_lineno - node.lineno + 1
            assert length <= 60, f"{name}:{node.lineno} {node.name} has {length} lines"
