import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from darkroom.kernels.strips import in_strips
from darkroom.pipelines.upscale import nets
from darkroom.pipelines.upscale.models import MODELS

CASES = [(model.name, scale) for model in MODELS.values() for scale in model.scales]


def picture(height: int, width: int) -> Tensor:
    """Soft shapes with a few hard edges: what a net meets, without a file."""
    generator = torch.Generator().manual_seed(height)
    coarse = torch.rand(1, 3, height // 8 + 2, width // 8 + 2, generator=generator)
    soft = F.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 1)
    soft[:, :, height // 3 : height // 2, width // 4 : width // 2] = torch.tensor([0.9, 0.2, 0.1])[:, None, None]
    return soft


def psnr(a: Tensor, b: Tensor) -> float:
    return float(-10 * torch.log10((a - b).square().mean()))


@pytest.mark.parametrize(("name", "scale"), CASES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_strips_give_the_whole_picture_and_the_halo_is_exact(name: str, scale: int, precision: str) -> None:
    net = nets.load(name, scale=scale, device="cpu", precision=precision)  # type: ignore[arg-type]
    frame, halo = picture(52, 40), net.model.halo

    def strips(rows: int, halo: int = halo) -> Tensor:
        with torch.inference_mode():
            return in_strips(net.forward, frame, scale=scale, halo=halo, rows=rows, valid=net.valid)

    whole = strips(1000)
    # fp32 fast: its last layer is 1x1, which torch computes as one matrix product, blocked by the number of pixels
    assert (strips(20) - whole).abs().max() <= (5e-7 if (name, precision) == ("fast", "fp32") else 0)
    # The nearest row a halo can reach counts little, so only fp32 shows that it is missed; x4 needs one row less.
    if precision == "fp32" and not net.valid:
        assert (strips(20, halo - (2 if scale == 4 else 1)) - whole).abs().max() > 1e-6


@pytest.mark.parametrize(("name", "scale"), CASES)
def test_bf16_stays_close_to_fp32(name: str, scale: int) -> None:
    frame = picture(48, 64)
    exact = nets.load(name, scale=scale, device="cpu", precision="fp32")(frame)
    rough = nets.load(name, scale=scale, device="cpu", precision="bf16")(frame)
    # Random colours are harder than film: a real frame gave photo 58.7, fast 68.8, anime 64.3 dB.
    assert psnr(rough, exact) > 44


@pytest.mark.parametrize(("name", "scale"), CASES)
@pytest.mark.parametrize("sigma", [0.1, 0.2, 0.4])
def test_no_net_diverges_on_noise(name: str, scale: int, sigma: float) -> None:
    """A net that answers grain with garbage would flash; the clip at the end must not be what hides it."""
    clean = picture(40, 40)
    noisy = clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    net = nets.load(name, scale=scale, device="cpu", precision="fp32")
    out = net(noisy.clamp(0, 1))
    plain = F.interpolate(noisy.clamp(0, 1), scale_factor=scale, mode="bilinear")
    assert ((out == 0) | (out == 1)).float().mean() < 0.5
    assert psnr(out, plain) > 10


@pytest.mark.parametrize(("name", "scale"), CASES)
@pytest.mark.parametrize("level", [0.0, 0.25, 0.6, 1.0])
def test_a_flat_picture_stays_flat_and_keeps_its_level(name: str, scale: int, level: float) -> None:
    out = nets.load(name, scale=scale, device="cpu", precision="fp32")(torch.full((1, 3, 40, 40), level))
    assert (out - level).abs().max() < 0.04
    # anime pads with zeros, which its outermost pixels feel
    inner = out[..., 10 * scale : -10 * scale, 10 * scale : -10 * scale]
    assert inner.std() < 0.005


def test_frames_of_a_batch_do_not_know_each_other() -> None:
    net = nets.load("fast", scale=2, device="cpu", precision="bf16")
    frames = torch.cat((picture(32, 32), 1 - picture(32, 32)))
    assert torch.equal(net(frames), torch.cat((net(frames[:1]), net(frames[1:]))))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", MODELS)
def test_the_number_of_threads_does_not_change_a_bit(name: str, precision: str) -> None:
    """A resumed job may find another number of cores."""
    net, frame = nets.load(name, scale=2, device="cpu", precision=precision), picture(70, 50)  # type: ignore[arg-type]
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(net(frame))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (17, 31)])
def test_the_smallest_and_oddest_pictures_work(size: tuple[int, int]) -> None:
    for name, scale in CASES:
        out = nets.load(name, scale=scale, device="cpu", precision="bf16")(torch.rand(1, 3, *size))
        assert out.shape == (1, 3, scale * size[0], scale * size[1])
        assert out.isfinite().all()


def test_the_published_deconvolution_and_its_folded_form_give_the_same_sums() -> None:
    generator = torch.Generator().manual_seed(5)
    weights = {
        "deconv.weight": torch.randn(6, 3, 4, 4, generator=generator),
        "deconv.bias": torch.randn(3, generator=generator),
    }
    x = torch.randn(1, 6, 9, 11, generator=generator)
    folded = nets.with_up(weights)
    ours = F.pixel_shuffle(F.conv2d(x, folded["up.weight"], folded["up.bias"]), 2)
    published = F.conv_transpose2d(x, weights["deconv.weight"], weights["deconv.bias"], stride=2, padding=3)
    assert (ours - published).abs().max() < 1e-5


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("name", "scale"), CASES)
def test_cuda_agrees_with_the_cpu(name: str, scale: int) -> None:
    frame = picture(60, 80)
    exact = nets.load(name, scale=scale, device="cpu", precision="fp32")(frame)
    ours = nets.load(name, scale=scale, device="cuda", precision="fp16")(frame.cuda()).cpu()
    assert psnr(ours, exact) > 50  # fp16 has three bits of mantissa more than bf16
