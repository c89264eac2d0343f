from __future__ import annotations

import base64
import random
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


# The first articles of the Universal Declaration of Human Rights.
PAGES = {
    "Hindi": (
        "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है। उन्हें बुद्धि और अन्तरात्मा की देन प्राप्त है"
        " और परस्पर उन्हें भाईचारे के भाव से बर्ताव करना चाहिए। सभी को इस घोषणा में सन्निहित सभी अधिकारों और आज़ादियों को प्राप्त करने का हक़ है और"
        " इस मामले में जाति, वर्ण, लिंग, भाषा, धर्म, राजनीति या अन्य विचार-प्रणाली, किसी देश या समाज विशेष में जन्म, सम्पत्ति या किसी प्रकार की"
        " अन्य मर्यादा आदि के कारण भेदभाव का विचार न किया जाएगा।"
    ),
    "Marathi": (
        "सर्व मानवी व्यक्ती जन्मतःच स्वतंत्र आहेत व त्यांना समान प्रतिष्ठा व समान अधिकार आहेत. त्यांना विचारशक्ती व सदसद्विवेकबुद्धी लाभलेली आहे."
        " त्यांनी एकमेकांशी बंधुत्वाच्या भावनेने आचरण करावे. या जाहीरनाम्यात नमूद केलेले सर्व अधिकार व स्वातंत्र्ये यांचा हक्क प्रत्येकाला आहे,"
        " आणि त्यात वंश, वर्ण, स्त्री-पुरुष, भाषा, धर्म, राजकीय किंवा इतर मतप्रणाली, राष्ट्रीय वा सामाजिक मूल, संपत्ती, जन्म किंवा दुसरी कोणतीही"
        " परिस्थिती यांसारख्या कारणावरून भेदभाव करता येणार नाही."
    ),
    "Bengali": (
        "সমস্ত মানুষ স্বাধীনভাবে সমান মর্যাদা এবং অধিকার নিয়ে জন্মগ্রহণ করে। তাঁদের বিবেক এবং বুদ্ধি আছে; সুতরাং সকলেরই একে অপরের প্রতি"
        " ভ্রাতৃত্বসুলভ মনোভাব নিয়ে আচরণ করা উচিত। এ ঘোষণায় উল্লেখিত স্বাধীনতা এবং অধিকারসমূহে গোত্র, ধর্ম, বর্ণ, শিক্ষা, ভাষা, রাজনৈতিক বা"
        " অন্যবিধ মতামত, জাতীয় বা সামাজিক উৎপত্তি, জন্ম, সম্পত্তি বা অন্য কোন মর্যাদা নির্বিশেষে প্রত্যেকের সমান অধিকার থাকবে।"
    ),
    "Tamil": (
        "மனிதப் பிறவியினர் சகலரும் சுதந்திரமாகவே பிறக்கின்றனர்; அவர்கள் மதிப்பிலும் உரிமைகளிலும் சமமானவர்கள். அவர்கள் நியாயத்தையும் மனச்சாட்சியையும்"
        " இயற்பண்பாகப் பெற்றவர்கள். அவர்கள் ஒருவருடனொருவர் சகோதர உணர்வுப் பாங்கில் நடந்துகொள்ளல் வேண்டும். இனம், நிறம், பால், மொழி, மதம், அரசியல்"
        " அல்லது வேறு அபிப்பிராயமுடைமை, தேசிய அல்லது சமூகத் தோற்றம், ஆதனம், பிறப்பு அல்லது பிற அந்தஸ்து என்பன போன்ற எத்தகைய வேறுபாடுமின்றி எல்லா"
        " உரிமைகளுக்கும் சுதந்திரங்களுக்கும் எல்லோரும் உரித்துடையவராவர்."
    ),
    "Burmese": (
        "လူတိုင်းသည် တူညီ လွတ်လပ်သော ဂုဏ်သိက္ခာဖြင့် လည်းကောင်း၊ တူညီလွတ်လပ်သော အခွင့်အရေးများဖြင့် လည်းကောင်း၊ မွေးဖွားလာသူများ ဖြစ်သည်။"
        " ထိုသူတို့၌ ပိုင်းခြား ဝေဖန်တတ်သော ဉာဏ်နှင့် ကျင့်ဝတ် သိတတ်သော စိတ်တို့ရှိကြ၍ ထိုသူတို့သည် အချင်းချင်း မေတ္တာထား၍ ဆက်ဆံကျင့်သုံးသင့်၏။"
    ),
    "Thai": (
        "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ ต่างมีเหตุผลและมโนธรรม และควรปฏิบัติต่อกันด้วยเจตนารมณ์แห่งภราดรภาพ"
        " ทุกคนย่อมมีสิทธิและอิสรภาพบรรดาที่กำหนดไว้ในปฏิญญานี้ โดยปราศจากความแตกต่างไม่ว่าชนิดใด ๆ ดังเช่น เชื้อชาติ ผิว เพศ ภาษา ศาสนา"
        " ความคิดเห็นทางการเมืองหรือทางอื่น เผ่าพันธุ์แห่งชาติ หรือสังคม ทรัพย์สิน กำเนิด หรือสถานะอื่น ๆ"
    ),
    "Lao": (
        "ມະນຸດທຸກຄົນເກີດມາມີສິດເສລີພາບ ແລະ ສະເໝີໜ້າກັນໃນທາງກຽດຕິສັກ ແລະ ທາງສິດດ້ວຍມະນຸດມີສະຕິສຳປັດຊັນຍະ(ຮູ້ດີຮູ້ຊົ່ວ)ແລະມີມະໂນທຳຈຶ່ງຕ້ອງປະພຶດຕົນ"
        "ຕໍ່ກັນໃນທາງພີ່ນ້ອງ"
    ),
    "Khmer": (
        "មនុស្សទាំងអស់ កើតមកមានសេរីភាព និងសមភាព ក្នុងផ្នែកសេចក្ដីថ្លៃថ្នូរនិងសិទ្ធិ។ មនុស្ស មានវិចារណញ្ញាណនិងសតិសម្បជញ្ញៈជាប់ពីកំណើត"
        " ហើយគប្បីប្រព្រឹត្ដចំពោះគ្នាទៅវិញទៅមក ក្នុងស្មារតីភាតរភាពជាបងប្អូន។"
    ),
    "Chinese": (
        "人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心,并应以兄弟关系的精神相对待。人人有资格享有本宣言所载的一切权利和自由,不分种族、肤色、性别、"
        "语言、宗教、政治或其他见解、国籍或社会出身、财产、出生或其他身分等任何区别。"
    ),
    "Japanese": (
        "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。人間は、理性と良心とを授けられており、互いに同胞の精神をもって"
        "行動しなければならない。"
    ),
}  # fmt: skip


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_a_page_in_any_script_does_not_repeat_itself_and_a_loop_of_it_does(page):
    assert repetition(page) < 0.05
    assert repetition(page * 20) > 0.9


