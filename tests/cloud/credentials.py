"""A service account whose tokens come from loopback: without one, Google's libraries look for a metadata server for half a minute."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat


def service_account(file: Path, address: str) -> Path:
    """Write the key file of an account that exists nowhere.

    Args:
        file: what GOOGLE_APPLICATION_CREDENTIALS will name.
        address: of the stand-in, which gives the tokens.
    """
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    about = {
        "type": "service_account",
        "project_id": "project-of-tests",
        "private_key_id": "1",
        "private_key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        "client_email": "tests@project-of-tests.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": f"{address}/token",
    }
    file.write_text(json.dumps(about))
    return file


def token(method: str, path: str, body: bytes) -> dict[str, Any] | None:
    """Answer a request for a token."""
    if method == "POST" and path == "/token":
        return {"access_token": "of-a-test", "expires_in": 3600, "token_type": "Bearer"}
    return None
