"""A JSON document that pins its own content: written atomically, refused when it is not what it says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field

from versatune.schemas.errors import DataError, IntegrityError
from versatune.schemas.files import sha256_json, write_atomic
from versatune.schemas.validation import validate


class Part(BaseModel):
    """A piece of a document: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants", protected_namespaces=())


class Document(Part):
    """Base of every manifest, report and record that one stage writes and another reads.

    ``digest`` is the sha256 of what it says, without the fields named in ``OUTSIDE_DIGEST`` (time stamps, the machine it
    ran on, where things came from), so two runs that made the same thing have the same digest. ``checksum`` is the
    sha256 of this very document, all of it.
    """

    KIND: ClassVar[str]
    MADE_BY: ClassVar[str]
    """The command that makes one, named where one cannot be used."""
    FORMAT_VERSION: ClassVar[int] = 2
    DIGEST_VERSION: ClassVar[int | None] = None
    """The format whose digests this one keeps, where what was added since is outside the digest."""
    EARLIER: ClassVar[Mapping[int, Mapping[str, str]]] = {}
    """By format version that can still be read: the fields that it did not have, null then, and what is not pinned without each."""
    OUTSIDE_DIGEST: ClassVar[frozenset[str]] = frozenset()

    kind: str
    format_version: int
    digest: str = Field(default="", description="sha256 of what this document says, in hex")
    checksum: str = Field(default="", description="sha256 of all of this document but this field, in hex")

    @classmethod
    def create(cls, **fields: Any) -> Self:
        """Make a document and fill in its kind, version, digest and checksum."""
        return cls(kind=cls.KIND, format_version=cls.FORMAT_VERSION, **fields).sealed()

    def changed(self, **fields: Any) -> Self:
        """Return a copy with other values in some fields, its digest and checksum made anew."""
        return self.model_copy(update=fields).sealed()

    def sealed(self) -> Self:
        """Return a copy whose digest and checksum are those of its fields."""
        document = self.model_copy(update={"digest": self.content_digest()})
        return document.model_copy(update={"checksum": document.document_checksum()})

    def content_digest(self) -> str:
        """Compute the sha256 that ``digest`` must hold."""
        said = self._said(exclude={"digest", "checksum", *self.OUTSIDE_DIGEST})
        if self.DIGEST_VERSION is not None:
            said["format_version"] = self.DIGEST_VERSION
        return sha256_json(said)

    def document_checksum(self) -> str:
        """Compute the sha256 that ``checksum`` must hold."""
        return sha256_json(self._said(exclude={"checksum"}))

    @property
    def unpinned(self) -> list[str]:
        """What this document does not pin, because it was made by an earlier versatune."""
        return list(self.EARLIER.get(self.format_version, {}).values())

    def _said(self, exclude: set[str]) -> dict[str, Any]:
        """Return the document as JSON data, as a versatune of its format version knew it."""
        return self.model_dump(mode="json", exclude={*exclude, *self.EARLIER.get(self.format_version, ())})

    def to_bytes(self) -> bytes:
        """Serialise as indented JSON, keys in the order of the schema."""
        return orjson.dumps(self._said(exclude=set()), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)

    def write(self, path: str | Path) -> None:
        """Write the document to a local file atomically."""
        write_atomic(path, self.to_bytes())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a local file; see :meth:`parse` for what is refused."""
        try:
            data = Path(path).read_bytes()
        except FileNotFoundError:
            raise DataError(f"{path}: no such file; expected a {cls.KIND}") from None
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror}); expected a {cls.KIND}") from None
        return cls.parse(data, str(path))

    @classmethod
    def parse(cls, data: bytes, where: str) -> Self:
        """Read a document from bytes.

        Raises:
            DataError: not JSON, another kind or format version, unknown or missing keys, wrong types.
            IntegrityError: the content does not match its digest.
        """
        try:
            value = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise DataError(f"{where}: not JSON ({error}); expected a {cls.KIND}") from None
        if not isinstance(value, dict) or value.get("kind") != cls.KIND:
            found = value.get("kind") if isinstance(value, dict) else type(value).__name__
            raise DataError(f"{where}: kind is {found!r}; expected '{cls.KIND}'")
        known, version = (cls.FORMAT_VERSION, *cls.EARLIER), value.get("format_version")
        if version not in known:
            raise DataError(
                f"{where}: format_version is {version!r}; this versatune reads version {' and '.join(map(str, known))} of"
                f" '{cls.KIND}'. Use the versatune that wrote it, or make it anew: `{cls.MADE_BY}`"
            )
        document = validate(cls, value, where)
        cls._check_fields(value, version, where)
        if document.digest != document.content_digest():
            raise IntegrityError(
                f"{where}: the content does not match its digest {document.digest[:12]}...; it was changed after it"
                f" was written. Make it anew: `{cls.MADE_BY}`"
            )
        if document.checksum != document.document_checksum():
            raise IntegrityError(
                f"{where}: does not match its checksum {document.checksum[:12]}...; it was changed after it was written."
                f" Make it anew: `{cls.MADE_BY}`"
            )
        return document

    @classmethod
    def _check_fields(cls, value: dict[str, Any], version: int, where: str) -> None:
        """Refuse a document that lacks a field of its own format version, or has one of a later."""
        added = {name for fields in cls.EARLIER.values() for name in fields}
        for name in sorted(added):
            expected = name not in cls.EARLIER.get(version, ())
            if expected and value.get(name) is None:
                raise DataError(f"{where}: key '{name}' is missing")
            if not expected and name in value:
                raise DataError(f"{where}: unknown key '{name}' of format_version {version}")
