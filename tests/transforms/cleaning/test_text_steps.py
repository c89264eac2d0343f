from __future__ import annotations

from collections import Counter

import pytest

from versatune.transforms.cleaning.control_tags import without_control_tags
from versatune.transforms.cleaning.encoding import repaired_text
from versatune.transforms.cleaning.language import identify
from versatune.transforms.cleaning.placeholders import has_placeholder
from versatune.transforms.cleaning.refusals import is_refusal
from versatune.transforms.cleaning.repetition import repetition
from versatune.transforms.shapes.base import Example, RowError


@pytest.mark.parametrize(
    ("broken", "whole"),
    [
        ("The cafÃ© is open", "The café is open"),
        ("Itâ€™s 68Â°F", "It’s 68°F"),
        ("Ã‚Â©2017", "©2017"),
    ],
)
def test_mojibake_is_undone(broken, whole):
    assert repaired_text(broken) == whole


@pytest.mark.parametrize(
    "text",
    [
        "plain", "café “quoted” … ﬁne", "全角ＡＢＣ，标点。", "a &amp; b", "naïve\r\nfaçade", "\x1b[31mred\x1b[0m é", "Ａ１",
        "e\u0301", "Ångström", "Â", "¿Qué?", "ÀÉÎ", "😀", "x² + y³ ½", "\u200bzero",
    ],
)  # fmt: skip
def test_nothing_but_the_encoding_is_touched(text):
    assert repaired_text(text) == text


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("<|im_start|>assistant\nHi<|im_end|>", "Hi"),
        ("Hi<|endoftext|>", "Hi"),
        ("<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>", "Hi"),
        ("<start_of_turn>model\nHi<end_of_turn>", "Hi"),
        ("<|Human|>: 你好<eoh>", "你好"),
        ("<|MOSS|>: 你好<eom>", "你好"),
        ("<｜User｜>Hi", "Hi"),
        ("[INST] Hi [/INST]", " Hi "),
        ("<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\nHi [/INST] Yes </s>", " \nBe kind.\n\nHi  Yes "),
        ("Yes.</s>", "Yes."),
        ("<s> Yes.", " Yes."),
        ("lost <unk> word", "lost  word"),
        ("<|im_<|im_end|>end|>x", "x"),
        ("4." + "</s>" * 16000, "4."),
        ("Yes.</s> <|im_end|>\n</s>", "Yes."),
        ("<s> <s>No", "No"),
        ("<|im_" * 5000 + "<|im_end|>" + "end|>" * 5000 + "x", "x"),
        ("<e" * 5000 + "<eos>" + "os>" * 5000 + "x", "x"),
        ("[INST]a</s><s>b" * 5000, "ab" * 5000),
    ],
    ids=range(19),
)
def test_template_markup_is_taken_out(text, left):
    assert without_control_tags(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "<s>9.99</s> 7.99", "price: <s>9.99</s>", "<p>A <s>struck</s> word</p>", "f <| x |> g", "a <|> b",
        'tokenizer.pad_token = "<pad>"', "stop at `<|im_end|>`", "<pad>4</pad>", "List<User> users", "x |> f <| y",
        "### Response:\n200 OK", "User: hello", "[INSTALL]", "a < s > b", "vector<s>::iterator", "if (a <s> b)",
        "[Your Name]",
    ],
)  # fmt: skip
def test_code_and_markup_of_other_kinds_stay(text):
    assert without_control_tags(text) == text


def test_control_tags_can_reject_the_row_instead(clean):
    with pytest.raises(RowError) as error:
        clean("Hi<|im_end|>", {"control_tags": "drop"})
    assert error.value.reason == "control_tags"
    assert clean("<s>9.99</s>", {"control_tags": "drop"})[1] == Counter()


@pytest.mark.parametrize(
    "text",
    ["I am {{name}}.", "我叫{{name}}，由 {{ author }} 开发。", "{{company name}} was founded", "{{#ev:video|a1}}"],
)
def test_unfilled_variables_are_seen(text):
    assert has_placeholder(text)


@pytest.mark.parametrize(
    "text",
    [
        "int a[2][2] = {{1, 2}, {3, 4}};", r"\frac{{a}}{{b}}", 'f"{{literal}}"', "<td>{{ user }}</td>", "{{ user.name }}",
        "Write `{{name}}` in the template", "```\nHello {{name}}\n```", "{% for x in y %}{{ x }}{% endfor %}", "{{}}",
        "std::vector<int> v{{x}};", "dict({{a}})", "{name}", "f = {{x}};", "[Your Name]",
    ],
)  # fmt: skip
def test_braces_of_code_are_no_variables(text):
    assert not has_placeholder(text)


def test_a_prompt_about_templates_may_be_answered(clean):
    example = Example([("user", "Greet {{name}} in a template"), ("assistant", "Hello {{name}}!")])
    assert clean(example, {"placeholders": "drop"}) == (example, Counter())
    with pytest.raises(RowError) as error:
        clean("Hello {{name}}!", {"placeholders": "drop"})
    assert error.value.reason == "placeholder"


