"""Where alerts may be posted to: public addresses, and private ones that the configuration names.

A URL is what somebody wrote; what it leads to is known only after names are resolved. So every address a name has
is checked here, and the connection goes to one that was: it is not resolved a second time.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from operators.errors import DeliveryError, DeliveryRefused, SettingsError

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Sequence[str]]

_REFUSED = tuple((ip_network(network), name) for network, name in (  # the first that contains an address names it
    ("100.100.100.200/32", "cloud metadata"), ("168.63.129.16/32", "cloud metadata"),
    ("169.254.169.254/32", "cloud metadata"), ("169.254.170.2/32", "cloud metadata"),
    ("192.0.0.192/32", "cloud metadata"), ("fd00:ec2::254/128", "cloud metadata"),
    ("fd20:ce::254/128", "cloud metadata"),
    ("0.0.0.0/8", "unspecified"), ("127.0.0.0/8", "loopback"), ("169.254.0.0/16", "link-local"),
    ("10.0.0.0/8", "private"), ("172.16.0.0/12", "private"), ("192.168.0.0/16", "private"),
    ("100.64.0.0/10", "carrier-grade NAT"), ("192.0.0.0/24", "reserved"), ("192.0.2.0/24", "documentation"),
    ("192.88.99.0/24", "6to4 relay"), ("198.18.0.0/15", "benchmarking"), ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"), ("224.0.0.0/4", "multicast"), ("255.255.255.255/32", "broadcast"),
    ("240.0.0.0/4", "reserved"),
    ("::/128", "unspecified"), ("::1/128", "loopback"), ("::/96", "IPv4-compatible"), ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"), ("fc00::/7", "unique local"), ("ff00::/8", "multicast"), ("100::/64", "discard"),
    ("64:ff9b:1::/48", "local translation"), ("2001::/32", "Teredo"), ("2001:db8::/32", "documentation"),
    ("3fff::/20", "documentation"), ("5f00::/16", "segment routing"),
))
_CARRIERS = tuple((ip_network(network), shift, name) for network, shift, name in (  # where an IPv4 address lies inside
    ("::ffff:0:0/96", 0, "IPv4-mapped"), ("::ffff:0:0:0/96", 0, "IPv4-translated"), ("64:ff9b::/96", 0, "NAT64"),
    ("2002::/16", 80, "6to4"),
))
_ISATAP = (0x00005EFE, 0x02005EFE)  # third quarter of an address whose last is an IPv4 address


class Guard:
    """Resolves names and refuses what is not public, unless it is named."""

    def __init__(self, field: str, allow: Sequence[str], resolve: Resolve | None = None) -> None:
        """Hold what is allowed.

        Args:
            field: of the configuration, for messages.
            allow: host names, addresses and networks that may be private.
            resolve: in place of the system's resolver.

        Raises:
            SettingsError: an entry that looks like an address or network is none.
        """
        self._field, self._resolve = field, resolve or _system_resolve
        self._names, self._networks = set(), []
        for entry in allow:
            if entry.replace(".", "").replace("/", "").isdigit() or ":" in entry or "/" in entry:
                try:
                    self._networks.append(ip_network(entry))
                except ValueError as error:
                    message = f"{field}: {error}"
                    raise SettingsError(message) from None
            else:
                self._names.add(_normal(entry))

    def check_literal(self, host: str) -> None:
        """Refuse at the start what needs no resolver to be known.

        Raises:
            SettingsError: the host is a private address or this machine, and not allowed.
        """
        try:
            address = str(ip_address(host)) if ":" in host else socket.inet_ntoa(socket.inet_aton(host))
        except (OSError, ValueError):
            if _normal(host) != "localhost" and not _normal(host).endswith(".localhost"):
                return
            address = "127.0.0.1"
        if reason := self._refusal(host, address):
            raise SettingsError(reason)

    def addresses(self, host: str, port: int, timeout_s: float) -> Sequence[str]:
        """The addresses of `host`, each checked.

        Raises:
            DeliveryError: it has none now.
            DeliveryRefused: one of them is private and not allowed; names it.
        """
        found = self._looked_up(host, port, timeout_s)
        for address in found:
            if reason := self._refusal(host, address):
                raise DeliveryRefused(reason)
        return found

    def _refusal(self, host: str, address: str) -> str | None:
        known = ip_address(address.partition("%")[0])  # a zone does not change what it is
        name = kind(known)
        if name is None or _normal(host) in self._names or any(known in network for network in self._networks):
            return None
        shown = address if _normal(host) == address else f"{host}, which is {address},"
        return f"{shown} is a {name} address: alerts go there only if {self._field} names it"

    def _looked_up(self, host: str, port: int, timeout_s: float) -> Sequence[str]:
        """Ask the resolver in a thread of its own: it knows no deadline."""
        found: list[str] = []
        failed: list[OSError | UnicodeError] = []

        def ask() -> None:
            try:
                found.extend(self._resolve(host, port))
            except (OSError, UnicodeError) as error:
                failed.append(error)

        thread = threading.Thread(target=ask, name=f"resolve-{host}", daemon=True)
        thread.start()
        thread.join(timeout_s)
        if thread.is_alive() or failed or not found:
            why = failed[0] if failed else "no answer from the resolver" if thread.is_alive() else "no address"
            message = f"{host}: {why}"
            raise DeliveryError(message)
        return found


def kind(address: Address) -> str | None:
    """What an address that is not public is called; None for a public one."""
    for network, name in _REFUSED:
        if address in network:
            return name
    if isinstance(address, IPv6Address):
        for carrier, shift, name in _CARRIERS:
            if address in carrier and (inner := kind(IPv4Address(int(address) >> shift & 0xFFFFFFFF))):
                return f"{name} {inner}"
            if address in carrier:
                return None
        if int(address) >> 32 & 0xFFFFFFFF in _ISATAP and (inner := kind(IPv4Address(int(address) & 0xFFFFFFFF))):
            return f"ISATAP {inner}"
    return None if address.is_global else "reserved"


def _normal(host: str) -> str:
    return host.rstrip(".").lower()


def _system_resolve(host: str, port: int) -> Sequence[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))
