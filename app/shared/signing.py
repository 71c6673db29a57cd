"""Signatures (HMAC-SHA256): what this service gave out itself, and until when it is good.

The secret is in storage, made once by whoever comes first, so every API process knows the words of the others.
"""

import secrets
from hashlib import sha256
from hmac import compare_digest, digest

from app.shared.errors import Unavailable
from app.shared.records import SECRET
from app.shared.storage import Storage
from app.shared.wire.key import SigningSecret

KEY = "secret.json"


class Signer:
    """Signs, and knows its own signatures again; raises Unavailable or Unreadable as storage does."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._secret = b""

    def sign(self, *words: str) -> str:
        """The signature of some words, of which none holds a NUL."""
        return digest(self._known(), "\0".join(words).encode(), sha256).hex()

    def is_good(self, signature: str, *words: str) -> bool:
        """Whether that is the signature of these words."""
        return compare_digest(self.sign(*words).encode(), signature.encode(errors="replace"))

    def _known(self) -> bytes:
        if not self._secret:
            found = SECRET.get(self._storage, KEY)
            if found is None:
                self._storage.create(KEY, SECRET.write(SigningSecret(secret=secrets.token_hex(32))))
                found = SECRET.get(self._storage, KEY)  # another process may have been first
            if found is None:
                raise Unavailable("storage_unavailable", f"storage forgot {KEY!r} as soon as it was written")
            self._secret = bytes.fromhex(found.secret)
        return self._secret
