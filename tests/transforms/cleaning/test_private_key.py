from __future__ import annotations

import base64
import hashlib
import random

import pytest

from versatune.transforms.cleaning.detectors import private_key, secret

# Headers are written in two parts so that nobody's scanner takes these for leaked keys.
KEY = "PRIV" + "ATE KEY"
HEX = hashlib.sha256(b"a file").hexdigest()


def armored(kind: str = KEY, *, size: int = 600, width: int = 64, join: str = "\n", fields: str = "") -> str:
    body = base64.b64encode(random.Random(0).randbytes(size)).decode()
    lines = [body[at : at + width] for at in range(0, len(body), width)]
    return join.join([f"-----BEGIN {kind}-----", *([fields] if fields else []), *lines, f"-----END {kind}-----"])


def masked(text: str) -> str:
    for start, end in reversed(list(secret.find(text))):
        text = f"{text[:start]}[SECRET]{text[end:]}"
    return text


WHOLE = {
    "RSA": armored(f"RSA {KEY}"),
    "DSA": armored(f"DSA {KEY}"),
    "EC": armored(f"EC {KEY}", size=121),
    "Ed25519": armored(size=48),
    "OpenSSH": armored(f"OPENSSH {KEY}", width=70),
    "SSH2": armored(f"SSH2 ENCRYPTED {KEY}").replace("-----BEGIN ", "---- BEGIN ").replace("-----END ", "---- END "),
    "encrypted": armored(f"ENCRYPTED {KEY}"),
    "Proc-Type": armored(f"RSA {KEY}", fields="Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,6A4B\n"),
    "PGP": armored(f"PGP {KEY} BLOCK", fields="Version: GnuPG v2\nComment: none\n").replace("\n-----END", "\n=aB3d\n-----END"),
    "CRLF": armored(join="\r\n"),
    "JSON": armored(join="\\n"),
    "JSON, slashes escaped": armored(join="\\n").replace("/", "\\/"),
    "JSON in JSON": armored(join="\\\\n"),
    "JSON, fields": armored(join="\\n", fields="Proc-Type: 4,ENCRYPTED\\nDEK-Info: AES-128-CBC,6A4B\\n"),
    "one line": armored(join=" "),
    "no break": armored(join=""),
    "indented": armored(join="\n    "),
    "texts joined by the compiler": armored(join='\\n"\n    "'),
    "texts joined by +": armored(join="\\n' +\n  '"),
    "comment": armored(join="\n# "),
    "comment of C": armored(join="\n// "),
    "quoted mail": armored(join="\n> "),
    "entity": armored(join="&#10;"),
    "wide": armored(width=76),
    "narrow": armored(width=20),
}  # fmt: skip


@pytest.mark.parametrize("key", WHOLE.values(), ids=WHOLE)
def test_a_key_is_masked_whole_and_nothing_beside_it(key: str) -> None:
    assert masked(f"Before it.\n{key}\nThis is after it.") == "Before it.\n[SECRET]\nThis is after it."
    assert masked(f'{{"key": "{key}"}}') == '{"key": "[SECRET]"}'
    assert masked(f"{key}\n{key}") == "[SECRET]\n[SECRET]"


@pytest.mark.parametrize("cut", [32 + 64, 32 + 64 + 1, 32 + 65 * 3 + 20, 32 + 65 * 5])
def test_what_is_there_of_a_key_that_is_cut_off_is_masked(cut: int) -> None:
    key = armored(f"RSA {KEY}")[:cut].rstrip()
    assert masked(f"Look: {key}") == "Look: [SECRET]"
    assert masked(f"Look: {key}...") == "Look: [SECRET]..."


def test_prose_behind_a_key_that_is_cut_off_stays() -> None:
    key = armored()[: 27 + 65 * 5]
    assert masked(f"{key}\nThis is the key that I use.") == "[SECRET]\nThis is the key that I use."


@pytest.mark.parametrize(
    "text",
    [
        f"The file starts with -----BEGIN RSA {KEY}----- and its digest is {HEX}. More text.",
        f"-----BEGIN {KEY}-----\n{HEX}\nis its digest",
        f"-----BEGIN {KEY}-----\n{HEX}\n-----END {KEY}-----",
        f"`-----BEGIN {KEY}-----`, base64, `-----END {KEY}-----`; {armored(size=90)[27:120]} is none",
        f"-----BEGIN {KEY}-----\nMIIEvQ...\n-----END {KEY}-----",
        f"-----BEGIN {KEY}-----\n{'x' * 64}\n-----END {KEY}-----",
        f"-----BEGIN {KEY}-----\nYOUR_OWN_KEY_GOES_HERE_WITHOUT_BLANKS_1234567890\n-----END {KEY}-----",
        f"-----BEGIN {KEY}-----\n/home/user/long/path/that/Is/very/LONG/indeed/Key123.pem holds it",
        f"-----BEGIN {KEY}----- " + "It goes on and on. " * 2000,
        armored("PUBLIC KEY"),
        armored("CERTIFICATE"),
    ],
)
def test_a_header_that_is_only_mentioned_masks_nothing(text: str) -> None:
    assert list(private_key.find(text)) == []
    assert masked(text) == text
