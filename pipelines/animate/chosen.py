"""What this machine and these weights decide about a job: the way through memory, the encoder"""

from pathlib import Path

import torch

from darkroom.pipelines.animate.memory import Profile
from darkroom.pipelines.animate.options import Options
from darkroom.pipelines.animate.plan import Chosen
from darkroom.pipelines.animate.sizes import Size
from darkroom.pipelines.animate.weights import find
from darkroom.pipelines.base import Site
from darkroom.pipelines.video.create import made_facts
from darkroom.pipelines.video.encode import available_encoders, choose_encoder
from darkroom.pipelines.video.options import VideoOptions


def choose(options: Options, site: Site, source: Path, size: Size, frames: int) -> Chosen:
    """Give what is decided for a video of `size`. Raises Unavailable, Rejected."""
    weights = find(site.models, options.model)
    kind = torch.device(site.device).type
    facts = made_facts(source, size.width, size.height, frames, options.fps)
    wish = VideoOptions(encoder=options.encoder, crf=options.crf, preset=options.preset)
    encoder, warnings = choose_encoder(wish, facts, available_encoders(), size.width, size.height)
    profile = Profile(precision="fp32" if kind == "cpu" else "bf16", text_on_device=kind == "cpu")
    return Chosen(weights=weights.digests, profile=profile, device_kind=kind, encoder=encoder, warnings=warnings)
