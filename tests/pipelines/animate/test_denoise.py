from collections.abc import Callable

import pytest
import torch
from PIL import Image
from tiny_wan import pipe_of, tiny_components

from darkroom.pipelines.animate.components import Components
from darkroom.pipelines.animate.decode import decode
from darkroom.pipelines.animate.denoise import denoise, guided, listening
from darkroom.pipelines.animate.encode import Conditions, encode_picture, encode_text
from darkroom.pipelines.animate.options import Solver
from darkroom.pipelines.animate.solver import make_solver
from darkroom.pipelines.errors import Stopped, Unavailable

STEPS, FRAMES, SEED = 4, 9, 7
IMAGE = Image.radial_gradient("L").resize((48, 32)).convert("RGB")
PROMPT, NEGATIVE = "a cat runs", "blurred"


@pytest.fixture(scope="module")
def components() -> Components:
    return tiny_components()


def conditions_of(parts: Components, guidance: float = 3.0) -> tuple[torch.Tensor, Conditions]:
    """The noise and the conditions, the image seen as diffusers' own call sees it."""
    pipe = pipe_of(parts)
    prompt, negative = encode_text(pipe, PROMPT, NEGATIVE if guidance > 1 else None)
    noise, picture = encode_picture(pipe, IMAGE, FRAMES, SEED, "cpu")
    with torch.no_grad():
        image = pipe.encode_image(IMAGE, torch.device("cpu"))
    return noise, Conditions(prompt=prompt, negative=negative, image=image, picture=picture)


def own(
    parts: Components, solver: Solver, guidance: float = 3.0, done: Callable[[int], None] = lambda step: None
) -> torch.Tensor:
    noise, conditions = conditions_of(parts, guidance)
    predict = guided(parts.transformer, conditions, guidance)
    return denoise(predict, make_solver(solver, STEPS, 3.0), noise, 0, STEPS, done)


@pytest.mark.parametrize("solver", ["dpm++", "euler", "unipc"])
@pytest.mark.parametrize("guidance", [3.0, 1.0])
def test_the_loop_is_diffusers_own_to_the_bit(
    components: Components, solver: Solver, guidance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    oracle = make_solver(solver, STEPS, 3.0)
    monkeypatch.setattr(type(oracle), "set_timesteps", lambda *_, **__: None)  # keeps the reference's levels
    pipe = pipe_of(components, oracle, components.transformer)
    latents = pipe(
        image=IMAGE,
        prompt=PROMPT,
        negative_prompt=NEGATIVE,
        height=IMAGE.height,
        width=IMAGE.width,
        num_frames=FRAMES,
        num_inference_steps=STEPS,
        guidance_scale=guidance,
        generator=torch.Generator("cpu").manual_seed(SEED),
        output_type="latent",
    ).frames
    monkeypatch.undo()
    assert torch.equal(own(components, solver, guidance), latents)


def test_the_pictures_are_diffusers_own(components: Components) -> None:
    latents = own(components, "euler")
    frames = decode(components.vae, latents, tiled=False, listen=lambda: None)
    vae = components.vae
    mean, std = (
        torch.tensor(values).view(1, -1, 1, 1, 1) for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    with torch.no_grad():
        video = vae.decode(latents / (1.0 / std) + mean, return_dict=False)[0]
    said = pipe_of(components).video_processor.postprocess_video(video, output_type="pt")[0]
    assert frames.shape == (FRAMES, IMAGE.height, IMAGE.width, 3)
    assert (frames.float() / 255 - said.permute(0, 2, 3, 1)).abs().max() <= 0.5 / 255 + 1e-6


def test_each_step_is_told(components: Components) -> None:
    told: list[int] = []
    own(components, "euler", done=told.append)
    assert told == [1, 2, 3, 4]


def test_what_is_raised_within_a_step_ends_it_and_the_next_job_is_as_ever(components: Components) -> None:
    expected, blocks = own(components, "euler"), components.transformer.blocks
    heard = 0

    def cancel() -> None:
        nonlocal heard
        heard += 1
        if heard == 3:
            raise Stopped("cancel")

    with pytest.raises(Stopped), listening(blocks, cancel):
        own(components, "euler")
    assert heard == 3, "two blocks of the first pass and one of the second"
    assert torch.equal(own(components, "euler"), expected)


def test_numbers_that_run_away_are_told() -> None:
    solver = make_solver("euler", STEPS, 3.0)

    def predict(latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        return latents / 0

    with pytest.raises(Unavailable, match="step 1: the latents are no numbers any more"):
        denoise(predict, solver, torch.randn(1, 16, 1, 2, 2), 0, STEPS, lambda step: None)