@pytest.mark.parametrize(
    "piece",
    [
        "ha", "!", "😂", "😂 ", "ab ", "! ", "👨\u200d👩\u200d👧\u200d👦", "🇩🇪", "lol😂", "-", "5", "哈", "ㅋ", "ฮ่า", "हा", "a\n", "... ",
        "abcdefghijklmnopqrstuvwxyz", "e\u0301", "\u200b.",
    ],
)  # fmt: skip
def test_a_loop_repeats_itself_with_words_or_without(piece):
    assert repetition(piece * 3000) > 0.98
    assert repetition(f"{WORDS[:200]} {piece * 3000} {WORDS[200:300]}") > 0.7


RANDOM = random.Random(0)
BASE64 = base64.b64encode(RANDOM.randbytes(3000)).decode()


@pytest.mark.parametrize(
    "text",
    [
        f"https://host.test/{BASE64.replace('+', '-').replace('/', '_')}",
        BASE64,
        f"{WORDS} {BASE64}",
        "".join(RANDOM.choices("0123456789abcdef", k=4000)),
        "".join(RANDOM.choices("0123456789", k=4000)),
        f"{WORDS}\n|{'-' * 200}|{'-' * 300}|\n| a | b |",
        f"{WORDS}\n{'=' * 79}\n{'-' * 79}\n{'. ' * 100}",
        f"{WORDS}\n| a{' ' * 500}|",
        f"{WORDS} {'ha' * 50}! 😂😂😂😂😂 Nooooooooooooooo",
        f"{WORDS}\n```\n" + "\n".join(f"{' ' * (i % 5 * 4)}x{i} = f{i}(y{i + 1})" for i in range(100)) + "\n```",
        "ha" * 100,
        "!" * 200,
        " " * 4000 + "x",
        "x" + "\n" * 4000 + "y",
    ],
    ids=range(14),
)
def test_long_words_rules_and_laughter_are_no_repetition(text):
    assert repetition(text) < 0.05


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
        "Unfortunately, I am unable to open links.", "Unfortunately, I'm not able to browse the web.", "Sorry, can't help with that.",
        "I'm afraid I can't do that.", "Unfortunately, as an AI, I cannot see images.", "I cannot comply with this request.",
        "I'm sorry, but it's not possible for me to provide that.", "The answer is 4. However, as an AI language model, I may err.",
        "抱歉，作为一个AI，我无法回答。",
        "I won’t help with that.", "I am sorry, but I am an AI language model and cannot see the weather.",
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
        "I cannot recommend this film enough.", "Unfortunately, you cannot open the window while driving.",
        "Unfortunately, the shop won't provide refunds.", "Sorry, but the door can't open from outside.",
        "Unfortunately, users are unable to edit the page.", "Sorry to say, the bridge can't support trucks.",
        "Cannot engage in trade: that is what an embargo means.", "Can't help with that is what he said.",
        "Apple sells Siri as an AI assistant.", "He used it as a language model for birds.", "抱歉，作为学生，你不能带手机。",
        "遗憾的是，我们无法改变过去。", "Unfortunately, it cannot translate poems.", "I am a language model made by Example Labs.",
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


