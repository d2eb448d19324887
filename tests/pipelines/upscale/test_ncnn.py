import pytest
import torch

from darkroom.kernels.strips import in_strips
from darkroom.pipelines.upscale import nets
from darkroom.pipelines.upscale.models import MODELS
from darkroom.pipelines.upscale.weights.embedded import read_weights

pytest.importorskip("ncnn", reason="ncnn is not installed: pip install 'darkroomd[ncnn]'")

from darkroom.pipelines.upscale import ncnn as backend

pytestmark = pytest.mark.ncnn

CASES = [(model.name, scale) for model in MODELS.values() for scale in model.scales]


@pytest.mark.parametrize(("name", "scale"), CASES)
@pytest.mark.parametrize("size", [(96, 120), (61, 77)])
def test_ncnn_and_torch_agree_to_rounding(name: str, scale: int, size: tuple[int, int]) -> None:
    """ncnn runs the network's own published form: two readings of one file meet here."""
    frame = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(7))
    ours = nets.load(name, scale=scale, device="cpu", precision="fp32")(frame)
    theirs = backend.load(name, scale=scale)(frame)
    assert (ours - theirs).abs().max() < 1e-5  # Winograd's rounding; measured 2.4e-6 on a real picture


@pytest.mark.parametrize("name", MODELS)
def test_strips_are_the_whole_picture_to_rounding(name: str) -> None:
    net = backend.load(name, scale=2)
    frame = torch.rand(1, 3, 90, 40, generator=torch.Generator().manual_seed(8))
    whole = net(frame)
    with torch.inference_mode():
        strips = in_strips(net.forward, frame, scale=2, halo=net.model.halo, rows=31, valid=net.valid)
    assert (strips - whole).abs().max() < 1e-5


def test_the_same_picture_gives_the_same_bits_again() -> None:
    frame = torch.rand(1, 3, 64, 48, generator=torch.Generator().manual_seed(9))
    first = backend.load("photo", scale=2)(frame)
    assert torch.equal(first, backend.load("photo", scale=2)(frame))


def test_the_graph_reads_every_number_of_the_weights() -> None:
    for name in MODELS:
        graph = backend.build(name, 2)
        tags = graph.numbers.count(b"\0\0\0\0")
        numbers = sum(map(len, graph.numbers)) // 4 - tags
        assert numbers == sum([value.numel() for value in read_weights(MODELS[name]).values()])


def test_the_number_of_threads_does_not_change_a_bit() -> None:
    """A resumed job may find another number of cores."""
    frame = torch.rand(1, 3, 70, 50, generator=torch.Generator().manual_seed(10))
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(backend.load("photo", scale=2)(frame))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])
