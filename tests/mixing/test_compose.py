"""Pool and probe to a mixture manifest."""

import numpy as np
import pytest

from tests.records import TEMPLATE
from versatune.mixing.compose import compose
from versatune.schemas.config import Config
from versatune.schemas.dataset import ClassifierRecord, DatasetManifest, Shard, TokenizerRecord
from versatune.schemas.errors import ConfigError, DataError
from versatune.schemas.mixture import MixtureManifest
from versatune.schemas.probe import Estimate, ModelRecord, ProbeReport, Rounds, TokenShares, Unlabelled
from versatune.schemas.taxonomy import DEFAULT_TAXONOMY

DOMAINS = DEFAULT_TAXONOMY.domains
ROWS = [100, 200, 50, 0, 400, 250]
TOKENIZER = TokenizerRecord(name="t", sha256="0" * 64, chat_template_sha256="0" * 64, max_tokens=512, template=TEMPLATE)


def _dataset(rows: list[int] = ROWS, tokenizer: TokenizerRecord | None = TOKENIZER) -> DatasetManifest:
    shards = [
        Shard(path=f"data/train/{domain}/p.parquet", split="train", domain=domain, rows=n, tokens=n * 10 * (j + 1),
              loss_tokens=n * 5, bytes=1, sha256="0" * 64, licenses=[])
        for j, (domain, n) in enumerate(zip(DOMAINS, rows, strict=True)) if n
    ]  # fmt: skip
    return DatasetManifest.create(
        name="d", version="1", created_at="", environment={}, schema_version=1, code_version="1", taxonomy=DEFAULT_TAXONOMY,
        classifier=ClassifierRecord(
            sha256="0" * 64, labels=list(DOMAINS), undetermined_below=0.4, confusion=None, precision_determined=None, unseen_ece=None
        ),
        tokenizer=tokenizer, inputs=[],
        parent=None, near_duplicates=None, decontamination=None, repairs=None, lineage=[],
        books=[], fields=[], shards=shards, rejects=[], config={},
    )  # fmt: skip


def _probe(shares: list[float], domains: tuple[str, ...] = DOMAINS) -> ProbeReport:
    estimate = Estimate(
        name="soft", shares=shares, standard_errors=shares, sampling_errors=shares, lower=shares, upper=shares, covers="sampling"
    )  # fmt: skip
    rounds = Rounds(samples_per_round=2, min_rounds=1, max_rounds=1, half_width=None, max_change=0.005)
    return ProbeReport.create(
        created_at="", environment={}, domains=list(domains), prompt_token_id=1, prompt_token="<s>",
        model=ModelRecord(name="m", revision=None, weights_sha256="0" * 64), sampling={}, seed=0, samples=2, counted=2,
        rejected={}, undetermined=0, undetermined_below=0.4, finish_reasons={}, alpha=0.05, estimates=[estimate], chosen="soft",
        classifier_sha256="0" * 64, generations="g", rounds=rounds, looks=[], stopped_by="budget", refused={},
        unlabelled=Unlabelled(lower=shares, upper=shares), tokens=TokenShares(shares=shares, mean_tokens=shares, truncated=0.0),
    )  # fmt: skip


def _mix(**mix: object) -> Config:
    return Config.model_validate({"name": "c", "seed": 3, "mix": mix})


def _weights(mixture: MixtureManifest) -> list[float]:
    return [plan.requested_weight for plan in mixture.plan]


def test_constant_takes_the_probe_and_says_so() -> None:
    probe = _probe([0.1, 0.2, 0.1, 0.0, 0.35, 0.25])
    mixture = compose(_mix(budget=100), _dataset(), "../d", probe)
    assert _weights(mixture) == pytest.approx([0.1, 0.2, 0.1, 0.0, 0.35, 0.25])
    assert [plan.count for plan in mixture.plan] == [10, 20, 10, 0, 35, 25]
    assert (mixture.probe_digest, mixture.decision["probe"]) == (probe.digest, probe.distribution)
    assert sum(plan.row_share for plan in mixture.plan) == pytest.approx(1.0)


def test_uniform_leaves_out_empty_domains_and_proportional_follows_the_pool() -> None:
    uniform = compose(_mix(policy="uniform", budget=50), _dataset(), "d")
    assert _weights(uniform) == pytest.approx([0.2, 0.2, 0.2, 0.0, 0.2, 0.2])
    proportional = compose(_mix(policy="proportional", budget=100), _dataset(), "d")
    assert _weights(proportional) == pytest.approx([n / 1000 for n in ROWS])


def test_caps_move_the_excess_and_report_what_is_missing() -> None:
    weights = {"finance": 0.5, "code": 0.5}
    capped = compose(_mix(policy="explicit", weights=weights, budget=400, max_passes=1), _dataset(), "d")
    assert [plan.count for plan in capped.plan] == [0, 0, 50, 0, 350, 0]
    assert capped.shortfall == 0
    short = compose(_mix(policy="explicit", weights=weights, budget=1000, max_passes=1), _dataset(), "d")
    assert (short.shortfall, [plan.passes for plan in short.plan]) == (550, [0, 0, 1, 0, 1, 0])
    with pytest.raises(DataError, match=r"lower the budget, raise mix\.max_passes"):
        compose(
            _mix(policy="explicit", weights=weights, budget=1000, max_passes=1, on_shortfall="error"), _dataset(), "d"
        )


