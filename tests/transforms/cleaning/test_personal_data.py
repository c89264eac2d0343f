from __future__ import annotations

import time
from collections import Counter

import pytest

from versatune.transforms.cleaning.detectors import credit_card, email, iban, ip, secret
from versatune.transforms.cleaning.detectors.phone import phone_finder
from versatune.transforms.shapes.base import Example, RowError

FIND = {
    "email": email.find,
    "phone": phone_finder(["US", "CN"]),
    "ip": ip.find,
    "iban": iban.find,
    "credit_card": credit_card.find,
    "secret": secret.find,
}
# Made up, and written in two parts so that nobody's scanner takes them for leaked ones.
GITHUB = "gh" + "p_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
AWS = "AK" + "IA" + "Q3EGRN5XJT7MZ2KP"
AWS_SECRET = "wJ4r/k7Qp2Zx9Lm3Tn8Vb5Yc1Hd6Gf0Sa+EuRiKo"
STRIPE = "sk" + "_live_" + "4eC39HqLyjWDarjtT1zdp7dc"
GOOGLE = "AI" + "za" + "SyD3f8Kq1ZxW9vBn5mTr2Lp7Hc4Gj6Yd0Es"
SLACK = "xo" + "xb-" + "123456789012-abcdefGHIJKL"
OPENAI = "s" + "k-" + "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5bC7dE9fG1hJ3"
JWT = "ey" + "JhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0." + "dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"
PEM = "\n".join(
    (
        "-----BEGIN RSA PRIV" + "ATE KEY-----",
        "MIIEowIBAAKCAQEA7bq98Zx1Lk3QpR5tVw2Yc4Nd6Fg8Hj0Ks",
        "-----END RSA PRIVATE KEY-----",
    )
)

