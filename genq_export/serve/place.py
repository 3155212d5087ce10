"""Where the page is: the address to listen on, the names under which it answers, and the link for a person."""

import errno
import ipaddress
import socket
from dataclasses import dataclass

from genq_export.core.errors import UserError

HERE = "127.0.0.1"
_ANYWHERE = ("0.0.0.0", "::")


@dataclass(frozen=True)
class Place:
    """address: to listen on. shown: in links. names: further names of this machine under which it answers."""

    address: str
    shown: str
    names: frozenset[str] = frozenset()

    def answers_to(self, host: str) -> bool:
        """Is this name, as a browser sends it, ours?

        A page elsewhere may have its own name point here (DNS rebinding); it has no address point here.
        """
        name = host.rsplit(":", 1)[0].strip("[]") if not host.endswith("]") else host.strip("[]")
        return _is_address(name) or name.lower() in self.names | {"localhost"}


def place_of(host: str | None) -> Place:
    """Where `--host` says; on this machine alone without it.

    Raises:
        UserError: where that is no address of this machine.
    """
    own = socket.gethostname().lower()
    names = frozenset({own, f"{own}.local"})
    if host is None:
        return Place(HERE, HERE)
    if host in _ANYWHERE:
        return Place(host, _outward(host) or own, names)
    try:
        address = str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except (socket.gaierror, UnicodeError):
        raise UserError(f"--host {host} is no name of a machine: give an address of this one, or 0.0.0.0") from None
    return Place(address, host, names | {host.lower()})


def in_link(shown: str) -> str:
    """An address as links have it."""
    return f"[{shown}]" if ":" in shown else shown


def refused(error: OSError, place: Place, port: int) -> UserError:
    """Why the system does not let us listen, and what to do."""
    if error.errno == errno.EADDRINUSE:
        return UserError(f"port {port} of {place.address} is in use: end what has it, or give another with --port")
    if error.errno == errno.EADDRNOTAVAIL:
        return UserError(f"{place.address} is no address of this machine: give one that is with --host, or 0.0.0.0")
    return UserError(f"cannot listen on port {port} of {place.address} ({error.strerror}): give another with --port")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _outward(wildcard: str) -> str | None:
    """The address that packets to other machines would leave from; none is sent."""
    kind, elsewhere = (socket.AF_INET6, "2001:db8::1") if ":" in wildcard else (socket.AF_INET, "192.0.2.1")
    try:
        with socket.socket(kind, socket.SOCK_DGRAM) as probe:
            probe.connect((elsewhere, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return None
