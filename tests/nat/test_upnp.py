"""What routers say in UPnP's words is read within bounds, and nobody is sent elsewhere by it."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay.errors import Malformed
from overlay.nat import markup, upnp
from overlay.wire.address import Address

ROUTER = "192.168.1.1"
URL = f"http://{ROUTER}:5000/rootDesc.xml"
IP1 = "urn:schemas-upnp-org:service:WANIPConnection:1"
PPP = "urn:schemas-upnp-org:service:WANPPPConnection:1"


def found(location: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", "CACHE-CONTROL: max-age=120", f"ST: {upnp.DEVICE}", "EXT:", f"Location:  {location}", "", ""]
    return "\r\n".join(lines).encode()


def description(*services: tuple[str, str], base: str = "") -> bytes:
    inside = "".join(
        f"<service><serviceType>{kind}</serviceType><serviceId>x</serviceId><SCPDURL>/s.xml</SCPDURL><controlURL>{url}</controlURL></service>"
        for kind, url in services
    )
    return (
        f'<?xml version="1.0"?>\r\n<root xmlns="urn:schemas-upnp-org:device-1-0">{base}<specVersion><major>1</major><minor>0</minor></specVersion>'
        f"<device><deviceType>{upnp.DEVICE}</deviceType><friendlyName>A &amp; B&#39;s</friendlyName><deviceList><device><deviceType>WAN</deviceType>"
        f"<deviceList><device><serviceList>{inside}</serviceList></device></deviceList></device></deviceList></device></root>\r\n"
    ).encode()


def fault(code: int) -> bytes:
    return (
        '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault><faultcode>s:Client</faultcode><detail>'
        f'<UPnPError xmlns="urn:schemas-upnp-org:control-1-0"><errorCode>{code}</errorCode><errorDescription>no</errorDescription></UPnPError>'
        "</detail></s:Fault></s:Body></s:Envelope>"
    ).encode()


def reply(name: str, **arguments: str) -> bytes:
    inside = "".join(f"<{key}>{value}</{key}>" for key, value in arguments.items())
    return f'<s:Envelope xmlns:s="x"><s:Body><u:{name}Response xmlns:u="{IP1}">{inside}</u:{name}Response></s:Body></s:Envelope>'.encode()


def test_the_question_goes_to_one_or_to_the_group() -> None:
    alone = upnp.search(Address(ROUTER, 1900))
    assert alone.startswith(b"M-SEARCH * HTTP/1.1\r\nHOST: 192.168.1.1:1900\r\n") and alone.endswith(b"\r\n\r\n")
    assert b"MX:" not in alone, "UDA 1.3.3: not where one is asked alone"
    assert b"MX: 1\r\n" in upnp.search(upnp.GROUP)


def test_an_answer_names_the_place_of_the_description() -> None:
    assert upnp.read_found(found(URL), ROUTER) == URL
    assert upnp.read_found(found("http://192.168.1.1/x?y=1"), ROUTER) == "http://192.168.1.1:80/x?y=1"


@pytest.mark.parametrize(
    "elsewhere",
    [
        "http://192.168.1.2:5000/x", "http://127.0.0.1:5000/x", "https://192.168.1.1/x", "http://192.168.1.1@10.0.0.1/x", "file:///etc/passwd", "",
        "http://router.lan/x", "http://[::1]/x", "http://[192.168.1.1/x", "http://192.168.1.1:0/x", "http://192.168.1.1:99999/x",
        "http://192.168.1.1/" + "x" * 300, "http://192.168.1.1/a b", "http://192.168.1.1\\@10.0.0.1/", "http://3232235777/x",
        "http://user@192.168.1.1/x",
    ],
)  # fmt: skip
def test_a_place_that_is_not_the_routers_own_is_refused(elsewhere: str) -> None:
    with pytest.raises(Malformed):
        upnp.read_found(found(elsewhere), ROUTER)
    with pytest.raises(Malformed):
        upnp.read_description(description((IP1, elsewhere or "http://[")), URL, ROUTER)


def test_a_description_gives_the_services_that_map_ports_the_best_first() -> None:
    body = description((PPP, "/ppp"), ("urn:x:service:Layer3Forwarding:1", "/l3"), (IP1, "ctl/ip"))
    assert upnp.read_description(body, URL, ROUTER) == [
        upnp.Service(IP1, f"http://{ROUTER}:5000/ctl/ip"), upnp.Service(PPP, f"http://{ROUTER}:5000/ppp"),
    ]  # fmt: skip
    based = description((IP1, "/c"), base=f"<URLBase>http://{ROUTER}:49152/</URLBase>")
    assert upnp.read_description(based, URL, ROUTER)[0].url == f"http://{ROUTER}:49152/c"
    assert upnp.read_description(description(), URL, ROUTER) == []
    with pytest.raises(Malformed):
        upnp.read_description(description((IP1, "/c"), base="<URLBase>http://10.0.0.1/</URLBase>"), URL, ROUTER)


def test_an_action_is_spelt_as_the_architecture_has_it() -> None:
    headers, body = upnp.action(upnp.Service(IP1, URL), "DeletePortMapping", [("NewRemoteHost", ""), ("NewProtocol", "UDP<&")])
    assert dict(headers)["SOAPAction"] == f'"{IP1}#DeletePortMapping"'
    path = ("Envelope", "Body", "DeletePortMapping")
    assert [(leaf.path, leaf.text) for leaf in markup.leaves(body)] == [((*path, "NewRemoteHost"), ""), ((*path, "NewProtocol"), "UDP<&")]


def test_replies_and_faults_are_read() -> None:
    given = upnp.read_reply(200, reply("GetExternalIPAddress", NewExternalIPAddress="203.0.113.7"), "GetExternalIPAddress")
    assert given == upnp.Reply({"NewExternalIPAddress": "203.0.113.7"})
    assert upnp.read_reply(200, reply("AddPortMapping"), "AddPortMapping").error == 0
    assert upnp.read_reply(500, fault(718), "AddPortMapping").error == upnp.CONFLICT
    assert upnp.Reply({"NewLeaseDuration": "7200"}).number("NewLeaseDuration") == 7200
    for status, body in ((200, reply("Another")), (404, b"<html></html>"), (500, fault(2**40)), (200, reply("X", a="y" * 300))):
        with pytest.raises(Malformed):
            upnp.read_reply(status, body, "X")


HOSTILE = {
    "billion laughs": b'<!DOCTYPE lolz [<!ENTITY lol "lol"><!ENTITY lol1 "&lol;&lol;">]><lolz>&lol1;</lolz>',
    "external entity": b'<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><r>&x;</r>',
    "an entity of nobody": b"<r>&x;</r>",
    "a bare ampersand": b"<r>a & b</r>",
    "marked section": b"<r><![CDATA[x]]></r>",
    "depth": b"<a>" * 100 + b"</a>" * 100,
    "without end": b"<a>" * 10,
    "width": b"<a>" + b"<b/>" * 5_000 + b"</a>",
    "length": b"<a>" + b"x" * 70_000 + b"</a>",
    "two roots": b"<a></a><b></b>",
    "crossed": b"<a><b></a></b>",
    "a character that is none": b"<a>&#0;</a>",
    "half a pair": b"<a>&#xD800;</a>",
    "text outside": b"hello <a></a>",
    "nothing": b"",
    "an open comment": b"<a><!-- </a>",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_documents_that_grow_fetch_or_do_not_end_are_refused(name: str) -> None:
    with pytest.raises(Malformed):
        markup.leaves(HOSTILE[name])


def test_what_is_plain_is_read_with_comments_instructions_and_attributes() -> None:
    data = b"\xef\xbb\xbf<?xml version='1.0'?><!-- hi --><a x='1>2' y=\"2\"><n:b>1<!-- in -->2</n:b><c/><d>&lt;&#x41;&#66;&gt;</d></a>\n\0"
    assert [(leaf.path, leaf.text) for leaf in markup.leaves(data)] == [(("a", "b"), "12"), (("a", "c"), ""), (("a", "d"), "<AB>")]


TAGS = st.sampled_from(
    ["<a>", "</a>", "<b x='1'>", "</b>", "<c/>", "&amp;", "&#65;", "&x;", "text", "<!--", "-->", "<?", "?>", "<!DOCTYPE a>", " ", "<"],
)


@given(st.lists(TAGS, max_size=40).map("".join) | st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (
        lambda data: markup.leaves(data),
        lambda data: upnp.read_description(data, URL, ROUTER),
        lambda data: upnp.read_reply(200, data, "a"),
        lambda data: upnp.read_found(data, ROUTER),
    ):
        with suppress(Malformed):
            read(text.encode("utf-8", "replace"))
