"""The list of domains."""

import pytest

from versatune.schemas.errors import ConfigError
from versatune.schemas.taxonomy import DEFAULT_TAXONOMY, Taxonomy


def test_an_alias_has_the_index_of_its_domain() -> None:
    assert DEFAULT_TAXONOMY.index("medical") == DEFAULT_TAXONOMY.index("medicine") == 1
    assert DEFAULT_TAXONOMY.index("other") == DEFAULT_TAXONOMY.index("general") == 5


def test_an_unknown_domain_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown domain 'sciense'; did you mean 'science'"):
        DEFAULT_TAXONOMY.vector({"sciense": 1.0})


def test_names_and_vectors_convert_both_ways() -> None:
    assert DEFAULT_TAXONOMY.vector({"code": 0.5, "other": 0.5}) == [0, 0, 0, 0, 0.5, 0.5]
    assert Taxonomy(domains=("a", "b"), aliases={}).named([0.25, 0.75]) == {"a": 0.25, "b": 0.75}


@pytest.mark.parametrize("domains", [("a",), ("a", "a"), ("A", "b")])
def test_a_taxonomy_that_makes_no_sense_is_refused(domains: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"domain|pattern"):
        Taxonomy(domains=domains, aliases={})


@pytest.mark.parametrize("domains", [("sport", "art"), ("medical", "general"), ("medicine", "other")])
def test_a_taxonomy_of_other_domains_survives_a_manifest(domains: tuple[str, ...]) -> None:
    taxonomy = Taxonomy(domains=domains)
    assert Taxonomy.model_validate_json(taxonomy.model_dump_json()) == taxonomy
    assert set(taxonomy.aliases.values()) <= set(domains)


def test_an_alias_for_no_domain_is_refused() -> None:
    with pytest.raises(ValueError, match="alias 'medical' stands for 'medicine', which is no domain"):
        Taxonomy(domains=("sport", "art"), aliases={"medical": "medicine"})
