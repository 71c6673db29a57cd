"""Addresses that may be asked: public hosts; nothing of a machine, of a network of one's own, or of a cloud's inside.

The tables are the IANA special-purpose registries (RFC 6890 and what came after), and the one metadata address that
lies in public space. An IPv6 address that carries an IPv4 one is judged by that.
"""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

_V4 = {
    "0.0.0.0/8": "this host",
    "10.0.0.0/8": "private",
    "100.64.0.0/10": "shared by a provider's customers",
    "127.0.0.0/8": "loopback",
    "168.63.129.16/32": "a cloud's metadata",
    "169.254.0.0/16": "link-local, where clouds keep metadata",
    "172.16.0.0/12": "private",
    "192.0.0.0/24": "reserved for protocols",
    "192.0.2.0/24": "for documentation",
    "192.88.99.0/24": "a relay to IPv6",
    "192.168.0.0/16": "private",
    "198.18.0.0/15": "for measurements",
    "198.51.100.0/24": "for documentation",
    "203.0.113.0/24": "for documentation",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved",
}
_V6 = {
    "2001::/23": "reserved for protocols",  # Teredo is among them
    "2001:db8::/32": "for documentation",
    "3fff::/20": "for documentation",
}
_PUBLIC_V6 = ip_network("2000::/3")  # nothing else is given to hosts: loopback, private, link-local lie outside
_CARRYING = {ip_network(net): shift for net, shift in {"::ffff:0:0/96": 0, "64:ff9b::/96": 0, "2002::/16": 80}.items()}
_ISATAP, _ISATAP_BITS = 0x5EFE, 0xFDFFFFFF  # RFC 5214, 6.1; the bit left out says whether the IPv4 address is public
REFUSED = {ip_network(net): why for net, why in (_V4 | _V6).items()}


def why_refused(address: str) -> str | None:
    """Say why an address may not be asked, or None where it may; address: as a socket or a resolver has it."""
    try:
        found = _carried(ip_address(address))
    except ValueError:  # an address of a zone (`fe80::1%eth0`), or none
        return "no address of a public host"
    for network, why in REFUSED.items():
        if found in network:
            return why
    if found.version == 6 and found not in _PUBLIC_V6:
        return "no address of a public host"
    if (
        found.version == 6 and (int(found) >> 32) & _ISATAP_BITS == _ISATAP
    ):  # on its network it leads to an IPv4 address
        return why_refused(str(IPv4Address(int(found) & 0xFFFFFFFF)))
    return None


def _carried(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 one stands for (mapped, NAT64, 6to4), or the address itself."""
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise ValueError("an address of a zone")
    for network, shift in _CARRYING.items():
        if address in network:
            return IPv4Address((int(address) >> shift) & 0xFFFFFFFF)
    return address
