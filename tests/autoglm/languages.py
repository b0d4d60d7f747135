# SPDX-License-Identifier: Apache-2.0
"""Small language models, made by a seed and saved by the transformers library.

It and torch are imported where they are used: a gigabyte that other tests need not carry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

END = "<|im_end|>"
VOCABULARY = 400
TEXT = (
    "One layer between programs and every device an edge-AI machine has: serial lines, I2C, SPI,"
    " GPIO, PCI registers, shared memory, accelerators, and the same devices on other machines."
    " A driver is three functions, registered under a name. Grüße an Straße, naïve café."
)
CHAT = (
    "{% for message in messages %}{% if loop.first and message.role != 'system' %}"
    "<|im_start|>system\nBe brief.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 176,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.25,  # so large that answers are no repetition
}


def save(kind: str, folder: Path) -> Path:
    """Make a model with its tokenizer: ``qwen2`` (one file, bfloat16) or ``qwen3`` (parts)."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(7)
    if kind == "qwen2":
        config: Any = Qwen2Config(**_SHAPE, tie_word_embeddings=True)
        model: Any = Qwen2ForCausalLM(config)
        model.to(torch.bfloat16)
        for name, weight in model.named_parameters():
            if name.endswith("bias"):  # which begin as zeros, and would prove nothing
                torch.nn.init.normal_(weight, std=0.5)
    else:
        config = Qwen3Config(**_SHAPE, head_dim=32, tie_word_embeddings=False)
        model = Qwen3ForCausalLM(config)
        for name, weight in model.named_parameters():
            if name.endswith("norm.weight"):
                torch.nn.init.normal_(weight, mean=1.0, std=0.2)
    tokenizer = _tokenizer()
    model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(END)
    model.save_pretrained(folder, max_shard_size="200KB" if kind == "qwen3" else "1GB")
    tokenizer.save_pretrained(folder)
    return folder


def save_shape(shape: dict[str, Any], folder: Path) -> Any:
    """Make a Qwen2 of some shape with that tokenizer; it, to be asked."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(7)
    model: Any = Qwen2ForCausalLM(Qwen2Config(**shape))
    model.train(False)
    model.save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    return model


def _tokenizer() -> Any:
    from transformers import PreTrainedTokenizerFast

    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", END]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator([TEXT], trainer)
    made: Any = PreTrainedTokenizerFast
    return made(
        tokenizer_object=trained, eos_token=END, pad_token="<|endoftext|>", chat_template=CHAT
    )


class Peer:
    """The same model in the transformers library, in 32-bit floats."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        self._model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self._model.train(False)
        torch.set_num_threads(1)  # more would spin in one another's way where others work too

    def greedy(self, prompt: Sequence[int], count: int, **options: Any) -> list[int]:
        """The likeliest token each time, past ends."""
        import torch

        ids = torch.tensor([list(prompt)])
        with torch.inference_mode():
            found = self._model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=count,
                do_sample=False,
                eos_token_id=None,
                pad_token_id=0,
                **options,
            )
        return [int(token) for token in found[0, len(prompt) :]]


@dataclass(frozen=True)
class Spoken:
    """A language model: the folder that it came from, and its artifact."""

    folder: Path
    artifact: Path
