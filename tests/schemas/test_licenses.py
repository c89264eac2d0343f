"""The licence gate: what passes, and what is said when something does not."""

from __future__ import annotations

import pytest

from versatune.schemas.config import LicensePolicy
from versatune.schemas.dataset import InputFile, Shard
from versatune.schemas.errors import DataError
from versatune.schemas.licenses import check_licenses, is_allowed


def file(source: str, license_: str, rows: int = 10, uri: str = "f") -> InputFile:
    return InputFile(source=source, uri=uri, bytes=1, sha256="0", rows=rows, license=license_, refused="")


def shard(path: str, *licenses: str, rows: int = 5) -> Shard:
    return Shard(
        path=path, split="train", domain="law", rows=rows, tokens=0, loss_tokens=0, bytes=1, sha256="0",
        licenses=list(licenses),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("allow", "deny", "name", "passes"),
    [
        (None, [], "anything", True),
        (None, ["*-NC-*"], "CC-BY-NC-4.0", False),
        (None, ["*-NC-*"], "CC-BY-4.0", True),
        (None, ["unknown"], "unknown", False),
        (["CC-BY-*", "MIT"], [], "MIT", True),
        (["CC-BY-*", "MIT"], [], "MIT-0", False),
        (["CC-BY-*"], ["*-NC-*"], "CC-BY-NC-4.0", False),
        (["cc-by-*"], [], "CC-BY-4.0", True),
        (["CC-BY-*"], [], "cc-by-4.0", True),
        (None, ["gpl*"], "GPL-3.0-only", False),
        ([], [], "MIT", False),
        (["*"], [], "unknown", True),
    ],
)
def test_a_licence_passes_if_it_is_allowed_and_not_denied_whatever_its_case(
    allow: list[str] | None, deny: list[str], name: str, passes: bool
) -> None:
    assert is_allowed(LicensePolicy(allow=allow, deny=deny), name) is passes


def test_what_is_forbidden_is_named_with_its_sources_rows_and_shards() -> None:
    inputs = [
        file("a", "MIT"),
        file("b", "X-NC", 1200),
        file("b", "X-NC", 34, "g"),
        file("c", "X-NC", 1),
        file("d", "Y"),
    ]
    shards = [shard("data/1", "MIT", "X-NC"), shard("data/2", "MIT"), shard("data/3", "X-NC", "Y", rows=7)]
    with pytest.raises(DataError) as error:
        check_licenses(LicensePolicy(allow=["MIT"], deny=["Z"]), inputs, shards)
    lines = str(error.value).splitlines()
    assert "nothing was emitted" in lines[0]
    assert (
        lines[1]
        == "X-NC: source 'b' (1,234 rows read), source 'c' (1 rows read); in 2 shards of 12 rows (data/1, data/3)"
    )
    assert lines[2] == "Y: source 'd' (10 rows read); in 1 shards of 7 rows (data/3)"
    assert "allow: MIT; deny: Z" in lines[3]
    assert len(lines) == 4


def test_a_long_list_of_shards_is_cut() -> None:
    with pytest.raises(DataError, match=r"in 9 shards of 45 rows \(s0, s1, s2, s3, s4, \.\.\.\)"):
        check_licenses(LicensePolicy(deny=["x"]), [file("a", "X")], [shard(f"s{i}", "X") for i in range(9)])


def test_a_policy_that_nothing_breaks_lets_everything_pass() -> None:
    check_licenses(LicensePolicy(), [file("a", "unknown")], [shard("s", "unknown")])
    check_licenses(LicensePolicy(deny=["X"]), [file("a", "X", rows=0), file("b", "MIT")], [shard("s", "MIT")])


def test_a_file_of_which_nothing_is_emitted_breaks_no_policy() -> None:
    check_licenses(LicensePolicy(deny=["x"]), [file("a", "X"), file("b", "MIT")], [shard("s", "MIT")])
