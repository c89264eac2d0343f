"""A causal language model ready to train: loaded from safetensors, on its device, with the loss of each row."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from peft import LoraConfig as PeftLoraConfig
from peft import get_peft_model

from versatune.mixing.arrays import FloatArray
from versatune.models.loading import load_model, pad_id
from versatune.models.quantization import check_quantization
from versatune.models.tokenizer import load_tokenizer
from versatune.schemas.chat_template import chat_templates, templates_sha256
from versatune.schemas.config import Config, LoraConfig
from versatune.schemas.dataset import TokenizerRecord
from versatune.schemas.errors import ConfigError, DataError
from versatune.schemas.files import sha256_bytes
from versatune.schemas.template_record import TemplateRecord
from versatune.sft_runner.batches import IGNORE_INDEX, Batch
from versatune.sft_runner.device import choose_device


@dataclass(slots=True)
class Trainee:
    """A model and how it is run."""

    model: Any
    """A transformers model, or a peft model around one."""
    device: torch.device
    autocast: bool
    """Whether matrix products run in bfloat16 although the trained weights are float32."""
    pad_id: int
    """Any token will do: padding is masked and has no loss."""

    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """The trained parameters by name; a tied weight appears once."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def row_nll(self, batch: Batch) -> tuple[torch.Tensor, FloatArray]:
        """Negative log-likelihood of the answers: position i predicts label i + 1, and a label at index 0 never counts.

        Only positions with a loss go through the output layer: with a large vocabulary its logits, in float32, would
        take most of the memory and much of the time.

        Returns the sum over the batch (a scalar with its graph, nats) and the sum of each row, (B,).
        """
        batch = batch.to(self.device)
        targets = batch.labels[:, 1:]
        scored = torch.nn.functional.pad(targets != IGNORE_INDEX, (0, 1))  # (B, T), aligned with the logits
        head = self.model.get_output_embeddings()
        hook = head.register_forward_pre_hook(lambda _, args: (args[0][scored], *args[1:]))
        try:
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.autocast):
                logits = self.model(
                    input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False
                ).logits  # (N, vocabulary), N the scored positions of the batch
        finally:
            hook.remove()
        nll = torch.nn.functional.cross_entropy(logits.float(), batch.labels[:, 1:][scored[:, :-1]], reduction="none")
        row = scored.nonzero()[:, 0].cpu().numpy()
        weights = nll.detach().double().cpu().numpy()
        sums = np.bincount(row, weights=weights, minlength=len(batch.labels))
        return nll.sum(), np.asarray(sums, dtype=np.float64)


def load_trainee(config: Config, folder: Path) -> Trainee:
    """Load the base model.

    Full fine-tuning holds its weights in float32, whatever the number format of forward and backward; under LoRA the
    frozen base takes that format itself and only the adapter is float32.
    """
    assert config.model is not None  # run() checked
    check_quantization(folder, config.model.path, config.train.method)
    wide = config.train.method == "full" or config.train.dtype == "float32"
    device = choose_device(config.train.device)
    loaded = load_model(folder, config.model, dtype=torch.float32 if wide else torch.bfloat16, seed=config.seed)
    model = loaded.model.to(device)
    return Trainee(model=model, device=device, autocast=config.train.dtype == "bfloat16", pad_id=pad_id(model.config))


def add_adapter(trainee: Trainee, config: LoraConfig, seed: int) -> Trainee:
    """Put a fresh low-rank adapter on a model; only the adapter is trained. It starts as the identity."""
    torch.manual_seed(seed)
    adapter = PeftLoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=config.target_modules,
        task_type="CAUSAL_LM",
    )
    try:
        model = get_peft_model(trainee.model, adapter)
    except ValueError as error:
        raise ConfigError(f"lora.target_modules: {' '.join(str(error).split())[:300]}") from None
    return Trainee(model=model, device=trainee.device, autocast=trainee.autocast, pad_id=trainee.pad_id)


def remove_adapter(trainee: Trainee) -> None:
    """Take an adapter off again; the model it was put on is as before, and all its weights are trained."""
    trainee.model.unload().requires_grad_(True)


def end_tokens(config: Config, folder: Path, template: TemplateRecord) -> dict[str, int]:
    """Return the ids of the tokens that end an answer and a call in the rows, by their text; empty where no token does."""
    assert config.model is not None  # run() checked
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        folder, local_files_only=True, trust_remote_code=config.model.trust_remote_code
    )
    known = tokenizer.get_vocab()
    return {end.token: known[end.token] for end in (template.answer, template.call) if end.token is not None}


def check_tokenizer(config: Config, folder: Path, record: TokenizerRecord) -> None:
    """Refuse a model whose tokenizer or chat template is not the one that made the dataset's tokens."""
    assert config.model is not None  # run() checked
    tokenizer = load_tokenizer(folder, trust_remote_code=config.model.trust_remote_code)
    templates = chat_templates(config, tokenizer)
    # The dataset's tokenizer neither cut nor padded; a folder may ask for both, and its serialised form then says so.
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    found = (
        ("tokenizer", sha256_bytes(tokenizer.backend_tokenizer.to_str().encode()), record.sha256),
        ("chat template", templates_sha256(templates), record.chat_template_sha256),
    )
    for what, ours, theirs in found:
        if ours != theirs:
            raise DataError(
                f"model {folder}: its {what} ({ours[:12]}...) is not the one that made the dataset's tokens"
                f" ({theirs[:12]}..., from '{record.name}'); set 'model' to that model, or run build and mix again"
            )