@pytest.mark.parametrize(
    ("setting", "reason", "kept", "rejected"),
    [
        ({"min_prompt_chars": 3}, "short_prompt", ("why", "yes"), ("hm", "yes")),
        ({"min_answer_chars": 3}, "short_answer", ("why", "yes"), ("why", "ok")),
        ({"max_chars": 6}, "too_long", ("why", "yes"), ("why", "yes!")),
    ],
)
def test_lengths_are_bounded_and_the_bounds_belong_to_them(clean, setting, reason, kept, rejected):
    example = Example([("user", kept[0]), ("assistant", kept[1])])
    assert clean(example, setting)[0] == example
    with pytest.raises(RowError) as error:
        clean(Example([("user", rejected[0]), ("assistant", rejected[1])]), setting)
    assert error.value.reason == reason


def test_an_own_pattern_rejects_and_is_named_by_its_place(clean):
    setting = {"drop_patterns": ["never", r"(?m)^### Response:"]}
    with pytest.raises(RowError, match=r"drop_patterns\[1\]") as error:
        clean("a\n### Response:\nb", setting)
    assert error.value.reason == "drop_pattern"
    assert clean("a ### Response: b", setting)[1] == Counter()


WORDS = " ".join(f"word{i}" for i in range(60))


def test_repetition_is_the_share_of_characters_in_ngrams_seen_before():
    assert repetition(WORDS) == 0.0
    assert repetition(f"{WORDS} {WORDS}") == pytest.approx(0.5)
    assert repetition("the same five words again " * 40) == pytest.approx(39 / 40)


def test_repetition_counts_overlapping_ngrams_once():
    # 50 different words, then the first six once more: two overlapping 5-grams cover six words of equal length
    words = [f"w{i:03d}" for i in range(50)]
    assert repetition(" ".join(words + words[:6])) == pytest.approx(6 / 56)


def test_chinese_repeats_by_characters():
    sentence = "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏"
    assert repetition(sentence * 3) == pytest.approx(2 / 3)
    assert (
        repetition("中华人民共和国" + sentence + "。中华人民共和国" + sentence[::-1]) == 0.0
    )  # seven characters are a name


def test_short_texts_never_repeat_themselves():
    assert repetition("SELECT a FROM t WHERE x = 1 UNION SELECT a FROM t WHERE x = 2") == 0.0


def test_repeated_answers_are_rejected_and_prompts_are_not(clean):
    loop = "I do not know what to say. " * 30
    with pytest.raises(RowError) as error:
        clean(loop, {"max_repetition": 0.3})
    assert error.value.reason == "repetition"
    example = Example([("user", loop), ("assistant", "You repeat yourself.")], rejected=loop)
    assert clean(example, {"max_repetition": 0.3})[0] == example


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't assist with that request.", "I’m sorry, I am unable to provide that.",
        "I cannot help you with that.", "I apologize, but I cannot provide this.", "Sorry, I can't do that.",
        "I am sorry, but as an AI I have no opinion.", "Unfortunately, I cannot access the internet.",
        "Sure! As an AI language model, I was trained on text.", "很抱歉，我无法回答这个问题。", "对不起，我不能提供相关信息。",
        "作为一个人工智能语言模型，我没有感情。", "抱歉，作为AI助手，我无法打开链接。", "我无法提供医疗建议。",
    ],
)  # fmt: skip
def test_refusals_are_seen(text):
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry to hear that you feel unwell. Drink water.", "Dear customer, I'm sorry, but I can't find the invoice.",
        "The cat cannot swim.", 'He said: "I\'m sorry, I can\'t help you."', "Sorry is a word. It can help.",
        "Unfortunately, the war went on.", "很抱歉给您带来不便，我们会尽快退款。", "这个问题我无法忘记。",
        "AI language models predict the next word.", "As a language teacher, I recommend reading.", "无法律效力。",
        "I cannot recommend this film enough.",
    ],
)  # fmt: skip
def test_apologies_and_other_uses_are_no_refusals(text):
    assert not is_refusal(text)


def test_refusals_reject_by_the_answer_alone(clean):
    with pytest.raises(RowError) as error:
        clean("I'm sorry, but I can't help with that.", {"refusals": "drop"})
    assert error.value.reason == "refusal"
    example = Example([("user", "I'm sorry, but I can't help with that."), ("assistant", "Never mind.")])
    assert clean(example, {"refusals": "drop"})[0] == example


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("What is the capital of the country, and how many people live there today?", "en"),
        ("法国的首都是哪里？那里今天有多少人居住？", "zh"),
        ("Quelle est la capitale du pays, et combien de personnes y vivent aujourd'hui ?", "fr"),
        ("Was ist die Hauptstadt des Landes, und wie viele Menschen leben dort heute?", "de"),
        ("7 + 5 = 12", None),
        ("ok", None),
        ("```python\nfor i in range(3):\n    print(i)\n```", None),
    ],
)
def test_languages_are_told_or_left_open(text, language):
    assert identify(text) == language


def test_other_languages_are_rejected_and_undetermined_rows_stay(clean):
    french = Example([("user", "Quelle est la capitale de la France ?"), ("assistant", "La capitale est Paris.")])
    with pytest.raises(RowError) as error:
        clean(french, {"languages": ["en", "zh"]})
    assert error.value.reason == "other_language"
    assert clean(french, {"languages": ["fr"]}) == (french, Counter())
    numbers = Example([("user", "7 + 5"), ("assistant", "12")])
    assert clean(numbers, {"languages": ["fr"]}) == (numbers, Counter({"clean.language_undetermined": 1}))
