"""Which network addresses a stranger may have the worker talk to, and host names in one spelling. Pure."""

from __future__ import annotations

import ipaddress

from yarl import URL

# Written out, because what `is_global` knows of the registries differs between Python's versions, and because it counts
# multicast as global. 168.63.129.16 is Azure's metadata service, on an address like any other.
_CLOSED_4 = tuple(map(ipaddress.IPv4Network, (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
    "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
    "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32")))
_UNICAST_6 = ipaddress.IPv6Network("2000::/3")
# Special purposes (Teredo among them), documentation, 6to4, documentation.
_CLOSED_6 = tuple(map(ipaddress.IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # a network without IPv4 reaches an IPv4 address so


def is_public(address: str) -> bool:
    """Whether a numeric address, as a socket has it, is one that everybody on the internet can reach.

    An IPv4 address inside an IPv6 one counts as the IPv4 address where it is used as such (mapped, NAT64); the other
    ways to wrap one are not public. Nor is anything that is no address, or has a zone.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.scope_id is not None:
            return False
        if inner := parsed.ipv4_mapped or (ipaddress.IPv4Address(parsed.packed[12:]) if parsed in _NAT64 else None):
            return is_public(str(inner))
        return parsed in _UNICAST_6 and parsed.is_global and not any(parsed in network for network in _CLOSED_6)
    return parsed.is_global and not any(parsed in network for network in _CLOSED_4)


def host_name(text: str) -> str:
    """A host as `ALLOWED_MEDIA_DOMAINS` compares it: in small ASCII letters, without brackets and a last dot."""
    host = text.strip().rstrip(".")
    try:
        return str(ipaddress.ip_address(host.removeprefix("[").removesuffix("]")))
    except ValueError:
        pass
    try:
        return (URL.build(scheme="http", host=host).raw_host or "").lower()
    except ValueError:
        return host.lower()
