"""The texts of an RMU run: token ids by topic, and the padded tensors of one batch."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unlearn.language_model.hidden_states import right_pad

TokenIds = tuple[int, ...]


@dataclass(frozen=True)
class TextPair:
    """The token ids of a text to forget and of one to retain; topic: its number."""

    topic: int
    forget: TokenIds
    retain: TokenIds


@dataclass(frozen=True)
class TopicBatches:
    """The texts of K topics in order; topics take turns.

    Step i takes topic k = i mod K, and batch i // K of its forget and its retain texts.
    """

    forget: list[list[TokenIds]]
    retain: list[list[TokenIds]]
    batch_size: int

    @property
    def steps(self) -> int:
        """The number of steps until the shortest corpus has no whole batch left."""
        shortest = min(len(texts) // self.batch_size for texts in (*self.forget, *self.retain))
        return len(self.forget) * shortest

    def items(self, step: int) -> list[TextPair]:
        """The text pairs of one step."""
        number, topic = divmod(step, len(self.forget))
        rows = slice(number * self.batch_size, (number + 1) * self.batch_size)
        texts = zip(self.forget[topic][rows], self.retain[topic][rows], strict=True)
        return [TextPair(topic, forget, retain) for forget, retain in texts]


@dataclass(frozen=True)
class PaddedTexts:
    """Token ids [B, T], padded on the right, or on the left as upstream.

    mask [B, T] bool: real tokens. norm_mask [B, T] bool: tokens whose state norms count. BOS may be
    left out of it, because its state is huge in many models and the same in every text. On the left
    padding counts too, as in upstream's mean over all positions.
    """

    ids: Tensor
    mask: Tensor
    norm_mask: Tensor

    @classmethod
    def build(
        cls,
        texts: list[TokenIds],
        pad_id: int,
        device,
        width: int = 0,
        skip_bos: int | None = None,
        left: bool = False,
    ) -> "PaddedTexts":
        """Pad to `width` tokens, or to the longest text where that is longer.

        skip_bos: the id of a first token to leave out of the norms, unless it is the only token.
        """
        if left:
            ids, mask = right_pad([list(text)[::-1] for text in texts], pad_id, device, width)
            return cls(ids.flip(1), mask.flip(1), torch.ones_like(mask))
        ids, mask = right_pad([list(text) for text in texts], pad_id, device, width)
        norm_mask = mask.clone()
        if skip_bos is not None:
            norm_mask[:, 0] &= (ids[:, 0] != skip_bos) | (mask.sum(1) == 1)
        return cls(ids, mask, norm_mask)
