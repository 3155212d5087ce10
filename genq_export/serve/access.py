"""Who may ask: whoever opened a link of this run, each link once."""

import secrets
import threading

_MOST_DEVICES = 64


class Access:
    """Links that are good for one device each, and the keys that devices got for them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._link = secrets.token_urlsafe(16)
        self._keys: list[str] = []

    @property
    def link(self) -> str:
        """The token of the link that has not been used yet."""
        return self._link

    def open(self, token: str) -> str | None:
        """Give the key for a link's token, and make another link; None where the token is none or was used."""
        with self._lock:
            if not secrets.compare_digest(token.encode(), self._link.encode()):
                return None
            self._link = secrets.token_urlsafe(16)
            self._keys = [*self._keys, secrets.token_urlsafe(32)][-_MOST_DEVICES:]
            return self._keys[-1]

    def knows(self, key: str) -> bool:
        """Is this the key of a device?"""
        with self._lock:
            return any([secrets.compare_digest(key.encode(), known.encode()) for known in self._keys])
