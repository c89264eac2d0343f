"""What verify finds: each kind of damage by its own message."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.records import AUDIT
from versatune.schemas.dataset import DatasetManifest
from versatune.schemas.errors import DataError, IntegrityError
from versatune.schemas.files import sha256_file
from versatune.schemas.pointer import write_pointer
from versatune.schemas.progress import Silence
from versatune.schemas.run import ReferenceLosses, RunRecord
from versatune.versions.checksums import checksum
from versatune.versions.verify import verify


def problems(path: Path, *, deep: bool = False) -> list[str]:
    return verify(path, Silence(), deep=deep)[1]


def load(directory: Path) -> DatasetManifest:
    return DatasetManifest.load(directory / "manifest.json")


def rewrite(directory: Path, **changes: Any) -> None:
    """Change fields of the manifest and seal it again, and the pointer to it, so that only a comparison can find the change."""
    manifest = load(directory).changed(**changes)
    manifest.write(directory / "manifest.json")
    write_pointer(directory.parent / "latest.json", f"{directory.name}/manifest.json", manifest.digest)


def change_part(directory: Path, field: str, position: int, **changes: Any) -> None:
    entries = list(getattr(load(directory), field))
    entries[position] = entries[position].model_copy(update=changes)
    rewrite(directory, **{field: entries})


def change_rows(directory: Path, field: str, position: int, edit: Callable[[pa.Table], pa.Table]) -> str:
    """Edit the rows of a file and make the manifest say that they were always so; return the file's path."""
    entry = getattr(load(directory), field)[position]
    file = directory / entry.path
    pq.write_table(edit(pq.read_table(file, partitioning=None)), file)
    change_part(
        directory,
        field,
        position,
        bytes=file.stat().st_size,
        sha256=sha256_file(file),
        rows=pq.read_metadata(file).num_rows,
    )
    return str(entry.path)


def with_column(name: str, values: Callable[[pa.Table], Any]) -> Callable[[pa.Table], pa.Table]:
    def edit(table: pa.Table) -> pa.Table:
        at = table.schema.get_field_index(name)
        return table.set_column(at, table.schema.field(at), pa.array(values(table), table.schema.field(at).type))

    return edit


def test_a_whole_version_has_no_problems(story) -> None:
    assert problems(story.directory) == problems(story.directory / "manifest.json") == []
    assert problems(story.directory, deep=True) == []


@pytest.mark.parametrize("field", ["shards", "rejects", "lineage"])
def test_one_changed_byte_is_found_in_every_kind_of_file(story, field: str) -> None:
    file = story.directory / getattr(load(story.directory), field)[0].path
    content = bytearray(file.read_bytes())
    content[10] ^= 1
    file.write_bytes(content)
    assert [problem.split(" is ")[0] for problem in problems(story.directory)] == [f"{file}: sha256"]


def test_a_missing_a_truncated_and_a_stray_file_are_each_named(story) -> None:
    near, lineage = story.directory / "near_duplicates.parquet", story.directory / load(story.directory).lineage[0].path
    near.unlink()
    lineage.write_bytes(lineage.read_bytes()[:-1])
    (story.directory / "data" / "stray.parquet").write_bytes(b"")
    (story.directory / "notes.txt").write_text("mine")
    found = problems(story.directory)
    assert found[0].startswith(f"{lineage}: has ")
    assert found[1] == f"{near}: missing"
    assert [problem.split(":")[0] for problem in found[2:]] == [
        str(story.directory / "data" / "stray.parquet"),
        str(story.directory / "notes.txt"),
    ]


def test_a_file_that_is_no_parquet_is_a_problem_and_no_fault(story) -> None:
    file = story.directory / load(story.directory).shards[0].path
    file.write_bytes(b"PAR1 cut")
    change_part(story.directory, "shards", 0, bytes=8, sha256=sha256_file(file))
    assert problems(story.directory) == [f"{file}: is no Parquet file; it was damaged or cut short"]


def test_an_edited_manifest_is_refused(story) -> None:
    file = story.directory / "manifest.json"
    file.write_text(file.read_text().replace('"name": "made"', '"name": "paid"'))
    with pytest.raises(IntegrityError, match="does not match its digest"):
        problems(story.directory)
    file.write_text(
        file.read_text().replace('"name": "paid"', '"name": "made"').replace("raw/one.jsonl", "raw/two.jsonl")
    )
    with pytest.raises(IntegrityError, match="does not match its checksum"):
        problems(story.directory)


def test_a_manifest_may_not_name_files_outside_its_directory(story) -> None:
    change_part(story.directory, "rejects", 0, path="../../etc/passwd")
    with pytest.raises(DataError, match=r"rejects\.0\.path: '\.\./\.\./etc/passwd' is no name of a file below"):
        problems(story.directory)


Damage = Callable[[Path], Any]


