"""Which addresses are asked: none of a machine's or a network's own, in whatever form they come."""

from ipaddress import ip_address

import pytest

from app.shared.errors import SourceRefused
from app.shared.fetching.addresses import REFUSED, why_refused
from app.shared.fetching.place import read_place

INSIDE = [
    *("0.0.0.0", "10.1.2.3", "100.100.100.200", "127.0.0.1", "127.255.255.255", "168.63.129.16", "169.254.169.254"),
    *("172.16.0.1", "172.31.255.255", "192.0.0.192", "192.168.1.1", "198.18.0.1", "224.0.0.1", "239.255.255.250"),
    *("240.0.0.1", "255.255.255.255", "192.88.99.1", "203.0.113.9"),
    *("::", "::1", "::7f00:1", "::127.0.0.1", "fe80::1", "fe80::1%lo", "fc00::1", "fd00:ec2::254", "ff02::1"),
    *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:a00:1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe"),
    *("64:ff9b:1::1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2001::1", "2001:0:7f00:1::", "2001:db8::1", "3fff::1"),
    *("2606:4700::5efe:7f00:1", "2606:4700::200:5efe:10.1.2.3", "fd00::5efe:101:101", "2001:db8::5efe:1.1.1.1"),
    *("fec0::1", "100::1", "5f00::1", "", "localhost", "127.1"),
]
PUBLIC = [
    *("1.1.1.1", "172.15.255.255", "172.32.0.0", "192.169.0.1", "223.255.255.255", "11.0.0.1", "100.63.0.1"),
    *("2606:4700:4700::1111", "2001:4860:4860::8888", "::ffff:1.1.1.1", "64:ff9b::101:101", "2002:101:101::1"),
    *("2606:4700::5efe:101:101", "2606:4700::5eff:7f00:1"),
]


@pytest.mark.parametrize("address", INSIDE)
def test_no_address_of_an_inside_is_asked(address: str) -> None:
    assert why_refused(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_asked(address: str) -> None:
    assert why_refused(address) is None


def test_nothing_is_asked_that_python_calls_private() -> None:
    """The other table there is, by the first and last address of each range of ours and its neighbours."""
    for network in REFUSED:
        for number in (int(network[0]) - 1, int(network[0]), int(network[-1]), int(network[-1]) + 1):
            if 0 <= number < 2**network.max_prefixlen:
                one = type(network[0])(number)
                assert why_refused(str(one)) or (one.is_global and not one.is_multicast), one
                assert one not in network or why_refused(str(one))
    assert why_refused(str(ip_address("169.254.170.2")))


WRITTEN = [
    *("ftp://example.org/", "file:///etc/passwd", "gopher://example.org/", "//example.org/", "example.org", "https:"),
    *("http://example.org/", "https://", "https:///x", "https://a:b@example.org/", "https://a@example.org/"),
    *("https://example.org:0/", "https://example.org:99999/", "https://example.org:x/", "https://exa mple.org/"),
    *("https://example.org\\@127.0.0.1/", "https://exämple.org/", "https://example.org/\r\nHost: a", "https://[::1"),
    *("https://2130706433/", "https://0x7f000001/", "https://0x7f.1/", "https://0177.0.0.1/", "https://127.1/"),
    *("https://017700000001/", "https://1.2.3.4.5/", "https://127.0.0.1./../", "https://a..b/", "https://-a.org/"),
    *("https://[::g]/", "https://" + "a" * 64 + ".org/", "https://example.org/" + "a" * 5000, "https://a%00.org/"),
]


@pytest.mark.parametrize("url", WRITTEN, ids=lambda url: url[:40])
def test_what_can_be_read_in_two_ways_is_not_read(url: str) -> None:
    with pytest.raises(SourceRefused) as refusal:
        read_place(url)
    assert refusal.value.code == "address_refused"


def test_only_named_hosts_may_be_asked_without_encryption() -> None:
    assert read_place("http://Hub.Local:8080/a?b#c", ["hub.local"]).url == "http://hub.local:8080/a?b"
    assert read_place("http://hub.local:8080/", ["hub.local:8080"]).netloc == "hub.local:8080"
    assert read_place("http://[::1]:80/", ["[::1]"]).netloc == "[::1]"
    with pytest.raises(SourceRefused):
        read_place("http://hub.local:8081/", ["hub.local:8080"])
    with pytest.raises(SourceRefused):
        read_place("http://evil.hub.local/", ["hub.local"])
