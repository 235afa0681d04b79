"""Dynamic updates carried out: each set that an update touches is said, or buried, the way that ``overlay name set`` goes.

It decides what data there is to be changed (what people set, never what nodes and services have of themselves) and which
rcode a refusal becomes. One update at a time, so that what one presupposes holds until it is done. Refuses to know who
may: ``tld/keyed.py`` has asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import trio

from overlay.driver.control import Handler
from overlay.errors import OverlayError, StateError
from overlay.name import parse_name
from tld import codes, rdata
from tld.delegation import text_rdata
from tld.label import Name, to_text, under
from tld.names import Names
from tld.update import Change, Line, Sets, Unfit, Update, plan


class Updating:
    """Carries out updates by ``handlers``: those of ``name.set`` and ``name.remove``. ``catch_up`` brings ``names`` up to the last change.

    A set is said anew as a whole, so an update that saw less than the last one said would undo it.
    """

    def __init__(self, names: Names, handlers: Mapping[str, Handler], catch_up: Callable[[], None]) -> None:
        self._names = names
        self._handlers = handlers
        self._catch_up = catch_up
        self._one = trio.Lock()

    async def carry_out(self, change: Change) -> bytes:
        """Make the change, durably, and give the reply."""
        async with self._one:
            try:
                await self._make(change.update)
            except Unfit as why:
                return change.finish(why.rcode)
            except StateError:
                return change.finish(codes.SERVFAIL)
            except OverlayError:  # not this node's to say, reserved, made by the overlay itself, public elsewhere
                return change.finish(codes.REFUSED)
        return change.finish(codes.NOERROR)

    async def _make(self, update: Update) -> None:
        self._catch_up()
        zone = self._names.zones.get(update.origin)
        if zone is None:
            raise Unfit(codes.NOTAUTH)
        update = replace(update, changes=tuple(_canonical(line) for line in update.changes))
        wanted = [(name, rtype, ttl, _values(rtype, rdatas)) for (name, rtype), (ttl, rdatas) in plan(update, zone, self._held).items()]
        for name, rtype, ttl, values in wanted:
            args = {"name": to_text(name), "type": codes.type_name(rtype)}
            if values:
                await self._handlers["name.set"].run({**args, "values": values, "ttl": ttl})
            else:
                await self._handlers["name.remove"].run(args)
        self._catch_up()  # whoever is told that it is done finds it done

    def _held(self, name: Name) -> Sets:
        """The data that people set under a name, whichever tree it is named in."""
        names = self._names
        suffix = names.zone if under(name, names.zone) else names.tld
        path = parse_name(to_text(name), zone=to_text(names.zone), tld=to_text(names.tld))
        found: Sets = {}
        for view in names.views.values():
            for entry in view.data:
                if entry.name == path and entry.data.values:
                    code = codes.type_number(entry.rtype)
                    made = (text_rdata(value) if code == codes.TXT else rdata.to_wire(code, value, suffix) for value in entry.data.values)
                    found[name, code] = entry.data.ttl, tuple(made)
        return found


def _values(rtype: int, rdatas: tuple[bytes, ...]) -> list[str]:
    return [_text(data) if rtype == codes.TXT else rdata.to_text(rtype, data) for data in rdatas]


def _canonical(line: Line) -> Line:
    """TXT as this program writes it: one text, cut at 255 octets."""
    return replace(line, rdata=text_rdata(_text(line.rdata))) if line.type == codes.TXT and line.rdata else line


def _text(data: bytes) -> str:
    found, position = b"", 0
    while position < len(data):
        end = position + 1 + data[position]
        if end > len(data):
            raise Unfit(codes.FORMERR)
        found += data[position + 1 : end]
        position = end
    try:
        return found.decode()
    except UnicodeDecodeError:
        raise Unfit(codes.REFUSED) from None
