"""Which address a request comes from, when proxies that are trusted say so."""

import functools
import ipaddress
from collections.abc import Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def client_address(peer: str, forwarded_for: str | None, trusted: Sequence[Network]) -> str:
    """Return the last address of the chain that is not a trusted proxy.

    Each proxy appends the address it saw, so the chain is believed from its end, and only as far
    as it was written by someone trusted.
    """
    if not forwarded_for or not _is_within(peer, tuple(trusted)):
        return peer
    chain = [hop.strip() for hop in forwarded_for.split(",") if hop.strip()]
    for hop in reversed(chain):
        if not _is_address(hop):
            return peer
        if not _is_within(hop, tuple(trusted)):
            return hop
    return chain[0] if chain else peer


@functools.lru_cache(maxsize=4096)
def _is_within(address: str, networks: tuple[Network, ...]) -> bool:
    return _is_address(address) and any(
        ipaddress.ip_address(address) in network for network in networks
    )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