def one_book(directory: Path, **changes: Any) -> None:
    change_part(directory, "books", 0, **changes)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda d: change_part(d, "shards", 0, rows=9), "rows, the manifest says 9"),
        (lambda d: change_part(d, "shards", 0, domain="science"), "is listed as domain science"),
        (lambda d: change_part(d, "shards", 0, split="train" if "validation" in load(d).shards[0].path else "validation"), "is listed as domain"),
        (lambda d: rewrite(d, shards=[*load(d).shards, load(d).shards[0]]), "2 times"),
        (lambda d: change_part(d, "shards", 0, licenses=["GPL-2.0-only"]), "licence 'GPL-2.0-only', which no input file has"),
        (lambda d: change_part(d, "shards", 0, licenses=[]), "expected them sorted, at least one"),
        (lambda d: one_book(d, written={"law": 1, "medicine": 2}), "rows written of domain 'finance'"),
        (lambda d: one_book(d, read=5, rejected={"read.not_json": 1}), "the books say 2 rows rejected, the files hold 3"),
        (lambda d: one_book(d, read=13, duplicates={"law": 7}), "the books say 15 rows written or dropped as duplicates, the files hold 8"),
        (lambda d: one_book(d, read=7, expanded=-1), "the books say 7 rows read of source 'one', the input files 6"),
        (lambda d: one_book(d, read=5, near_duplicates={}), "the books say 0 near-duplicates, the files hold 1"),
        (lambda d: rewrite(d, near_duplicates=None), "1 near-duplicates, there is no file of them"),
        (lambda d: one_book(d, counts={}), "benchmark arc has 1 hits, the books count 0"),
        (lambda d: one_book(d, counts={"decontaminate.arc": 1, "repaired": 3}), "0 repairs were used, the books count 3"),
        (lambda d: rewrite(d, tokenizer=None), "shards have tokens, yet there is no tokenizer"),
        (lambda d: change_part(d, "inputs", 1, refused="damaged"), "was refused, yet"),
        (lambda d: change_part(d, "lineage", 0, path="lineage/part-1.parquet"), "expected a name such as part-00000-of-00004"),
        (lambda d: (d / "README.md").unlink(), "README.md: missing"),
        (lambda d: (d / "README.md").write_text("no front matter"), "does not begin with a card's front matter"),
        (lambda d: (d / "README.md").write_text((d / "README.md").read_text().replace("- mit", "- gpl")), "something else than the manifest under license"),
    ],
)  # fmt: skip
def test_each_contradiction_has_its_own_message(story, damage: Damage, said: str) -> None:
    damage(story.directory)
    assert any(said in problem for problem in problems(story.directory)), problems(story.directory)


def test_deep_compares_the_undetermined_rows_of_the_books_with_the_shards(story) -> None:
    book = next(at for at, book in enumerate(load(story.directory).books) if book.undetermined)
    change_part(story.directory, "books", book, undetermined={})
    assert problems(story.directory, deep=True) == ["books: 0 undetermined rows of source 'one', law; the files hold 1"]


def test_the_text_of_a_card_is_its_owners(story) -> None:
    card = story.directory / "README.md"
    card.write_text(card.read_text() + "\nI like it.\n")
    assert problems(story.directory) == []


def double_row(table: pa.Table) -> pa.Table:
    return pa.concat_tables([table, table.slice(0, 1)])


def other_text(table: pa.Table) -> list[Any]:
    messages = table["messages"].to_pylist()
    messages[0][0]["content"] = messages[0][0]["content"][::-1]
    return messages


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (with_column("domain", lambda t: ["science"] * len(t)), "rows that are not of domain"),
        (with_column("undetermined", lambda t: [True] * len(t)), "books: 0 undetermined rows of source"),
        (with_column("undetermined", lambda t: [True] * len(t)), "undetermined is not what the probabilities say (1 row"),
        (with_column("messages", other_text), "ids that are not the digest of the row's content (1 row"),
        (with_column("num_chars", lambda t: [1] * len(t)), "num_chars is not the length"),
        (with_column("license", lambda t: ["GPL-2.0-only"] * len(t)), "source and licence that no input file has together"),
        (with_column("license", lambda t: ["GPL-2.0-only"] * len(t)), "licences, the manifest says"),
        (with_column("source", lambda t: ["zoo"] * len(t)), "rows written of source 'zoo', finance; the files hold"),
        (with_column("num_loss_tokens", lambda t: [3] * len(t)), "token counts that are not those of input_ids"),
        (with_column("num_tokens", lambda t: [9] * len(t)), "tokens, the manifest says"),
        (lambda t: t.drop_columns(["tags"]), "has other columns or types than schema_version"),
        (with_column("id", lambda t: ["0" * 32] * len(t)), "ids that do not belong to train"),
        (with_column("id", lambda t: [i[:-4] + f"{int(i[-4:], 16) ^ 0xC000:04x}" for i in t["id"].to_pylist()]), "ids that belong into another part"),
        (double_row, "ids that are not in order, or stand there twice"),
        (double_row, "ids stand there more than once"),
        (lambda t: t.slice(0, 0), "are written, says the lineage, and in no shard"),
    ],
)  # fmt: skip
def test_deep_finds_rows_that_are_not_what_they_should_be(story, edit: Any, said: str) -> None:
    position = next(at for at, shard in enumerate(load(story.directory).shards) if shard.split == "train")
    path = change_rows(story.directory, "shards", position, edit)
    rows = load(story.directory).shards[position].rows
    found = deep_problems(story.directory)
    assert any(said in problem for problem in found), found
    assert rows == 0 or any(path in problem or problem.startswith("books") for problem in found)


