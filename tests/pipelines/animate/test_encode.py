import pytest
import torch
from PIL import Image
from tiny_wan import pipe_of, tiny_components

from darkroom.pipelines.animate.components import Components
from darkroom.pipelines.animate.encode import WORDS, Conditions, encode_image, encode_picture, encode_text

IMAGE = Image.radial_gradient("L").resize((48, 32)).convert("RGB")


@pytest.fixture(scope="module")
def components() -> Components:
    return tiny_components()


def test_words_have_512_places_and_an_end(components: Components) -> None:
    prompt, negative = encode_text(pipe_of(components), "a cat", "a dog")
    assert negative is not None
    assert prompt.shape == negative.shape == (1, WORDS, components.text_encoder.config.d_model)
    assert prompt[0, 0].abs().sum() > 0
    assert prompt[0, -1].abs().sum() == 0
    assert not torch.equal(prompt, negative)


def test_what_is_not_guided_away_from_is_not_read(components: Components) -> None:
    assert encode_text(pipe_of(components), "a cat", None)[1] is None


def test_all_of_a_wide_image_is_seen(components: Components) -> None:
    pipe = pipe_of(components)
    wide = Image.new("RGB", (200, 50), "black")
    marked = wide.copy()
    marked.paste("white", (0, 0, 20, 50))  # where a crop to a square would not look
    assert not torch.equal(encode_image(pipe, wide), encode_image(pipe, marked))


def test_the_first_frame_is_given_and_the_others_are_not(components: Components) -> None:
    noise, picture = encode_picture(pipe_of(components), IMAGE, 9, 7, "cpu")
    assert noise.shape == (1, 16, 3, 4, 6)
    assert picture.shape == (1, 20, 3, 4, 6)
    mask = picture[0, :4]
    assert (mask[:, 0] == 1).all() and (mask[:, 1:] == 0).all()


def test_the_noise_is_the_seeds_and_the_references(components: Components) -> None:
    noise, _ = encode_picture(pipe_of(components), IMAGE, 9, 7, "cpu")
    other, _ = encode_picture(pipe_of(components), IMAGE, 9, 8, "cpu")
    drawn = torch.randn(16, 3, 4, 6, generator=torch.Generator("cpu").manual_seed(7))
    assert torch.equal(noise[0], drawn)
    assert not torch.equal(noise, other)


def test_conditions_are_read_back_from_a_part(components: Components) -> None:
    pipe = pipe_of(components)
    prompt, _ = encode_text(pipe, "a cat", None)
    made = Conditions(prompt=prompt, negative=None, image=encode_image(pipe, IMAGE), picture=prompt[:, :4])
    assert set(made.tensors) == {"prompt", "image", "picture"}
    assert Conditions.of(made.tensors).negative is None
    moved = made.to("cpu", torch.bfloat16)
    assert (moved.prompt.dtype, moved.picture.dtype) == (torch.bfloat16, torch.float32)
