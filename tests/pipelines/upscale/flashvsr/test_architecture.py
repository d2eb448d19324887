"""The tensors an architecture implies: against the counts of the published files, and the reference's own layouts."""

import hashlib
from math import prod

import pytest
from goldens import config, golden, weights

from darkroom.pipelines.upscale.flashvsr.architecture import OFFICIAL, Architecture, Shape, expected_keys, of_shapes


def reference(name: str) -> dict[str, Shape]:
    return {key: tuple(tensor.shape) for key, tensor in weights(name).items()}


def read(text_tokens: int) -> Architecture:
    dit, lq, decoder, vae = map(reference, ("dit", "lq", "tcd", "vae"))
    return of_shapes(dit, lq, decoder, vae, heads=config()["heads"], text_tokens=text_tokens)


# Counted by instantiating the reference modules at the published widths.
@pytest.mark.parametrize(
    ("role", "tensors", "numbers"),
    [
        ("dit", 825, 1_418_996_800),
        ("lq", 8, 287_845_888),
        ("decoder", 66, 45_338_371),
        ("vae", 108, 73_295_603),
        ("prompt", 1, 512 * 4096),
    ],
)
def test_the_published_widths_come_to_the_published_sizes(role: str, tensors: int, numbers: int) -> None:
    found = {str(name): shapes for name, shapes in expected_keys(OFFICIAL).items()}[role]
    assert (len(found), sum(map(prod, found.values()))) == (tensors, numbers)


def test_the_published_transformer_has_the_digest_of_names_by_which_it_is_known() -> None:
    shapes = expected_keys(OFFICIAL)["dit"]
    names = [f"{key}:{'_'.join(map(str, shape))}" for key, shape in shapes.items()]
    text = ",".join(sorted([*names, *shapes]))
    assert hashlib.md5(text.encode()).hexdigest() == "9269f8db9040a9d860eaca435be61814"


def test_an_architecture_is_read_off_its_shapes() -> None:
    found = read(text_tokens=24)
    assert found == Architecture(
        width=config()["dim"],
        heads=config()["heads"],
        layers=config()["layers"],
        ffn=config()["ffn"],
        text_width=config()["text_dim"],
        text_tokens=24,
        freq_width=config()["freq_dim"],
        lq_hidden=tuple(config()["lq_h"]),
        decoder_channels=tuple(config()["tcd_ch"]),
        vae_base=config()["vae_dim"],
    )


def test_names_and_shapes_are_those_of_the_reference() -> None:
    architecture = read(text_tokens=golden("constants")["context"].shape[1])
    expected = {str(role): keys for role, keys in expected_keys(architecture).items()}
    assert expected.pop("prompt") == {"prompt": tuple(golden("constants")["context"].shape)}
    assert expected == {
        role: reference(name) for role, name in (("dit", "dit"), ("lq", "lq"), ("decoder", "tcd"), ("vae", "vae"))
    }


def test_it_is_its_own_inverse_and_heads_follow_from_the_width() -> None:
    shapes = expected_keys(OFFICIAL)
    assert of_shapes(shapes["dit"], shapes["lq"], shapes["decoder"], shapes["vae"]) == OFFICIAL


def test_a_decoder_that_is_not_there_has_the_published_widths() -> None:
    found = of_shapes(reference("dit"), reference("lq"), None, None, heads=1)
    assert (found.decoder_channels, found.vae_base) == (OFFICIAL.decoder_channels, OFFICIAL.vae_base)


def test_weights_of_another_kind_are_refused_with_what_is_missing() -> None:
    with pytest.raises(ValueError, match=r"no tensor patch_embedding\.weight"):
        of_shapes({"conv1.weight": (3, 3)}, reference("lq"), None, None)
    with pytest.raises(ValueError, match=r"text_embedding\.0\.weight has the shape \[64\]"):
        of_shapes(reference("dit") | {"text_embedding.0.weight": (64,)}, reference("lq"), None, None, heads=1)
    with pytest.raises(ValueError, match="width 96 is no multiple of 128"):
        of_shapes(reference("dit") | {"patch_embedding.weight": (96, 16, 1, 2, 2)}, reference("lq"), None, None)
