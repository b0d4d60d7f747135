# SPDX-License-Identifier: Apache-2.0
"""Between text and tokens: a model's tokenizer, its chat template, and text as it comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import InputError, ModelError, TargetUnavailable

if TYPE_CHECKING:
    from jinja2 import Template
    from tokenizers import Tokenizer

LONGEST_PROMPT = 4 << 20
"""Characters; a longer one is refused before it is looked at."""
STOPS, LONGEST_STOP = 16, 256
"""How many stop strings a request may have, and of how many characters."""


class Text:
    """A model's tokenizer and chat template. Any thread may use it.

    Args:
        tokenizer: The content of a ``tokenizer.json``.
        template: The chat template, in Jinja; empty when the model has none.
        words: What the template calls by name, such as ``eos_token``.

    Raises:
        ModelError: One of them is damaged.
        TargetUnavailable: A library is not installed.
    """

    def __init__(
        self,
        tokenizer: bytes | memoryview,
        template: str = "",
        words: Mapping[str, str] | None = None,
    ) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise TargetUnavailable(
                f"text needs a tokenizer: {error}; pip install 'open-autoglm[decoder]'"
            ) from error
        try:
            self.tokenizer: Tokenizer = Tokenizer.from_buffer(bytes(tokenizer))
        except Exception as error:
            raise ModelError(f"tokenizer.json: {error}") from error
        self._template = _compiled(template) if template else None
        self._words = dict(words or {})

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, with those that the tokenizer puts around it.

        Raises:
            InputError: It is too long.
        """
        if len(text) > LONGEST_PROMPT:
            raise InputError(f"the prompt has more than {LONGEST_PROMPT} characters")
        return list(self.tokenizer.encode(text).ids)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens, without special ones."""
        return self.tokenizer.decode(list(tokens), skip_special_tokens=True)

    def chat(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """The tokens of a conversation, up to where the model's answer begins.

        Args:
            messages: Each with ``role`` and ``content``.

        Raises:
            InputError: The model has no chat template, or it refuses the messages.
        """
        if self._template is None:
            raise InputError(
                "this model has no chat template: it completes prompts only (/v1/completions)"
            )
        try:
            prompt = self._template.render(
                messages=[dict(message) for message in messages],
                add_generation_prompt=True,
                **self._words,
            )
        except Exception as error:
            raise InputError(f"the model's chat template refuses the messages: {error}") from error
        if len(prompt) > LONGEST_PROMPT:
            raise InputError(f"the prompt has more than {LONGEST_PROMPT} characters")
        return list(self.tokenizer.encode(prompt, add_special_tokens=False).ids)


def _compiled(template: str) -> Template:
    """As the transformers library reads chat templates, in a sandbox: it can change nothing."""
    try:
        from jinja2 import TemplateError
        from jinja2.ext import loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as error:
        raise TargetUnavailable(
            f"chat needs jinja2: {error}; pip install 'open-autoglm[decoder]'"
        ) from error

    def refuse(text: str) -> None:
        raise TemplateError(text)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )
    environment.globals["raise_exception"] = refuse
    try:
        return environment.from_string(template)
    except TemplateError as error:
        raise ModelError(f"the chat template: {error}") from error


class Stops:
    """Text as its tokens come, cut before the first stop string.

    Text that may turn out to be the beginning of a stop string, or of a character, is held back
    until that is known.

    Args:
        text: The model's.
        strings: Where to stop.

    Attributes:
        stopped: A stop string has come: nothing more will.

    Raises:
        InputError: They are too many, too long, or one is empty.
    """

    def __init__(self, text: Text, strings: Sequence[str] = ()) -> None:
        from tokenizers.decoders import DecodeStream

        if len(strings) > STOPS or not all(0 < len(each) <= LONGEST_STOP for each in strings):
            raise InputError(
                f"stop: at most {STOPS} strings of 1 to {LONGEST_STOP} characters are taken"
            )
        self.stopped = False
        self._tokenizer = text.tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)
        self._strings = tuple(strings)
        self._held = ""

    def add(self, token: int) -> str:
        """The text that is certain now; empty while there is none."""
        if self.stopped:
            return ""
        self._held += self._stream.step(self._tokenizer, token) or ""
        found = [place for place in map(self._held.find, self._strings) if place >= 0]
        if found:
            self.stopped = True
            certain, self._held = self._held[: min(found)], ""
            return certain
        end = len(self._held) - self._begun()
        certain, self._held = self._held[:end], self._held[end:]
        return certain

    def rest(self) -> str:
        """What was held back, once no more tokens come."""
        rest, self._held = self._held, ""
        return rest

    def _begun(self) -> int:
        """How many characters at the end are the beginning of a stop string."""
        for count in range(min(len(self._held), LONGEST_STOP - 1), 0, -1):
            end = self._held[-count:]
            if any(each.startswith(end) and len(each) > count for each in self._strings):
                return count
        return 0
