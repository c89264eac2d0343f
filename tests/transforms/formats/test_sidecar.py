"""Licences that lie beside data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from versatune.schemas.config import load_config
from versatune.transforms.reading.read import plan_inputs


@pytest.mark.parametrize(
    ("name", "text", "license_"),
    [
        ("d/e/x.jsonl.license", "SPDX-FileCopyrightText: me\n\nSPDX-License-Identifier: CC-BY-4.0\n", "CC-BY-4.0"),
        ("d/e/LICENSE.spdx", "SPDX-License-Identifier: MIT OR Apache-2.0", "MIT OR Apache-2.0"),
        ("d/LICENSE.spdx", "SPDX-License-Identifier: MIT", "MIT"),
        ("d/README.md", "---\nlicense: cc-by-sa-3.0\nlanguage: en\n---\n# Card", "cc-by-sa-3.0"),
        ("d/README.md", "---\r\nlicense:\r\n- mit\r\n- apache-2.0\r\n---\r\n", "mit AND apache-2.0"),
        ("d/README.md", "---\nlicense: [unclosed\n---\n", "unknown"),
        ("d/README.md", "no front matter\nlicense: mit\n", "unknown"),
        ("d/e/dataset_info.json", '{"license": "odc-by"}', "odc-by"),
        ("d/e/dataset_info.json", '{"license": ""}', "unknown"),
        ("LICENSE.spdx", "SPDX-License-Identifier: MIT", "unknown"),
    ],
)
def test_a_licence_is_read_from_beside_the_file_up_to_the_folder_that_was_named(
    tmp_path: Path, name: str, text: str, license_: str
) -> None:
    (tmp_path / "d" / "e").mkdir(parents=True)
    (tmp_path / "d" / "e" / "x.jsonl").write_bytes(b"{}\n")
    (tmp_path / name).write_bytes(text.encode())
    for source, expected in (({}, license_), ({"license": "0BSD"}, "0BSD")):
        config = {"name": "t", "sources": [{"name": "s", "files": ["d"], **source}]}
        (tmp_path / "config.yaml").write_text(json.dumps(config))
        (split,) = plan_inputs(load_config(tmp_path / "config.yaml"))
        assert (split.uri, split.license) == ("d/e/x.jsonl", expected)