def test_tokens_as_unit_count_tokens() -> None:
    mixture = compose(_mix(policy="uniform", unit="tokens", budget=1000), _dataset(), "d")
    assert [plan.count for plan in mixture.plan] == [200, 200, 200, 0, 200, 200]
    by_domain = {plan.domain: plan for plan in mixture.plan}
    assert by_domain["law"].row_share == pytest.approx(
        6 * by_domain["general"].row_share
    )  # its rows have 10 tokens, not 60
    assert by_domain["law"].token_share == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("mix", "dataset", "error", "said"),
    [
        ({"policy": "explicit", "weights": {"science": 1.0}}, _dataset(), DataError, "no rows for 'science'"),
        ({"policy": "uniform", "unit": "tokens"}, _dataset(tokenizer=None), ConfigError, "has no token counts"),
        ({"policy": "uniform"}, _dataset([0] * 6), DataError, "no training rows"),
        ({}, _dataset(), DataError, "run `versatune probe CONFIG` first"),
    ],
)
def test_what_cannot_be_mixed_is_refused(
    mix: dict[str, object], dataset: DatasetManifest, error: type[Exception], said: str
) -> None:
    with pytest.raises(error) as caught:
        compose(_mix(**mix), dataset, "d")
    assert said in str(caught.value)


def test_a_probe_labelled_by_another_classifier_is_refused() -> None:
    probe = _probe([0.1, 0.2, 0.1, 0.0, 0.35, 0.25])
    fields = probe.model_dump(exclude={"kind", "format_version", "digest"}) | {"classifier_sha256": "1" * 64}
    with pytest.raises(DataError, match=r"labelled by classifier 111111111111\.\.\., the dataset by 000000000000"):
        compose(_mix(), _dataset(), "d", ProbeReport.create(**fields))


def test_a_probe_of_another_taxonomy_is_refused() -> None:
    with pytest.raises(DataError, match="probe again"):
        compose(_mix(), _dataset(), "d", _probe([0.5, 0.5], ("a", "b")))


def test_an_empty_domain_s_weight_is_dropped_or_moved_as_asked() -> None:
    given = {"science": 0.5, "law": 0.25, "general": 0.25}
    dropped = compose(_mix(policy="explicit", weights=given, on_empty="drop"), _dataset(), "d")
    moved = compose(_mix(policy="explicit", weights=given, on_empty="general"), _dataset(), "d")
    assert _weights(dropped) == pytest.approx([0.5, 0, 0, 0, 0, 0.5])
    assert _weights(moved) == pytest.approx([0.25, 0, 0, 0, 0, 0.75])
    assert dropped.dropped_mass == moved.dropped_mass == 0.5


def test_the_same_question_has_the_same_digest_and_expansion_s_growth_is_written_down() -> None:
    expansion = {"name": "versatune_expansion", "target": "law"}
    one, two = (compose(_mix(policy="uniform", segments=5, mixer=expansion), _dataset(), "d") for _ in range(2))
    assert one.digest == two.digest
    assert one.mixer.delta == pytest.approx(0.4 / 5)
    assert np.isclose(sum(_weights(one)), 1.0)


def test_the_mixer_s_floor_already_holds_in_the_first_segment() -> None:
    mixture = compose(_mix(policy="explicit", weights={"law": 1.0}, budget=100, mixer={"floor": 0.1}), _dataset(), "d")
    assert _weights(mixture) == [1, 0, 0, 0, 0, 0]
    assert [plan.count for plan in mixture.plan] == [60, 10, 10, 0, 10, 10]


def test_a_probe_of_another_model_is_refused() -> None:
    config = Config.model_validate({"name": "c", "model": {"path": "models/other"}})
    with pytest.raises(
        DataError, match="the newest probe is of model m, the configuration names other; run `versatune probe"
    ):
        compose(config, _dataset(), "d", _probe([1 / 6] * 6))


def test_behind_an_endpoint_the_probed_model_is_what_the_server_calls_it() -> None:
    def config(served: str) -> Config:
        endpoint = {"url": "http://localhost:8000/v1", "model": served}
        return Config.model_validate({"name": "c", "model": {"path": "models/other"}, "probe": {"endpoint": endpoint}})

    assert compose(config("m"), _dataset(), "d", _probe([0.1, 0.2, 0.1, 0.0, 0.35, 0.25])).decision["model"] == "m"
    with pytest.raises(DataError, match="the newest probe is of model m, the configuration names adapter"):
        compose(config("adapter"), _dataset(), "d", _probe([1 / 6] * 6))
