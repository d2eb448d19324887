import pytest

from darkroom.pipelines.upscale.models import MODELS, Model
from darkroom.pipelines.upscale.options import Options
from darkroom.pipelines.upscale.weights.embedded import FOLDER, read_weights


def test_every_model_of_the_options_is_here_but_for_flashvsr() -> None:
    names = Options.model_json_schema()["properties"]["model"]["enum"]
    assert sorted([*MODELS, "auto", "flashvsr"]) == sorted(names)


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.name)
def test_the_counted_work_is_what_the_weights_do(model: Model) -> None:
    """At input size each weight of a convolution is used once per pixel; photo's x2 layer as 3x3 instead of 4x4."""
    weights = read_weights(model)
    macs = sum(value.numel() for name, value in weights.items() if name.startswith("conv") and value.dim() == 4)
    if model.name == "photo":
        macs += 12 * 9 * weights["deconv.weight"].shape[0]
    assert model.macs == pytest.approx(macs, rel=0.03)


def test_the_readme_names_every_digest() -> None:
    readme = (FOLDER / "README.md").read_text()
    assert all(model.sha256 in readme for model in MODELS.values())