def deep_problems(directory: Path) -> list[str]:
    """Look at the rows alone: what the files and counts already give away is not waited for."""
    from versatune.versions.verify_rows import check_rows

    return check_rows(directory, load(directory), Silence())


def edit_lineage(name: str, value: Any, where: str) -> Callable[[pa.Table], pa.Table]:
    return with_column(
        name,
        lambda t: [
            value if fate == where else old
            for old, fate in zip(t[name].to_pylist(), t["fate"].to_pylist(), strict=True)
        ],
    )


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (edit_lineage("fate", "duplicate", "written"), "ids of which not exactly one row is no duplicate"),
        (edit_lineage("fate", "near_duplicate", "written"), "fate and kept_id disagree"),
        (edit_lineage("kept_id", "f" * 32, "near_duplicate"), "is kept for near-duplicates, and in no shard"),
        (edit_lineage("kept_id", "f" * 32, "near_duplicate"), "near_duplicates.parquet: names other near-duplicates"),
        (edit_lineage("kept_id", "f" * 32, "duplicate"), "copies that different rows stand for"),
        (edit_lineage("source", "ghost", "written"), "which is not among the files that were read"),
        (edit_lineage("source", "ghost", "written"), "lineage rows of source 'ghost', written; the files hold"),
        (with_column("origin", lambda t: [{**o, "row": 99} for o in t["origin"].to_pylist()]), "row 99 of"),
        (with_column("origin", lambda t: [{**o, "row": 0} for o in t["origin"].to_pylist()]), "rows are neither in the lineage nor rejected, such as row"),
        (lambda t: t.take(pa.array(range(len(t) - 1, -1, -1))), "ids that are not in order"),
        (lambda t: t.filter(pc.not_equal(t["fate"], "written")), "are in the shards, and not written, says the lineage"),
    ],
)  # fmt: skip
def test_deep_finds_a_lineage_that_does_not_fit(story, edit: Any, said: str) -> None:
    for position in range(len(load(story.directory).lineage)):
        change_rows(story.directory, "lineage", position, edit)
    found = deep_problems(story.directory)
    assert any(said in problem for problem in found), found


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (with_column("reason", lambda t: ["other"] * len(t)), "rejects of source 'one', read.other; the files hold"),
        (lambda t: t.slice(1), "rows are neither in the lineage nor rejected, such as row 4"),
    ],
)
def test_deep_finds_rejects_that_do_not_fit(story, edit: Any, said: str) -> None:
    change_rows(story.directory, "rejects", 0, edit)
    found = deep_problems(story.directory)
    assert any(said in problem for problem in found), found


def test_deep_is_for_dataset_versions(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(DataError, match="--deep looks at rows"):
        problems(tmp_path, deep=True)


def test_a_checksum_is_remembered_only_while_the_file_is_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "x"
    for content in (b"one", b"two", b"three"):
        file.write_bytes(content)
        assert checksum(file) == checksum(file) == sha256_file(file)


def test_a_directory_without_a_manifest_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds none of manifest\.json"):
        problems(tmp_path)
    with pytest.raises(DataError, match="no such directory"):
        problems(tmp_path / "x")


def test_a_run_without_its_checkpoints_is_found(tmp_path: Path) -> None:
    RunRecord.create(
        created_at="", environment={}, mixture_path="m", mixture_digest="m", dataset_digest="d", model_sha256="w", config={},
        domains=["law"], reference=ReferenceLosses(source="zero", losses=[0.0], protocol={}), loss_before=[1.0],
        loss_after=[1.0], steps=1, segments=1, model="model", model_files={}, files={}, audit=AUDIT,
    ).write(tmp_path / "run.json")  # fmt: skip
    log = tmp_path / "weights.jsonl"
    for content, said in ((None, "not the checkpoints of a run"), (b'{"a": ', "not the checkpoints"), (b"", "holds 0")):
        if content is not None:
            log.write_bytes(content)
        (problem,) = problems(tmp_path)
        assert problem.startswith(f"{log}: {said}")
        assert "train" in problem
