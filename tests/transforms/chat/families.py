"""Templates written for these tests in the manner of public model families, and the tokens that each family adds to its vocabulary.

None is a copy: each is as short as it can be and still has the family's tokens, its order of texts, and its habits.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Family:
    """One template, and what the tokenizer beside it knows."""

    name: str
    file: str
    """In :data:`TEMPLATES`."""
    tokens: tuple[str, ...]
    """Added tokens that are special."""
    plain_tokens: tuple[str, ...]
    """Added tokens that are not special: one token each, and part of the text."""
    eos: tuple[str, ...]
    """The tokens that end generation; the first is the tokenizer's own eos_token."""
    bos: str | None
    """The tokenizer's bos_token."""
    prepends_bos: bool
    """Whether the tokenizer puts bos_token before a text that is encoded with its special tokens."""
    tool_use: str | None = None
    """The file of a second template, named ``tool_use``, for rows with tools."""

    def template(self) -> str:
        """Return the text of the template."""
        return (TEMPLATES / self.file).read_text(encoding="utf-8")

    def tool_template(self) -> str:
        """Return the text of the template for rows with tools."""
        return (TEMPLATES / (self.tool_use or self.file)).read_text(encoding="utf-8")


def _family(
    name: str,
    tokens: str,
    eos: str,
    *,
    plain: str = "",
    bos: str | None = None,
    prepends: bool = False,
    tool_use: str | None = None,
) -> Family:
    """Return a family whose file is named after it; tokens are separated by blanks."""
    added, ends = tokens.split(), eos.split()
    special = [*added, *(token for token in (*ends, bos) if token and token not in added)]
    return Family(
        name, f"{name}.jinja", tuple(dict.fromkeys(special)), tuple(plain.split()), tuple(ends), bos, prepends, tool_use
    )


_CHATML = "<|im_start|> <|im_end|> <|endoftext|>"
_MISTRAL = "[INST] [/INST] [TOOL_CALLS] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS] [/TOOL_RESULTS]"
_LLAMA3 = "<|begin_of_text|> <|end_of_text|> <|start_header_id|> <|end_header_id|> <|eot_id|>"
_COHERE = (
    "<BOS_TOKEN> <|START_OF_TURN_TOKEN|> <|END_OF_TURN_TOKEN|> <|SYSTEM_TOKEN|> <|USER_TOKEN|> <|CHATBOT_TOKEN|> <|START_RESPONSE|>"
    " <|END_RESPONSE|> <|START_THINKING|> <|END_THINKING|> <|START_ACTION|> <|END_ACTION|> <|START_TOOL_RESULT|> <|END_TOOL_RESULT|>"
)
_KIMI = (
    "[BOS] [EOS] <|im_system|> <|im_user|> <|im_assistant|> <|im_middle|> <|im_end|> <|tool_calls_section_begin|> <|tool_call_begin|>"
    " <|tool_call_argument_begin|> <|tool_call_end|> <|tool_calls_section_end|>"
)
_DEEPSEEK_ROLES = "<｜User｜> <｜Assistant｜> <think> </think>"
_DEEPSEEK_CALLS = (
    " <｜tool▁calls▁begin｜> <｜tool▁calls▁end｜> <｜tool▁call▁begin｜> <｜tool▁call▁end｜> <｜tool▁sep｜> <｜tool▁outputs▁begin｜>"
    " <｜tool▁outputs▁end｜> <｜tool▁output▁begin｜> <｜tool▁output▁end｜>"
)
_DEEPSEEK = {"bos": "<｜begin▁of▁sentence｜>", "eos": "<｜end▁of▁sentence｜>"}
_THINK = "<think> </think>"
_THINK_AND_CALLS = "<think> </think> <tool_call> </tool_call> <tool_response> </tool_response>"
_EXAONE = "[|system|] [|user|] [|assistant|] [|endofturn|] [|tool|]"
_PHI = "<|system|> <|user|> <|assistant|> <|end|> <|endoftext|>"

