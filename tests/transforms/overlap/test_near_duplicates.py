"""Near-duplicates: planted clusters are found, whatever the order, batches or workers, and the right row stays."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.test_pipeline import TestPipeline as BeamTestPipeline
from hypothesis import given
from hypothesis import strategies as st

from versatune.schemas.arrow import MESSAGES
from versatune.schemas.config import NearDuplicatesConfig
from versatune.transforms.overlap import near_duplicates
from versatune.transforms.overlap.minhash import choose_bands
from versatune.transforms.overlap.near_duplicates import (
    Clusters,
    FindNearDuplicates,
    connect,
    dropped_of,
    link_band,
    signature_rows,
    write_clusters,
    write_links,
    write_signatures,
)
from versatune.transforms.shards.write_shards import in_validation

SETTINGS = NearDuplicatesConfig(enabled=True)
Row = tuple[str, str]  # id, text


def id_of(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def batch_of(rows: list[Row]) -> pa.RecordBatch:
    messages = [[{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}] for _, text in rows]
    return pa.record_batch(
        {"id": pa.array([name for name, _ in rows], pa.string()), "messages": pa.array(messages, MESSAGES)}
    )


def find(
    rows: list[Row], directory: Path, batch_rows: int = 100, settings: NearDuplicatesConfig = SETTINGS
) -> Clusters:
    blocks = [
        write_signatures(batch_of(rows[start : start + batch_rows]), settings, str(directory), f"b{start:06d}")
        for start in range(0, len(rows), batch_rows)
    ]
    bands = choose_bands(settings.similarity, settings.permutations).bands
    links = [write_links(blocks, band, settings.similarity, str(directory)) for band in range(bands)]
    return write_clusters(blocks, links, f"{directory}/near_duplicates.parquet")


def found(clusters: Clusters) -> dict[str, str]:
    """Return the id that stays for each that goes."""
    rows = pq.read_table(clusters.path)
    assert len(rows) == clusters.rows
    return dict(zip(rows["id"].to_pylist(), rows["kept"].to_pylist(), strict=True))


def expected(*clusters: list[str]) -> dict[str, str]:
    return {name: min(cluster) for cluster in clusters for name in cluster if name != min(cluster)}


def sentence(chance: random.Random, words: int = 120) -> list[str]:
    return [f"w{chance.randrange(30_000)}" for _ in range(words)]


def edited(words: list[str], chance: random.Random, edits: int) -> list[str]:
    """Replace some words, far from each other."""
    words = list(words)
    for number in range(edits):
        words[number * (len(words) // edits) + chance.randrange(3)] = f"e{chance.randrange(10**9)}"
    return words


def named(*texts: list[str] | str) -> list[Row]:
    joined = [text if isinstance(text, str) else " ".join(text) for text in texts]
    return [(id_of(text), text) for text in joined]


@pytest.fixture
def corpus() -> tuple[list[Row], dict[str, str]]:
    """Return 1,000 rows that share nothing, 40 clusters among them, and what has to be found."""
    chance = random.Random(3)
    rows = named(*(sentence(chance) for _ in range(1000)))
    clusters = []
    for number in range(40):
        base = sentence(chance)
        members = named(base, *(edited(base, chance, 1) for _ in range(number % 4 + 1)))
        clusters.append([name for name, _ in members])
        rows += members
    chance.shuffle(rows)
    return rows, expected(*clusters)


def test_planted_clusters_are_found_and_the_smallest_id_stays(
    corpus: tuple[list[Row], dict[str, str]], tmp_path: Path
) -> None:
    rows, wanted = corpus
    clusters = find(rows, tmp_path)
    assert found(clusters) == wanted
    assert clusters.clusters == 40
    table = pq.read_table(clusters.path)
    assert table.equals(table.sort_by([("kept", "ascending"), ("id", "ascending")]))
    assert min(table["similarity"].to_pylist()) >= 0.8
    assert clusters.sha256 == hashlib.sha256(Path(clusters.path).read_bytes()).hexdigest()
    assert clusters.bytes == Path(clusters.path).stat().st_size


def test_the_file_is_the_same_for_any_order_and_any_batches(
    corpus: tuple[list[Row], dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, _ = corpus
    digests = {find(rows, tmp_path / "a").sha256}
    digests.add(find(rows[::-1], tmp_path / "b", batch_rows=7).sha256)
    monkeypatch.setattr(near_duplicates, "_PART_ROWS", 100)
    monkeypatch.setattr(near_duplicates, "_CHUNK_PAIRS", 3)
    monkeypatch.setattr(near_duplicates, "_ROW_GROUP_ROWS", 10**6)
    digests.add(find(sorted(rows), tmp_path / "c", batch_rows=1000).sha256)
    assert len(digests) == 1


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_transform_gives_the_same_file_from_any_number_of_workers(
    corpus: tuple[list[Row], dict[str, str]], tmp_path: Path, workers: int
) -> None:
    rows, _ = corpus
    options = PipelineOptions(
        ["--runner=FnApiRunner", f"--direct_num_workers={workers}", "--direct_running_mode=multi_threading"]
    )
    clusters = find_with_beam(rows, tmp_path / "beam", options)
    assert clusters.sha256 == find(rows, tmp_path / "plain").sha256
    assert clusters.path == str(tmp_path / "beam" / "out" / "near_duplicates.parquet")
    assert len(list((tmp_path / "beam" / "out").iterdir())) == 1  # what is published has nothing else in it


def find_with_beam(rows: list[Row], directory: Path, options: PipelineOptions | None = None) -> Clusters:
    report = directory / "clusters.txt"
    directory.mkdir()

    def keep(clusters: Clusters) -> None:
        with report.open("a") as stream:
            stream.write(json.dumps(clusters) + "\n")

    with BeamTestPipeline(options=options) as root:
        _ = (
            root
            | beam.Create(list(enumerate([rows[::3], rows[1::3], rows[2::3]] if rows else [])))
            | beam.MapTuple(
                lambda n, part: write_signatures(batch_of(part), SETTINGS, str(directory), f"{n}")
            ).with_output_types(str)
            | FindNearDuplicates(settings=SETTINGS, directory=str(directory / "out"))
            | beam.Map(keep)
        )
    (line,) = report.read_text().splitlines()
    return Clusters(*json.loads(line))


def test_the_transform_says_once_that_nothing_was_found_where_there_are_no_rows(tmp_path: Path) -> None:
    clusters = find_with_beam([], tmp_path / "beam")
    assert (clusters.rows, clusters.clusters) == (0, 0)
    assert pq.read_table(clusters.path).num_rows == 0


def test_a_chain_of_links_is_one_cluster(tmp_path: Path) -> None:
    chance = random.Random(8)
    links = [sentence(chance, 200)]
    for number in range(6):
        following = list(links[-1])
        following[number * 30 : number * 30 + 7] = sentence(chance, 7)
        links.append(following)
    rows = named(*links)
    clusters = find(rows, tmp_path)
    assert found(clusters) == expected([name for name, _ in rows])
    ends = signature_rows(batch_of([rows[0], rows[-1]]), SETTINGS)["signature"].to_pylist()
    assert np.mean(np.equal(*ends)) < 0.6  # its ends are no near-duplicates of each other
    assert min(pq.read_table(clusters.path)["similarity"].to_pylist()) < 0.8


def test_what_is_less_similar_is_no_near_duplicate(tmp_path: Path) -> None:
    chance = random.Random(4)
    rows = []
    for _ in range(100):
        base = sentence(chance, 200)
        rows += named(base, edited(base, chance, 14))  # Jaccard similarity about 0.48
    assert found(find(rows, tmp_path)) == {}


def test_equal_texts_under_other_ids_are_near_duplicates(tmp_path: Path) -> None:
    text = " ".join(sentence(random.Random(1)))
    rows = [("c" * 32, text), ("0" * 31 + "1", text.upper() + "!"), ("a" * 32, text)]
    assert found(find(rows, tmp_path)) == {"c" * 32: "0" * 31 + "1", "a" * 32: "0" * 31 + "1"}


def test_copies_of_one_row_are_one_row(tmp_path: Path) -> None:
    chance = random.Random(2)
    base = sentence(chance)
    rows = named(base, edited(base, chance, 1))
    twice = rows * 3 + named("alone", "alone")
    assert found(find(twice, tmp_path, batch_rows=2)) == expected([name for name, _ in rows])


def test_rows_without_words_are_nobodys_duplicates(tmp_path: Path) -> None:
    rows = [(f"{number:032x}", text) for number, text in enumerate(["", "", "!!!", "?!", "🙂", "🙂"])]
    assert found(find(rows, tmp_path)) == {}
    assert signature_rows(batch_of(rows), SETTINGS).num_rows == 0


def test_short_texts_are_near_duplicates_of_their_like_alone(tmp_path: Path) -> None:
    rows = [(f"{number:032x}", text) for number, text in enumerate(["Yes.", "yes", "No", "Yes, no", "yes no!"])]
    assert found(find(rows, tmp_path)) == expected([rows[0][0], rows[1][0]], [rows[3][0], rows[4][0]])


def test_chinese_texts_are_compared_by_characters(tmp_path: Path) -> None:
    chance = random.Random(6)
    base = [chr(0x4E00 + chance.randrange(3000)) for _ in range(200)]
    rows = named("".join(base), "，".join("".join(edited(base, chance, 1)).split("e")), "".join(reversed(base)))
    assert found(find(rows, tmp_path)) == expected([rows[0][0], rows[1][0]])


def test_a_system_turn_does_not_count(tmp_path: Path) -> None:
    chance = random.Random(7)
    prompt, text = " ".join(sentence(chance)), " ".join(sentence(chance))
    rows = [[("system", prompt), ("user", text)], [("user", text)], [("system", prompt), ("user", "other words here")]]
    messages = [[{"role": role, "content": content} for role, content in row] for row in rows]
    ids = [f"{number:032x}" for number in range(3)]
    batch = pa.record_batch({"id": ids, "messages": pa.array(messages, MESSAGES)})
    first, second, third = signature_rows(batch, SETTINGS)["signature"].to_pylist()
    assert first == second != third


@pytest.mark.parametrize("fraction", [0.05, 0.3, 0.7])
def test_a_near_duplicate_of_a_validation_row_never_stays_in_train(
    corpus: tuple[list[Row], dict[str, str]], tmp_path: Path, fraction: float
) -> None:
    """The rule is the smallest id, and validation rows are those below a bound; a random or first-come rule fails here."""
    rows, _ = corpus
    kept_for = found(find(rows, tmp_path))
    names = sorted({*kept_for, *kept_for.values()})
    held_out = dict(zip(names, in_validation(pa.array(names), fraction).tolist(), strict=True))
    clusters = {kept: [kept, *(n for n, k in kept_for.items() if k == kept)] for kept in kept_for.values()}
    assert any(held_out[n] for members in clusters.values() for n in members)
    for kept, members in clusters.items():
        assert held_out[kept] == any(held_out[name] for name in members)


def test_a_bucket_that_very_many_share_costs_few_comparisons_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """3,000 rows that are half boilerplate meet in whole bands; the pairs among them that are near-duplicates are found all the same."""
    chance = random.Random(11)
    boilerplate = sentence(chance, 150)
    rows, clusters = [], []
    for _ in range(1500):
        own = sentence(chance, 50)
        pair = named(boilerplate + own, [*boilerplate, *own[:-1], "changed"])
        rows += pair
        clusters.append([name for name, _ in pair])
    compared = []
    plain = near_duplicates._Store.similarity

    def counting(self: Any, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        compared.append(len(left))
        return plain(self, left, right)

    monkeypatch.setattr(near_duplicates._Store, "similarity", counting)
    kept_for = found(find(rows, tmp_path))
    bands = choose_bands(SETTINGS.similarity, SETTINGS.permutations).bands
    assert sum(compared) <= bands * 8 * len(rows) + len(rows)
    assert max(compared) > len(rows) // 2  # the bucket is there
    right = sum(kept_for.get(name) == kept for name, kept in expected(*clusters).items())
    assert right >= 0.97 * len(clusters)


def test_a_small_bucket_compares_every_pair(tmp_path: Path) -> None:
    """The leader of a bucket is like none of the others: they still find each other."""
    chance = random.Random(12)
    base = sentence(chance, 200)
    rows = [("0" * 32, " ".join(edited(base, chance, 12)))]
    rows += [(f"{number:032x}", " ".join(edited(base, chance, 1))) for number in (1, 2, 3)]
    assert found(find(rows, tmp_path)) == expected([name for name, _ in rows[1:]])


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=40))
def test_connected_rows_have_one_root(pairs: list[tuple[int, int]]) -> None:
    roots = np.arange(20)
    for part in (pairs[::2], pairs[1::2]):
        connect(roots, np.array(part, np.int64).reshape(-1, 2))
    groups = {number: {number} for number in range(20)}
    for a, b in pairs:
        union = groups[a] | groups[b]
        for number in union:
            groups[number] = union
    assert roots.tolist() == [min(groups[number]) for number in range(20)]


def test_ids_that_go_are_read_in_order_with_those_that_stay(
    corpus: tuple[list[Row], dict[str, str]], tmp_path: Path
) -> None:
    rows, wanted = corpus
    ids, kept = dropped_of(find(rows, tmp_path).path)
    names = [f"{first:016x}{second:016x}" for first, second in ids.tolist()]
    assert names == sorted(wanted)
    assert kept.to_pylist() == [wanted[name] for name in names]


def links_of(signatures: list[list[int]], directory: Path) -> set[tuple[int, int]]:
    """Return the links among rows of one bucket, the n-th of which has the id n."""
    ids = pa.array([number.to_bytes(16, "big") for number in range(len(signatures))], pa.binary(16))
    places = pa.array(signatures, pa.list_(pa.uint16(), len(signatures[0])))
    keys = pa.array([7] * len(signatures), pa.uint64())
    block = pa.record_batch({"id": ids, "signature": places, "band_000": keys})
    with pa.OSFile(f"{directory}/block.arrow", "wb") as stream, pa.ipc.new_file(stream, block.schema) as writer:
        writer.write_batch(block)
    return {(a, b) for pairs in link_band([f"{directory}/block.arrow"], 0, 0.8) for a, b in pairs.tolist()}


def test_in_a_bucket_a_link_to_a_row_that_is_linked_already_is_found(tmp_path: Path) -> None:
    first, second, third = [0] * 20, [0] * 17 + [1] * 3, [2] * 3 + [0] * 14 + [1] * 3
    assert links_of([first, second, third], tmp_path) == {(0, 1), (2, 1)}


def test_in_a_bucket_a_row_without_links_leads_before_one_that_has_some(tmp_path: Path) -> None:
    alike, others = [[0] * 20] * 30, [[1] * 20] * 2
    assert (30, 31) in links_of(alike + others, tmp_path)


@pytest.mark.parametrize(("edits", "least", "most"), [(1, 1.0, 1.0), (5, 0.1, 0.9), (8, 0.0, 0.0)])
def test_only_near_the_threshold_it_is_chance_that_decides(
    tmp_path: Path, edits: int, least: float, most: float
) -> None:
    chance = random.Random(13)
    rows = []
    for _ in range(100):
        base = sentence(chance, 200)
        rows += named(base, edited(base, chance, edits))  # Jaccard similarities 0.95, 0.78 and 0.66
    assert least <= len(found(find(rows, tmp_path))) / 100 <= most


def test_a_second_try_writes_the_same_bytes(corpus: tuple[list[Row], dict[str, str]], tmp_path: Path) -> None:
    batch = batch_of(corpus[0][:50])
    path = Path(write_signatures(batch, SETTINGS, str(tmp_path), "k"))
    first = path.read_bytes()
    assert Path(write_signatures(batch, SETTINGS, str(tmp_path), "k")).read_bytes() == first
    assert list(tmp_path.iterdir()) == [path]


def test_any_permutation_count_and_ngram_work(tmp_path: Path) -> None:
    chance = random.Random(14)
    base = sentence(chance)
    rows = named(base, edited(base, chance, 1), sentence(chance))
    for permutations, ngram in itertools.product((16, 100), (1, 9)):
        settings = NearDuplicatesConfig(permutations=permutations, ngram=ngram, similarity=0.6)
        clusters = find(rows, tmp_path / f"{permutations}-{ngram}", settings=settings)
        assert found(clusters) == expected([rows[0][0], rows[1][0]])
