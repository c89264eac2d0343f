from __future__ import annotations

import pytest

from versatune.schemas.config import LicensePolicy
from versatune.schemas.dataset import InputFile
from versatune.schemas.licenses import is_allowed, say_unknown_licenses
from versatune.schemas.spdx import satisfies, spdx

NAMES = {
    "CC BY-NC 4.0": "CC-BY-NC-4.0",
    "cc-by-nc-4.0": "CC-BY-NC-4.0",
    "CC-BY-NC": "CC-BY-NC-4.0",
    "Creative Commons Attribution-NonCommercial 4.0 International": "CC-BY-NC-4.0",
    "https://creativecommons.org/licenses/by-nc/4.0/": "CC-BY-NC-4.0",
    "http://creativecommons.org/licenses/by-nc-sa/3.0/deed.en": "CC-BY-NC-SA-3.0",
    "https://creativecommons.org/publicdomain/zero/1.0/": "CC0-1.0",
    "cc-by-sa-3.0": "CC-BY-SA-3.0",
    "cc0": "CC0-1.0",
    "Apache 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "https://www.apache.org/licenses/LICENSE-2.0.txt": "Apache-2.0",
    "MIT License": "MIT",
    "The MIT License (MIT)": "MIT",
    "https://opensource.org/licenses/MIT": "MIT",
    "https://spdx.org/licenses/MIT.html": "MIT",
    "BSD 3-Clause": "BSD-3-Clause",
    "GPLv3": "GPL-3.0-only",
    "gpl-3.0": "GPL-3.0-only",
    "LGPL-2.1+": "LGPL-2.1-or-later",
    "GPL-2.0 WITH Classpath-exception-2.0": "GPL-2.0-only WITH Classpath-exception-2.0",
    "cc_by_nc_4_0": "CC-BY-NC-4.0",
    "CC\u2011BY\u2011NC\u20114.0": "CC-BY-NC-4.0",
    "CC BY\u2013NC 4.0": "CC-BY-NC-4.0",
    "Attribution-NonCommercial 4.0 International (CC BY-NC 4.0)": "CC-BY-NC-4.0",
    "CC BY-NC 2.5 FR": "CC-BY-NC-2.5",
    "CC BY-SA 3.0 IGO": "CC-BY-SA-3.0-IGO",
    "CC BY 3.0 DE": "CC-BY-3.0-DE",
    "GNU General Public License v2.0": "GPL-2.0-only",
    "ODC-BY": "ODC-By-1.0",
    "odbl": "ODbL-1.0",
    "CC BY 4.0 AND MIT": "CC-BY-4.0 AND MIT",
    "MIT or Apache 2.0": "MIT OR Apache-2.0",
    "LicenseRef-Ours": "LicenseRef-Ours",
}


@pytest.mark.parametrize(("written", "meant"), NAMES.items())
def test_a_licence_is_known_however_it_is_written(written: str, meant: str) -> None:
    assert spdx(written) == meant
    assert spdx(meant) == meant


@pytest.mark.parametrize(
    "name", ["other", "unknown", "", "proprietary", "llama2", "Public Domain", "https://host.test/terms"]
)
def test_what_is_no_spdx_licence_is_none(name: str) -> None:
    assert spdx(name) is None


@pytest.mark.parametrize(
    ("expression", "met"),
    [
        ("MIT", True), ("GPL-3.0", False), ("MIT OR GPL-3.0", True), ("GPL-3.0 OR MIT", True), ("MIT AND GPL-3.0", False),
        ("(MIT OR GPL-3.0) AND MIT", True), ("MIT AND (GPL-3.0 OR GPL-2.0)", False), ("GPL-2.0 WITH Classpath-exception-2.0", False),
        ("GPL-3.0 AND MIT OR MIT", True),
    ],
)  # fmt: skip
def test_an_expression_is_met_as_its_operators_say(expression: str, met: bool) -> None:
    assert satisfies(expression, lambda name: name == "MIT") is met


@pytest.mark.parametrize(
    ("allow", "deny", "name", "passes"),
    [
        (None, ["*-NC-*"], "CC BY-NC 4.0", False),
        (None, ["*-NC-*"], "Creative Commons Attribution-NonCommercial 4.0", False),
        (None, ["*-NC-*"], "CC BY 4.0", True),
        (None, ["*-NC-*"], "CC BY 4.0 AND CC BY-NC 4.0", False),
        (None, ["*-NC-*"], "MIT OR CC-BY-NC-4.0", True),
        (["CC-BY-*"], [], "CC BY 4.0", True),
        (["Apache 2.0", "MIT License"], [], "apache-2.0", True),
        (["Apache-2.0"], [], "MIT", False),
        (None, ["other"], "Other", False),
        (None, ["unknown"], "unknown", False),
        (None, ["gpl*"], "GPLv3", False),
        (None, ["gpl-3.0"], "GPL-3.0-only", False),
        (None, ["GPL-3.0-only"], "gpl-3.0", False),
        (["gpl-3.0"], [], "gpl-3.0", True),
        (None, ["gpl-3.0"], "GPL-3.0-or-later", True),
    ],
)
def test_a_policy_compares_what_a_licence_means(
    allow: list[str] | None, deny: list[str], name: str, passes: bool
) -> None:
    assert is_allowed(LicensePolicy(allow=allow, deny=deny), name) is passes


def test_a_licence_that_is_no_spdx_identifier_is_said_once_a_source() -> None:
    def file(source: str, name: str) -> InputFile:
        return InputFile(source=source, uri="a", bytes=1, sha256="0", rows=1, license=name, refused="")

    inputs = [file("a", "ours"), file("a", "ours"), file("b", "ours"), file("b", "CC BY 4.0"), file("c", "unknown")]
    assert [line.partition(":")[0] for line in say_unknown_licenses(inputs)] == ["source 'a'", "source 'b'"]
