"""What versatune's tokenizer stage makes of a conversation, brought back to characters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer as Backend

from tests.transforms.chat.kinds import Kind
from versatune.schemas.config import load_config
from versatune.transforms.chat.verdict import CannotTokenize
from versatune.transforms.reading.tokenization import plan_tokenization
from versatune.transforms.reading.tokenize import Tokenizer

MAX_TOKENS = 2**16


def _byte_letters() -> dict[str, int]:
    """Return the byte that each letter of byte-level tokens stands for."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + at): byte for at, byte in enumerate(others)}


_BYTES = _byte_letters()


class Learned(NamedTuple):
    """A row that was kept."""

    text: str
    mask: list[bool]
    """Of each character, whether it is learned."""
    counts: frozenset[str] = frozenset()
    """What versatune says of the row."""

    def spans(self) -> list[tuple[int, int]]:
        """Return the runs of learned characters."""
        edges = [
            at
            for at in range(len(self.mask) + 1)
            if (at > 0 and self.mask[at - 1]) != (at < len(self.mask) and self.mask[at])
        ]
        return list(zip(edges[::2], edges[1::2], strict=True))


class Refused(NamedTuple):
    """A row that was rejected."""

    reason: str
    detail: str


class Ours:
    """versatune's tokenizer for one model folder."""

    def __init__(self, folder: Path) -> None:
        config = {"name": "t", "sources": [], "model": {"path": str(folder)}, "build": {"max_tokens": MAX_TOKENS}}
        (folder / "c.json").write_text(json.dumps(config))
        self._tokenizer = Tokenizer(plan_tokenization(load_config(folder / "c.json")))
        self._backend = Backend.from_file(str(folder / "tokenizer.json"))
        self._added = {at: token.content for at, token in self._backend.get_added_tokens_decoder().items()}

    def encode(self, kind: Kind) -> Learned | Refused:
        """Tokenize one conversation."""
        (result,) = self._tokenizer.encode([kind.turns], [kind.tools], [()])
        if isinstance(result, CannotTokenize):
            return Refused(result.reason, result.detail)
        assert result.cut == 0
        return self.learned(result.ids.tolist(), result.mask.tolist())._replace(counts=result.counts)

    def learned(self, ids: list[int], mask: list[bool]) -> Learned:
        """Return the characters of tokens; the bytes of one character are learned together or not at all."""
        data, flags = bytearray(), []
        for token, learned in zip(ids, mask, strict=True):
            piece = self._piece(token)
            data += piece
            flags += [learned] * len(piece)
        text = data.decode()
        at, characters = 0, []
        for character in text:
            width = len(character.encode())
            assert len(set(flags[at : at + width])) == 1, f"half of {character!r} is learned"
            characters.append(flags[at])
            at += width
        return Learned(text, characters)

    def tokens(self, text: str) -> list[tuple[int, int, int]]:
        """Return (id, start, end) of the tokens of a text, in characters."""
        encoded = self._backend.encode(text, add_special_tokens=False)
        return [(token, *offsets) for token, offsets in zip(encoded.ids, encoded.offsets, strict=True)]

    def name(self, token: int) -> str:
        """Return the text of an added token, else nothing."""
        return self._added.get(token, "")

    def _piece(self, token: int) -> bytes:
        if token in self._added:
            return self._added[token].encode()
        letters = self._backend.id_to_token(token)
        assert letters is not None
        return bytes(_BYTES[letter] for letter in letters)