FRENCH = "La capitale de la France est Paris, et deux millions de personnes y vivent aujourd'hui."
ENGLISH = "The capital of France is Paris, and two million people live there today. " * 14


@pytest.mark.parametrize(
    "example",
    [
        Example([("user", ENGLISH), ("assistant", FRENCH)]),
        Example([("user", FRENCH), ("assistant", ENGLISH)]),
        Example([("user", ENGLISH), ("assistant", ENGLISH), ("user", "Again?"), ("assistant", FRENCH)]),
        Example([("user", ENGLISH), ("assistant", ENGLISH)], rejected=FRENCH),
        Example([("user", f"Translate into French: {ENGLISH[:80]}"), ("assistant", FRENCH)]),
    ],
)
def test_each_text_that_is_long_enough_has_to_be_in_one_of_the_languages(clean, example):
    with pytest.raises(RowError) as error:
        clean(example, {"languages": ["en"]})
    assert error.value.reason == "other_language"
    assert clean(example, {"languages": ["en", "fr"]})[0] == example


def test_short_answers_and_code_are_not_told_by_themselves(clean):
    code = "```python\nfor i in range(3):\n    print(i, i * i, i ** 3, sum(range(i)))\n```"
    for answer in ("Oui.", "42", "Paris", code):
        example = Example([("user", ENGLISH), ("assistant", answer)])
        assert clean(example, {"languages": ["en"]}) == (example, Counter())


def thinking(thoughts: str, answer: str = "It is closed on Mondays, as the sign on its door says.") -> Example:
    return Example([("user", "When is the shop closed?"), ("reasoning", thoughts), ("assistant", answer)])


def test_thoughts_are_mended_and_masked_like_what_is_said(clean):
    dirty = "The cafÃ© wrote to anna.schmidt@web.de.<|im_end|>"
    example, counts = clean(thinking(dirty), {"repair_encoding": True, "control_tags": "strip"}, {"email": "mask"})
    assert example.messages[1] == ("reasoning", "The café wrote to [EMAIL].")
    assert counts["pii.email.masked"] == counts["clean.control_tags_stripped"] == 1


@pytest.mark.parametrize(
    ("thoughts", "settings", "reason"),
    [
        ("wait, no, " * 100, {"max_repetition": 0.5}, "repetition"),
        ("Le magasin est fermé le lundi, dimanche compris, si je me souviens bien.", {"languages": ["en"]}, "other_language"),
        ("See the notes.", {"drop_patterns": ["the notes"]}, "drop_pattern"),
        ("x" * 200, {"max_chars": 200}, "too_long"),
        ("Hm.<|im_end|>", {"control_tags": "drop"}, "control_tags"),
    ],
)  # fmt: skip
def test_thoughts_are_learned_and_looked_at_like_what_is_said(clean, thoughts, settings, reason):
    with pytest.raises(RowError) as caught:
        clean(thinking(thoughts), settings)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("thoughts", "settings"),
    [
        ("I am sorry, but I cannot help with that. Or can I?", {"refusals": "drop"}),
        ("The letter begins with Dear {{name}}, which I have to fill in.", {"placeholders": "drop"}),
        ("Mondays.", {"min_answer_chars": 20, "min_prompt_chars": 20}),
    ],
)
def test_thoughts_are_no_answer(clean, thoughts, settings):
    assert clean(thinking(thoughts), settings)[0] == thinking(thoughts)
