"""What opens the pages: the secret beside the store, each labeler's link, and the owner's password."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from tuneladder.errors import BadInput
from tuneladder.store import writing

PASSWORD = "TUNELADDER_STUDIO_PASSWORD"
SHORTEST, LONGEST = 8, 200  # letters of a password


def secret(folder: Path) -> bytes:
    """32 bytes that only this folder has: links and sessions are signed with them. Made where there are none."""
    path = folder / "secret"
    if not path.exists():
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(32))
    found = path.read_bytes()
    if len(found) != 32:
        raise BadInput(f"{path} is broken: {len(found)} bytes, where it had 32", "put the old one back, or remove it for new links")
    return found


def token(secret: bytes, labeler: str, made: int) -> str:
    """The secret part of a labeler's link; `made` counts the links that they were given."""
    return hmac.new(secret, f"{made}/{labeler}".encode(), hashlib.sha256).hexdigest()


def hashed(token: str) -> str:
    """What the store keeps of a token: whoever reads the store cannot open a link."""
    return hashlib.sha256(token.encode()).hexdigest()


@dataclass(frozen=True)
class Password:
    """The owner's, as scrypt made it; `mark` tells sessions of another one."""

    salt: bytes
    made: bytes

    @property
    def mark(self) -> str:
        return hashlib.sha256(self.salt + self.made).hexdigest()[:16]

    def opens(self, tried: str) -> bool:
        return hmac.compare_digest(self.made, _scrypt(tried, self.salt))


def password() -> tuple[Password, str]:
    """The owner's password from the environment, or a new one; and the new one in plain, to be shown once, else "".

    Raises BadInput for a short one, and for one that is longer than the page takes.
    """
    given = os.environ.get(PASSWORD, "")
    if given and len(given) < SHORTEST:
        raise BadInput(f"{PASSWORD} has {len(given)} letters", f"take {SHORTEST} or more, or leave it out and one is made")
    if len(given) > LONGEST:
        raise BadInput(f"{PASSWORD} has {len(given)} letters", f"take {LONGEST} at most")
    plain = given or "-".join(secrets.token_hex(2) for _ in range(4))
    salt = secrets.token_bytes(16)
    return Password(salt, _scrypt(plain, salt)), "" if given else plain


def _scrypt(plain: str, salt: bytes) -> bytes:
    return hashlib.scrypt(plain.encode("utf-8", "surrogatepass"), salt=salt, n=1 << 14, r=8, p=1)
