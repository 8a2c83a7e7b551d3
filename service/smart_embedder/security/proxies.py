"""Which address a request comes from, when proxies that are trusted say so."""

import functools
import ipaddress
from collections.abc import Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def client_address(peer: str, forwarded_for: str, trusted: Sequence[Network]) -> str:
    """Return the last address of the chain that is not a trusted proxy.

    Each proxy appends the address it saw, so the chain is believed from its end, and only as far
    as it was written by someone trusted. An IPv4 client of a socket for both families is itself.
    """
    nearest = _address(peer)
    if nearest is None:
        return peer
    hops = [hop for hop in forwarded_for.split(",") if hop.strip()]
    while hops and any(nearest in network for network in trusted):
        hop = _address(hops.pop().strip())
        if hop is None:
            break
        nearest = hop
    return str(nearest)


@functools.lru_cache(maxsize=4096)
def _address(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