FAMILIES = [
    _family("llama2", "<unk>", "</s>", bos="<s>", prepends=True),
    _family("mistral-v1", "<unk>", "</s>", bos="<s>", prepends=True),
    _family("mistral-v3", _MISTRAL, "</s>", bos="<s>", prepends=True),
    _family("mistral-nemo", _MISTRAL, "</s>", bos="<s>", prepends=True),
    _family(
        "mistral-small-3.2",
        f"{_MISTRAL} [SYSTEM_PROMPT] [/SYSTEM_PROMPT] [TOOL_CONTENT] [ARGS] [CALL_ID]",
        "</s>",
        bos="<s>",
        prepends=True,
    ),
    _family("qwen1.5", _CHATML, "<|im_end|> <|endoftext|>"),
    _family("vllm-chatml", _CHATML, "<|im_end|>"),
    _family("baichuan", "<reserved_106> <reserved_107>", "</s>", bos="<s>"),
    _family(
        "apertus",
        "<|system_start|> <|system_end|> <|developer_start|> <|developer_end|> <|user_start|> <|user_end|> <|assistant_start|>"
        " <|assistant_end|> <|inner_prefix|> <|inner_suffix|> <|tools_prefix|> <|tools_suffix|>",
        "<|assistant_end|> <|tools_suffix|>",
        bos="<s>",
        prepends=True,
    ),
    _family(
        "glm4",
        "[gMASK] <sop> <|system|> <|user|> <|assistant|> <|observation|> <|endoftext|>",
        "<|endoftext|> <|user|> <|observation|>",
    ),
    _family("command-r7b", _COHERE, "<|END_OF_TURN_TOKEN|>", bos="<BOS_TOKEN>", prepends=True),
    _family("command-a", _COHERE, "<|END_OF_TURN_TOKEN|>", bos="<BOS_TOKEN>", prepends=True),
    _family("command-a-reasoning", _COHERE, "<|END_OF_TURN_TOKEN|>", bos="<BOS_TOKEN>", prepends=True),
    _family(
        "nemotron-nano-2",
        "<SPECIAL_10> <SPECIAL_11> <SPECIAL_12>",
        "<SPECIAL_12> <SPECIAL_11> </s>",
        bos="<s>",
        prepends=True,
    ),
    _family("codellama-70b", "</s>", "<step>", bos="<s>", prepends=True),
    _family("hammer-2.1", _CHATML, "<|im_end|> <|endoftext|>"),
    _family("firefunction", _LLAMA3, "<|eot_id|>", bos="<|begin_of_text|>", prepends=True),
    _family(
        "hermes",
        _CHATML,
        "<|im_end|>",
        plain="<tool_call> </tool_call> <tool_response> </tool_response> <tools> </tools>",
        bos="<|begin_of_text|>",
        prepends=True,
        tool_use="hermes-tool_use.jinja",
    ),
    _family("kimi-k2", _KIMI, "[EOS] <|im_end|>", bos="[BOS]"),
    _family("kimi-k2-thinking", _KIMI, "[EOS] <|im_end|>", plain=_THINK, bos="[BOS]"),
    _family("deepseek-v2", "", **_DEEPSEEK, prepends=True),
    _family("deepseek-v3.1", "", **_DEEPSEEK, plain=_DEEPSEEK_ROLES + _DEEPSEEK_CALLS, prepends=True),
    _family("deepseek-v3.2", "", **_DEEPSEEK, plain=f"{_DEEPSEEK_ROLES} ｜DSML｜", prepends=True),
    _family("deepseek-r1", "", **_DEEPSEEK, plain=_DEEPSEEK_ROLES + _DEEPSEEK_CALLS, prepends=True),
    _family("exaone-3.5", _EXAONE, "[|endofturn|]", bos="[BOS]"),
    _family("exaone-4", _EXAONE, "[|endofturn|]", plain=_THINK_AND_CALLS, bos="[BOS]"),
    _family("smollm3", _CHATML, "<|im_end|>", plain=_THINK_AND_CALLS),
    _family("phi-3", _PHI, "<|endoftext|> <|assistant|> <|end|>", bos="<s>"),
    _family("phi-4", f"{_CHATML} <|im_sep|>", "<|im_end|>", bos="<|endoftext|>"),
    _family("phi-4-mini", f"{_PHI} <|tool|> <|/tool|>", "<|endoftext|> <|end|>", bos="<|endoftext|>"),
    _family("zephyr", "<unk>", "</s>", bos="<s>", prepends=True),
    _family("zephyr-gemma", "<|im_start|> <|im_end|>", "<eos> <|im_end|>", bos="<bos>", prepends=True),
    _family("vicuna", "<unk>", "</s>", bos="<s>", prepends=True),
    _family("solar", "<unk>", "</s>", bos="<s>", prepends=True),
    _family("alpaca", "<unk>", "</s>", bos="<s>", prepends=True),
    _family("yi", _CHATML, "<|im_end|>", bos="<|startoftext|>"),
    _family("tulu", "", "<|end_of_text|>", bos="<|begin_of_text|>", prepends=True),
    _family("olmo-2", "", "<|endoftext|>", bos="<|endoftext|>"),
    _family("olmo-3-think", _CHATML, "<|endoftext|> <|im_end|>"),
    _family("minimax-m2", "]~b]", "[e~[", plain=f"{_THINK} <minimax:tool_call> </minimax:tool_call>", bos="]~!b["),
    _family("gigachat-3", "<|role_sep|> </s>", "<|message_sep|>", bos="<s>"),
    _family("granite-3", "<|start_of_role|> <|end_of_role|> <|tool_call|>", "<|end_of_text|>", bos="<|end_of_text|>"),
    _family(
        "granite-4",
        "<|start_of_role|> <|end_of_role|>",
        "<|end_of_text|>",
        plain="<tool_call> </tool_call> <tool_response> </tool_response> <tools> </tools>",
        bos="<|end_of_text|>",
    ),
    _family(
        "jamba",
        "<|bom|> <|eom|> <|system|> <|user|> <|assistant|> <|tool|> <tool_calls> </tool_calls> <tool_definitions> </tool_definitions>",
        "<|endoftext|> <|eom|>",
        bos="<|startoftext|>",
        prepends=True,
    ),
    _family("openchat", "<unk> </s>", "<|end_of_turn|>", bos="<s>", prepends=True),
    _family(
        "seed-oss",
        "",
        "<seed:eos>",
        plain="<seed:think> </seed:think> <seed:tool_call> </seed:tool_call>",
        bos="<seed:bos>",
    ),
    _family(
        "ministral-3",
        f"{_MISTRAL} [SYSTEM_PROMPT] [/SYSTEM_PROMPT] [ARGS] [THINK] [/THINK]",
        "</s>",
        bos="<s>",
        prepends=True,
    ),
    _family(
        "devstral", f"{_MISTRAL} [SYSTEM_PROMPT] [/SYSTEM_PROMPT] [ARGS] [CALL_ID]", "</s>", bos="<s>", prepends=True
    ),
    _family("qwen3.5", _CHATML, "<|im_end|> <|endoftext|>", plain=_THINK_AND_CALLS),
    _family("qwen3.6", _CHATML, "<|im_end|> <|endoftext|>", plain=_THINK_AND_CALLS),
]