HITS = {
    "email": [
        ("write to anna.schmidt@web.de today", "anna.schmidt@web.de"),
        ("<j.o-neil+news@mail.firma.co.uk>", "j.o-neil+news@mail.firma.co.uk"),
        ("邮箱：li_wei@163.com。", "li_wei@163.com"),
        ("end with a dot: x@y.org.", "x@y.org"),
        ("an müller@web.de!", "müller@web.de"),
        ("Jürgen.Groß@müller-söhne.de", "Jürgen.Groß@müller-söhne.de"),
        ("иван@почта.рф", "иван@почта.рф"),
        ("to a@firma.xn--p1ai now", "a@firma.xn--p1ai"),
        ("o'brien@firma.ie", "o'brien@firma.ie"),
        ("x='bob@web.de'", "bob@web.de"),
        ("mailto:anna+tag@web.de?subject=x", "anna+tag@web.de"),
        ('"Anna@web.de"', "Anna@web.de"),
        ('write "john doe"@web.de', '"john doe"@web.de'),
        ("x@例子.中国是", "x@例子.中国"),
    ],
    "phone": [
        ("call +49 30 901820 now", "+49 30 901820"),
        ("+1 443 641 2004", "+1 443 641 2004"),
        ("Tel (212) 736-5000.", "(212) 736-5000"),
        ("or 212-736-5000 at night", "212-736-5000"),
        ("212.736.5000", "212.736.5000"),
        ("my phone is 2127365000", "2127365000"),
        ("手机号码：13812345678，谢谢", "13812345678"),
        ("toll free (1-800-952-5210)", "1-800-952-5210"),
        ("+33 1 42 68 53 00 in Paris", "+33 1 42 68 53 00"),
        ("+33\u00a01\u00a042\u00a068\u00a053\u00a000", "+33\u00a01\u00a042\u00a068\u00a053\u00a000"),
        ("+33 (0)1 42 68 53 00", "+33 (0)1 42 68 53 00"),
        ("phone=+33142685300&x", "+33142685300"),
        ("a,+33142685300,b", "+33142685300"),
        ("+7 495 123-45-67", "+7 495 123-45-67"),
        ("tél. 2127365000", "2127365000"),
    ],
    "ip": [
        ("from 203.104.52.14 at noon", "203.104.52.14"),
        ("地址203.104.52.14。", "203.104.52.14"),
        ("http://81.200.17.9/x", "81.200.17.9"),
        ("2a00:1450:4001:82a::200e is up", "2a00:1450:4001:82a::200e"),
        ("[2a00:1450:4001:82a::200e]:443", "2a00:1450:4001:82a::200e"),
        ("from ::ffff:203.104.52.14 on", "::ffff:203.104.52.14"),
    ],
    "iban": [
        ("to GB82 WEST 1234 5698 7654 32 please", "GB82 WEST 1234 5698 7654 32"),
        ("DE89370400440532013000", "DE89370400440532013000"),
        ("NO93 8601 1117 947.", "NO93 8601 1117 947"),
    ],
    "credit_card": [
        ("card 4539 1488 0343 6467", "4539 1488 0343 6467"),
        ("4539148803436467", "4539148803436467"),
        ("4539 1488 0343 6467 12/27", "4539 1488 0343 6467"),
        ("5555-5555-5555-4444", "5555-5555-5555-4444"),
        ("Amex 3782 822463 10005", "3782 822463 10005"),
        ("card=4111111111111111", "4111111111111111"),
        ("4111111111111111,12/27,123", "4111111111111111"),
        ("1,4111111111111111,2", "4111111111111111"),
        ("4111.1111.1111.1111", "4111.1111.1111.1111"),
        ("https://x.test/pay?card=4111111111111111", "4111111111111111"),
        ("卡号6222020200112233446。", "6222020200112233446"),
    ],
    "secret": [
        (f"token={GITHUB}", GITHUB),
        (f"id {AWS}.", AWS),
        (f'aws_secret_access_key = "{AWS_SECRET}"', AWS_SECRET),
        (f'"SecretAccessKey": "{AWS_SECRET}",', AWS_SECRET),
        (f'{{\\"SecretAccessKey\\": \\"{AWS_SECRET}\\"}}', AWS_SECRET),
        (f"<SecretAccessKey>{AWS_SECRET}</SecretAccessKey>", AWS_SECRET),
        (f"export AWS_SECRET_ACCESS_KEY={AWS_SECRET}", AWS_SECRET),
        (f"secretAccessKey: {AWS_SECRET}\nregion: x", AWS_SECRET),
        (f"fs.s3a.secret.key={AWS_SECRET}", AWS_SECRET),
        (f"my_secret_key => '{AWS_SECRET}'", AWS_SECRET),
        (f'"SessionToken": "{AWS_SECRET * 4}=="', AWS_SECRET * 4 + "=="),
        (f"({STRIPE})", STRIPE),
        (f"key={GOOGLE}&x=1", GOOGLE),
        (f"'{SLACK}'", SLACK),
        (f"OPENAI_API_KEY={OPENAI}", OPENAI),
        (f"Bearer {JWT}", JWT),
        (f"key:\n{PEM}\nend", PEM),
    ],
}
NEAR_MISSES = {
    "email": [
        "git clone git@github.com:owner/name.git", "@property", "x = a@b.shape", "user@localhost", "icon@2x.png",
        "someone@example.com", "jo@mail.example.org", "@scope/pkg@1.2.3", "y = w@x.T.reshape", "twitter @nasa", "a@b",
    ],
    "phone": [
        "2019-08-24", "ISBN 978-3-16-148410-0", "3.14159265359", "0.2255859375", "order 4839201746", "1,234,567,890",
        "192.168.100.200", "GSM 900 1800 1900", "600-150-1200-2000=2050", "$4,500,000,000", "1234567890123456",
        "v10.15.7.19042", "12:30:45 2020", "3600000000000 + 62426244000", "2001 2002 2003 2004", "[1, 2, 3, 4, 5, 6, 7]",
        "DFARS 252.227-7013(c)", "cb65dace46d1ebab18915135849b9eb6", "findDemlo('13333122222')",
    ],
    "ip": [
        "192.168.0.17", "10.20.30.40", "127.0.0.1", "255.255.255.0", "version 12.34.56.78", "v10.15.70.19", "1.2.3.4",
        "section 4.2.11.3", "8.8.8.8", "203.104.52.14.5", "999.10.10.10", "192.0.2.44", "pkg==20.30.40.50", "2001:db8::1",
        "std::vector", "12:30:45", "00:1B:44:11:3A:B7", "a::b", "Chrome/81.0.44.129", "1.10.2.3",
    ],
    "iban": [
        "GB82 WEST 1234 5698 7654 33", "DE8937040044053201300", "AB12 3456 7890 1234", "FR2024 ANNUAL REPORT 00",
        "de89370400440532013000", "XDE89370400440532013000",
    ],
    "credit_card": [
        "4539148803436468", "1234567812345678", "9780306406157000", "0.4539148803436467", "45391488034364670000",
        "id=a4539148803436467", "1453914880343646", "2024-01-01 12:00:00", "4539-1488 0343-6467",
        "https://x.test/4539148803436467", "https://x.test/p?id=4111111111111111", "4111111111111111.5",
    ],
    "secret": [
        "sk-" + "x" * 48, "AK" + "IAIOSFODNN7EXAMPLE", "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "550e8400-e29b-41d4-a716-446655440000", "task-management-systems-for-teams-of-all-kinds", "hf_hub_download",
        "npm_config_registry", "sk-learn", "eyJ", "-----BEGIN PUBLIC KEY-----", "risk_live_performance_of_the_band",
        "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----", "your_api_key_here", "SG.1.2",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("kind", "text", "found"), [(kind, *case) for kind, cases in HITS.items() for case in cases])
def test_a_hit_is_found_where_it_stands(kind, text, found):
    assert [text[start:end] for start, end in FIND[kind](text)] == [found]


def test_the_national_forms_of_a_region_are_found_where_it_is_chosen():
    french = phone_finder(["FR"])
    for number in ("01 42 68 53 00", "01.42.68.53.00", "01-42-68-53-00", "+33 1 42 68 53 00"):
        assert list(french(f"Paris: {number}.")) == [(7, 7 + len(number))]
    for other in (
        "10 20 30 40 50",
        "2019-08-24",
        "1.42.68.53.00",
        "0142685300",
        "01 42 68 53 00 17 33",
        "550e8400-e29b-41d4",
    ):
        assert list(french(other)) == []


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in NEAR_MISSES.items() for text in texts])
def test_near_misses_are_left_alone(kind, text):
    assert list(FIND[kind](text)) == []


