import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from diffusers.models.attention_dispatch import _AttentionBackendRegistry as Registry

from darkroom.pipelines.animate.attention import BACKENDS, SDPA, Backend, attending, by_name, choose, obstacle
from darkroom.pipelines.animate.device import FAMILIES, Accelerator
from darkroom.pipelines.errors import Unavailable

ROOT = Path(__file__).parents[3]

# The package as far as it matters here: its attention is torch's own, and counts.
STUB = """
import torch
calls = []
def npu_fusion_attention(query, key, value, heads, *, input_layout, scale, **rest):
    assert input_layout == "BSND" and heads == query.shape[2]
    calls.append(query.shape)
    q, k, v = (one.transpose(1, 2) for one in (query, key, value))
    return (torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=scale).transpose(1, 2),)
"""
RUN = """
import torch, torch_npu
from darkroom.pipelines.animate import tiny
from darkroom.pipelines.animate.attention import attending
torch.set_num_threads(1)
torch.manual_seed(0)
transformer = tiny.components().transformer
given = dict(
    hidden_states=torch.randn(1, 36, 2, 8, 8), timestep=torch.tensor([500]),
    encoder_hidden_states=torch.randn(1, 512, 32),
    encoder_hidden_states_image=torch.randn(1, 17, 160), return_dict=False,
)
with torch.no_grad():
    plain = transformer(**given)[0]
    assert not torch_npu.calls
    with attending("npu"):
        npu = transformer(**given)[0]
    assert len(torch_npu.calls) == 2 * 3, torch_npu.calls  # blocks; self, words, image
    assert torch.equal(plain, npu)
    transformer(**given)
    assert len(torch_npu.calls) == 6
"""


def card(capability: tuple[int, int] = (9, 0), kind: str = "cuda") -> Accelerator:
    return Accelerator(family=FAMILIES[kind], name="A card", capability=capability, total_bytes=1, free_bytes=1)


def test_the_limits_of_sharing_are_those_of_the_library() -> None:
    shared = {backend.library for backend in BACKENDS if backend.shared}
    assert shared == {backend.library for backend in BACKENDS} & Registry._supports_context_parallel


def test_auto_takes_what_is_here_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    cpu = card((0, 0), "cpu")
    assert choose("auto", cpu, precision="fp32", shared=False) == SDPA
    assert "attention by sdpa on A card" in caplog.text


def test_auto_takes_the_fastest_exact_one() -> None:
    assert choose("auto", card((9, 0)), precision="bf16", shared=False).name == "cudnn"
    assert choose("auto", card((8, 6)), precision="bf16", shared=True).name == "sdpa"
    assert choose("auto", card((7, 5)), precision="bf16", shared=False).name == "sdpa"
    assert choose("cudnn", card((8, 6)), precision="bf16", shared=False).name == "cudnn"


@pytest.mark.parametrize(
    ("name", "accelerator", "precision", "told"),
    [
        ("flash", card(), "bf16", "is not installed; pip install flash-attn"),
        ("sage", card(), "bf16", "is not installed; pip install sageattention>=2.1.1"),
        ("flash3", card(), "bf16", "is not installed"),
        ("flash3", card((8, 0)), "bf16", "needs compute capability 9.0 and below 10.0, A card has 8.0"),
        ("flash3", card((10, 0)), "bf16", "A card has 10.0"),
        ("flash", card((7, 5)), "bf16", "needs compute capability 8.0, A card has 7.5"),
        ("npu", card(), "bf16", "needs a device of the kind npu, not cuda"),
        ("flash", card((0, 0), "cpu"), "fp32", "needs a device of the kind cuda, not cpu"),
        ("cudnn", card(), "fp32", "computes in 16 bits only"),
    ],
)
def test_one_that_is_named_and_cannot_run_is_refused_with_the_reason(
    name: str, accelerator: Accelerator, precision: str, told: str
) -> None:
    with pytest.raises(Unavailable) as error:
        choose(name, accelerator, precision=precision, shared=False)
    assert told in str(error.value)
    assert str(error.value).startswith(f"attention: {name}")
    assert str(error.value).endswith("or set attention: auto")


def test_what_cannot_be_shared_is_not_taken_by_several_devices() -> None:
    alone = Backend(name="alone", library="native", shared=False)
    assert "cannot share a pass" in obstacle(alone, card(), precision="bf16", shared=True)
    assert not obstacle(alone, card(), precision="bf16", shared=False)


def test_the_process_has_its_own_backend_again_whatever_happens() -> None:
    before = Registry.get_active_backend()
    with pytest.raises(KeyError), attending("cudnn"):
        assert Registry.get_active_backend()[0] == by_name("cudnn").library
        raise KeyError
    assert Registry.get_active_backend() == before


def test_one_that_is_gone_since_the_plan_was_made_is_told() -> None:
    with pytest.raises(Unavailable, match="flash is not installed any more"), attending("flash"):
        pass


def test_an_npu_attends_by_its_own_operation(tmp_path: Path) -> None:
    (tmp_path / "torch_npu.py").write_text(STUB)
    info = tmp_path / "torch_npu-2.9.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torch_npu\nVersion: 2.9.0\n")
    paths = os.pathsep.join((str(tmp_path), str(ROOT)))
    ran = subprocess.run(
        [sys.executable, "-P", "-c", RUN],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
