"""The domains, in canonical order: the only list of them in the repository."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from versatune.schemas.errors import ConfigError, nearest

_USUAL_ALIASES = {"other": "general", "medical": "medicine"}

DomainName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


class Taxonomy(BaseModel):
    """An ordered set of domains. The order is the order of every weight and probability vector.

    Aliases map names found in data and in published counts to a domain
    (``other`` is ``general``, ``medical`` is ``medicine``).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    domains: tuple[DomainName, ...] = ("law", "medicine", "finance", "science", "code", "general")
    aliases: dict[str, DomainName] = Field(default_factory=_USUAL_ALIASES.copy)

    @model_validator(mode="before")
    @classmethod
    def _fitting_aliases(cls, value: Any) -> Any:
        """Of the usual aliases keep those that stand for one of these domains: a manifest must be able to repeat them."""
        domains = value.get("domains") if isinstance(value, dict) else None
        if not isinstance(domains, list | tuple) or "aliases" in value:
            return value
        fitting = {alias: name for alias, name in _USUAL_ALIASES.items() if name in domains and alias not in domains}
        return {**value, "aliases": fitting}

    @model_validator(mode="after")
    def _check(self) -> Taxonomy:
        if len(self.domains) < 2:
            raise ValueError("a taxonomy needs at least two domains")
        if len(set(self.domains)) != len(self.domains):
            raise ValueError(f"a domain is listed twice: {list(self.domains)}")
        for alias, domain in self.aliases.items():
            if alias in self.domains:
                raise ValueError(f"alias '{alias}' is also a domain")
            if domain not in self.domains:
                raise ValueError(f"alias '{alias}' stands for '{domain}', which is no domain")
        return self

    def __len__(self) -> int:
        return len(self.domains)

    def index(self, name: str) -> int:
        """Position of a domain (or of the domain an alias stands for) in every vector."""
        resolved = self.aliases.get(name, name)
        if resolved not in self.domains:
            raise ConfigError(f"unknown domain '{name}'{nearest(name, self.domains)}")
        return self.domains.index(resolved)

    def vector(self, values: dict[str, float], *, missing: float = 0.0) -> list[float]:
        """Turn ``{domain: value}`` into a list in canonical order; unknown names are refused."""
        out = [missing] * len(self.domains)
        for name, value in values.items():
            out[self.index(name)] = value
        return out

    def named(self, values: list[float]) -> dict[str, float]:
        """Turn a vector in canonical order into ``{domain: value}``."""
        return dict(zip(self.domains, values, strict=True))


DEFAULT_TAXONOMY = Taxonomy()
