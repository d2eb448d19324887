"""The segments of a job as one of several processes makes them; rank 0 writes the parts"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from darkroom.pipelines.animate.denoise import Predict
from darkroom.pipelines.animate.device import release
from darkroom.pipelines.animate.embeddings import Embeddings
from darkroom.pipelines.animate.encode import Conditions
from darkroom.pipelines.animate.parallel.cfg import halved
from darkroom.pipelines.animate.parallel.fsdp import sharded
from darkroom.pipelines.animate.parallel.team import Team
from darkroom.pipelines.animate.parallel.ulysses import share_tokens
from darkroom.pipelines.animate.parallel.vae import share_tiles
from darkroom.pipelines.animate.segments import Segments
from darkroom.pipelines.base import Segment, Tick


@dataclass
class Shared(Segments):
    """What one rank does of each segment; what runs out of memory is not tried again, for the others wait in a step.

    All begin from the same part on the disk, hence from the same noise and the same state of the solver.
    """

    team: Team = field(kw_only=True)
    kept: Embeddings | None = None
    shared: dict[str, Any] = field(default_factory=dict)  # the models that are shared out

    def __call__(self, segment: Segment, previous: Path | None, out: Path, tick: Tick) -> None:
        """Write the part of `segment` on rank 0; elsewhere, help with it where that is wanted."""
        if self.team.rank == 0:
            super().__call__(segment, previous, out, tick)
        elif self._helps(segment, previous):
            self.made(segment, previous, tick)

    def _helps(self, segment: Segment, previous: Path | None) -> bool:
        parallel = self.plan.parallel
        if previous is None:
            return parallel.text_fsdp
        return parallel.vae or segment != self.plan.decoding

    def text_encoder(self) -> Any:
        """Give the text encoder, or this rank's share of it."""
        if not self.plan.parallel.text_fsdp:
            return super().text_encoder()
        if "text_encoder" not in self.shared:
            encoder = self.components.text_encoder
            self.shared["text_encoder"] = sharded(encoder, encoder.encoder.block, self.team)
        return self.shared["text_encoder"]

    def embedding(self, words: str, listen: Callable[[], None]) -> Tensor:
        """Give what the text encoder makes of `words`, or has made of them once.

        Not where the encoder is shared out: all would have to find it kept, or none.
        """
        compute = partial(super().embedding, words, listen)
        if self.kept is None or self.plan.parallel.text_fsdp:
            return compute()
        return self.kept.embedding(words, compute)

    def transformer(self) -> Any:
        """Give the transformer, or this rank's share of it, as it works with the others."""
        if "transformer" not in self.shared:
            self._leave("text_encoder", "image_encoder")
            self.shared["transformer"] = self._shared_transformer()
        return self.shared["transformer"]

    def vae(self) -> Any:
        """Give the VAE, as it works with the others."""
        vae = super().vae()
        if self.plan.parallel.vae:
            share_tiles(vae, self.team)
        return vae

    def prediction(self, transformer: Any, conditions: Conditions) -> Predict:
        """Give the guided prediction, by two halves or by all."""
        if self.plan.parallel.cfg == 1:
            return super().prediction(transformer, conditions)
        return halved(transformer, conditions, self.plan.guidance, self.team)

    def frames(self, latents: Tensor, listen: Callable[[], None]) -> Tensor:
        """Give the video; on ranks but 0 a frame that stands for nothing."""
        self._leave("transformer")
        return super().frames(latents, listen)

    def _shared_transformer(self) -> Any:
        parallel = self.plan.parallel
        if parallel.fsdp:
            whole = self.in_form()
            transformer = sharded(whole, whole.blocks, self.team)
        else:
            transformer = super().transformer()
        if parallel.ulysses > 1:
            share_tokens(transformer, self.team)
        return transformer

    def _leave(self, *names: str) -> None:
        """Let go of models whose segments are over; the process makes one job's, in order."""
        for name in names:
            self.components.release(name)
            self.shared.pop(name, None)
        release(self.team.device.type)
