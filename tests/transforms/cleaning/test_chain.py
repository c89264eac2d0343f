from __future__ import annotations

import json
import os
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from versatune.schemas.config import CleanConfig, PiiConfig
from versatune.schemas.errors import ConfigError
from versatune.transforms.cleaning.chain import make_cleaner
from versatune.transforms.shapes.base import Example, RowError

KINDS = ("email", "phone", "ip", "iban", "credit_card", "secret")
CARD = "4539 1488 0343 6467"
DIRTY = Example(
    [
        ("system", "Sei nett.<|im_end|>"),
        ("user", "Wo liegt das CafÃ©? Schreib an anna.schmidt@web.de"),
        ("assistant", "Am Markt.<|im_end|>"),
    ],
    rejected="WeiÃŸ nicht.<|im_end|>",
)
REPAIR = CleanConfig(repair_encoding=True, control_tags="strip")
MASK = PiiConfig(**dict.fromkeys(KINDS, "mask"))


def test_everything_is_off_by_default_and_costs_nothing():
    assert make_cleaner(CleanConfig(), PiiConfig()) is None


@pytest.mark.parametrize(
    "row",
    [
        "I'm sorry, but I can't help with that.",
        "I am {{name}}.",
        "cafÃ©<|im_end|>",
        "x",
        "",
        "ha ha " * 200,
        f"{CARD} a.b@web.de +1 443 641 2004 203.104.52.14",
    ],
)
@pytest.mark.parametrize("only", [{"min_prompt_chars": 1}, {"max_chars": 10**6}])
def test_no_step_acts_unless_it_is_asked_for(clean, row, only):
    example = Example([("user", "?"), ("assistant", row)])
    assert clean(example, only) == (example, Counter())


def test_steps_reach_every_text_and_count_examples(clean):
    counts: Counter[str] = Counter()
    cleaner = make_cleaner(REPAIR, MASK)
    example = cleaner(DIRTY, counts)
    assert example.messages == [
        ("system", "Sei nett."),
        ("user", "Wo liegt das Café? Schreib an [EMAIL]"),
        ("assistant", "Am Markt."),
    ]
    assert example.rejected == "Weiß nicht."
    assert counts == {
        "clean.encoding_repaired": 1,
        "clean.control_tags_stripped": 1,
        "pii.email.masked": 1,
        "pii.email.rows": 1,
    }


def test_what_happened_to_a_rejected_row_is_not_counted():
    counts: Counter[str] = Counter()
    cleaner = make_cleaner(CleanConfig(repair_encoding=True, min_answer_chars=1000), PiiConfig())
    with pytest.raises(RowError):
        cleaner(DIRTY, counts)
    assert not counts


def test_filters_judge_the_repaired_text(clean):
    with pytest.raises(RowError) as error:
        clean("Yes.<|im_end|>", {"control_tags": "strip", "min_answer_chars": 10})
    assert error.value.reason == "short_answer"


def test_a_text_of_nothing_but_markup_is_rejected(clean):
    with pytest.raises(RowError) as error:
        clean(" <|im_end|>\n", {"control_tags": "strip"})
    assert error.value.reason == "emptied"


@pytest.mark.parametrize(
    ("clean_config", "pii", "named"),
    [
        ({"drop_patterns": ["ok", "(unclosed"]}, {}, r"\(unclosed"),
        ({"languages": ["en", "english"]}, {}, "english"),
        ({}, {"phone": "mask", "phone_regions": ["USA"]}, "USA"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_any_row(clean_config, pii, named):
    with pytest.raises(ConfigError, match=named):
        make_cleaner(CleanConfig(**clean_config), PiiConfig(**pii))


PIECES = st.sampled_from(
    [
        "<|im_start|>user\n", "<|im_end|>", "<|", "|>", "im_end", "<s>", "</s>", "[INST]", "<eoh>", '"', " ", "\n",
        "cafÃ©", "Ã", "â€™", "é", "word", "中文", CARD, "a.b@web.de", "@web.de", "+1 443 641 2004", "-", ".", "12",
        "203.104.52.14", "GB82 WEST 1234 5698 7654 32", "gh" + "p_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
    ]
)  # fmt: skip


@pytest.mark.parametrize(
    ("clean_config", "pii"),
    [
        (CleanConfig(repair_encoding=True), PiiConfig()),
        (CleanConfig(control_tags="strip"), PiiConfig()),
        (CleanConfig(), MASK),
    ],
    ids=["repair", "strip", "mask"],
)
@given(text=st.lists(PIECES, min_size=1, max_size=12).map("".join))
def test_a_step_done_twice_is_the_step_done_once(clean_config, pii, text):
    cleaner = make_cleaner(clean_config, pii)
    once = cleaner(Example([("user", "hi"), ("assistant", f"x{text}")], rejected=f"x{text}"), Counter())
    counts: Counter[str] = Counter()
    assert cleaner(once, counts) == once
    assert not counts


def test_a_row_is_judged_by_itself():
    rows = [Example([("user", f"q{i}"), ("assistant", f"u{i}@web.de" if i % 3 else "ok")]) for i in range(60)]
    cleaner = make_cleaner(CleanConfig(max_repetition=0.5, repair_encoding=True), MASK)
    alone = {row.messages[0]: cleaner(row, Counter()) for row in rows}
    random.Random(0).shuffle(rows)
    assert all(cleaner(row, Counter()) == alone[row.messages[0]] for row in rows)


@pytest.mark.shared_data
def test_shared_code_rows_pass_the_text_steps_unchanged():
    path = Path(os.environ.get("VERSATUNE_SHARED_DATA", "../shared/data")) / "codealpaca" / "code_alpaca_2k.json"
    if not path.exists():
        pytest.skip(f"{path} is not there (set VERSATUNE_SHARED_DATA)")
    cleaner = make_cleaner(CleanConfig(repair_encoding=True, control_tags="strip", placeholders="drop"), PiiConfig())
    counts: Counter[str] = Counter()
    for row in json.loads(path.read_text()):
        cleaner(Example([("user", row["instruction"]), ("assistant", row["output"])]), counts)
    assert not counts