def test_a_number_in_no_chosen_region_counts_with_its_country_code_only():
    only_international = phone_finder([])
    assert list(only_international("(212) 736-5000")) == []
    assert len(list(only_international("+1 212 736 5000"))) == 1


@pytest.mark.parametrize("kind", FIND)
def test_each_kind_is_masked_dropped_or_tagged(clean, kind):
    text, found = HITS[kind][0]
    label = f"[{kind.upper()}]"
    example = Example([("user", text), ("assistant", f"{text}\n{text}")], rejected=text)

    masked, counts = clean(example, pii={kind: "mask"})
    assert masked.messages == [(role, content.replace(found, label)) for role, content in example.messages]
    assert masked.rejected == text.replace(found, label)
    assert counts == {f"pii.{kind}.masked": 4, f"pii.{kind}.rows": 1}

    tagged, counts = clean(example, pii={kind: "tag"})
    assert tagged == example._replace(tags=(f"pii.{kind}",))
    assert counts == {f"pii.{kind}.tagged": 4, f"pii.{kind}.rows": 1}

    with pytest.raises(RowError) as error:
        clean(example, pii={kind: "drop"})
    assert error.value.reason == f"pii_{kind}"
    assert found not in error.value.detail


def test_strings_inside_a_tool_call_are_masked_and_the_rest_of_its_json_stays(clean):
    call = '[{"name":"send","arguments":{"to":"\\nanna.schmidt@web.de","n":1.50,"cc":[null,"x"]}}]'
    example = Example([("user", "send it"), ("tool_call", call), ("tool", "sent to anna.schmidt@web.de")])
    masked, counts = clean(example, pii={"email": "mask"})
    assert masked.messages[1] == ("tool_call", call.replace("anna.schmidt@web.de", "[EMAIL]"))
    assert masked.messages[2] == ("tool", "sent to [EMAIL]")
    assert counts["pii.email.masked"] == 2
    untouched = Example([("user", "send it"), ("tool_call", '[{"name": "f", "arguments": {"n": 1.50}}]')])
    assert clean(untouched, pii={"email": "mask"})[0] == untouched


def test_tags_add_to_those_that_are_there_in_one_order(clean):
    example = Example([("user", "x@web.de"), ("assistant", "203.104.52.14")], tags=("z",))
    assert clean(example, pii={"ip": "tag", "email": "tag"})[0].tags == ("pii.email", "pii.ip", "z")


def test_only_the_kinds_that_are_on_are_looked_for(clean):
    example = Example([("user", "x@web.de"), ("assistant", "203.104.52.14")])
    assert clean(example, pii={"ip": "mask"}) == (
        Example([("user", "x@web.de"), ("assistant", "[IP]")]),
        Counter({"pii.ip.masked": 1, "pii.ip.rows": 1}),
    )


@pytest.mark.parametrize(
    "text",
    ["4539 1488 0343 6467 ", "4539148803436467-", "1 2 3 4 ", "a@", "GB82 ", "x@web.de,", "1.1.", "+1 443 641 2004 "],
)
def test_long_runs_cost_time_in_proportion(clean, text):
    def seconds(times):
        start = time.process_time()
        clean(text * times, pii=dict.fromkeys(FIND, "mask"))
        return time.process_time() - start

    few, many = (min(seconds(times) for _ in range(3)) for times in (400, 4000))
    assert many < 40 * max(few, 0.001)  # 10 if linear, 100 if quadratic
