"""A causal language model ready to train: loaded from safetensors, on its device, with the loss of each row."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from versatune.mixing.arrays import FloatArray
from versatune.models.loading import load_model, pad_id
from versatune.models.quantization import check_quantization
from versatune.models.tokenizer import load_tokenizer
from versatune.schemas.chat_template import chat_templates, templates_sha256
from versatune.schemas.config import Config
from versatune.schemas.dataset import TokenizerRecord
from versatune.schemas.errors import ConfigError, DataError
from versatune.schemas.files import sha256_bytes
from versatune.schemas.template_record import TemplateRecord
from versatune.sft_runner.batches import IGNORE_INDEX, Batch, collate
from versatune.sft_runner.dataset import TokenRow
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
        """Negative log-likelihood of the answers: the first two of :meth:`losses`."""
        return self.losses(batch)[:2]

    def losses(self, batch: Batch) -> tuple[torch.Tensor, FloatArray, torch.Tensor | None]:
        """Negative log-likelihood of the answers: position i predicts label i + 1, and a label at index 0 never counts.

        Only positions with a loss go through the output layer: with a large vocabulary its logits, in float32, would
        take most of the memory and much of the time.

        Returns the sum over the batch (a scalar with its graph, nats), the sum of each row, (B,), and the loss that keeps a router from
        favouring a few experts (a scalar with its graph, already multiplied by the model's own coefficient); None where the model's
        configuration does not ask for it (output_router_logits).
        """
        batch = batch.to(self.device)
        targets = batch.labels[:, 1:]
        scored = torch.nn.functional.pad(targets != IGNORE_INDEX, (0, 1))  # (B, T), aligned with the logits
        head = self.model.get_output_embeddings()
        hook = head.register_forward_pre_hook(lambda _, args: (args[0][scored], *args[1:]))
        try:
            with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.autocast):
                out = self.model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False)
                logits = out.logits  # (N, vocabulary), N the scored positions of the batch
        finally:
            hook.remove()
        nll = torch.nn.functional.cross_entropy(logits.float(), batch.labels[:, 1:][scored[:, :-1]], reduction="none")
        row = scored.nonzero()[:, 0].cpu().numpy()
        weights = nll.detach().double().cpu().numpy()
        sums = np.bincount(row, weights=weights, minlength=len(batch.labels))
        return nll.sum(), np.asarray(sums, dtype=np.float64), self._router_loss(out)

    def _router_loss(self, out: Any) -> torch.Tensor | None:
        if not torch.is_tensor(loss := getattr(out, "aux_loss", None)):
            return None
        settings = self.model.config.get_text_config()
        places = (
            (settings, "router_aux_loss_coef"),
            (settings, "aux_loss_coef"),
            (getattr(settings, "ffn_config", None), "moe_loss_weight"),
        )
        coefficient = next((found for place, name in places if (found := getattr(place, name, None))), 0.0)
        return coefficient * loss.float() if coefficient and getattr(settings, "output_router_logits", False) else None


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


def check_trains(trainee: Trainee, refusal: str, *, gradient: bool = True) -> None:
    """Take the loss of two short rows and its gradient, so that code which cannot be trained is found before the first step.

    Raises:
        ConfigError: ``refusal``, with what the model's code says.
    """
    rows = [TokenRow(np.arange(3, 3 + n, dtype=np.int32), np.arange(n) > 0) for n in (6, 4)]
    devices = [trainee.device] if trainee.device.type == "cuda" else []
    before = trainee.model.training
    trainee.model.train(gradient)  # as a step runs it: some (Reformer) compute their own gradient, and only then
    try:
        with torch.random.fork_rng(devices), torch.set_grad_enabled(gradient):  # dropout draws
            loss = trainee.losses(collate(rows, trainee.pad_id))[0]
            if gradient:
                loss.backward()  # type: ignore[no-untyped-call]  # torch does not type it
    except Exception as error:  # noqa: BLE001  # whatever the model's code raises
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(f"{refusal} ({type(error).__name__}: {reason})") from None
    finally:
        trainee.model.train(before)
        trainee.model.zero_grad(set_to_none=True)


def end_tokens(config: Config, folder: Path, template: TemplateRecord) -> dict[str, int]:
    """Return the ids of the tokens that end an answer and a call in the rows, by their text; empty where no token does."""
    assert config.model is not None  # run() checked
    known = load_tokenizer(folder, trust_remote_code=config.model.trust_remote_code).get_vocab()
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
