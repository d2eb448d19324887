"""The same networks through ncnn: exact fp32 by Winograd convolutions, on CPUs where that is faster.

Measured at 320x180, CPU-ms per frame on one Zen 4 core, ncnn fp32 / torch fp32 / torch bf16:
photo 232 / 677 / 358; fast 27 / 41 / 22; anime 341 / 662 / 344. So `auto` takes it for photo everywhere, and for
all where the CPU lacks bf16.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import ncnn
import numpy as np
import torch
from torch import Tensor

from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.upscale.models import MODELS
from darkroom.pipelines.upscale.nets import Net, Tensors
from darkroom.pipelines.upscale.weights.embedded import read_weights

Field = float | str


@dataclass(slots=True)
class Graph:
    """A net in ncnn's own terms, growing layer by layer: the text of a .param and the numbers of a .bin."""

    lines: list[str] = field(default_factory=list)
    numbers: list[bytes] = field(default_factory=list)
    blobs: int = 0

    def add(self, kind: str, *inputs: str, outputs: int = 1, **fields: Field) -> str:
        """Append a layer of `kind`; give its output, or all of them with commas between.

        fields: its parameters by number, `_0=64` for ncnn's `0=64`; `_m23310` for its `-23310`.
        """
        names = [f"b{self.blobs + index}" for index in range(outputs)]
        self.blobs += outputs
        pairs = " ".join(f"{key[1:].replace('m', '-')}={value}" for key, value in fields.items())
        layer = f"{kind} l{len(self.lines)} {len(inputs)} {outputs}"
        self.lines.append(" ".join((layer, *inputs, *names, pairs)))
        return ",".join(names)

    def conv(self, weights: Tensors, name: str, x: str, kind: str = "Convolution", **fields: Field) -> str:
        """Append the convolution `name` of `weights`."""
        weight, bias = weights[f"{name}.weight"].float(), weights[f"{name}.bias"].float()
        if kind == "Deconvolution":  # ncnn keeps [out, in]
            weight = weight.transpose(0, 1).contiguous()
        # Four zero bytes say that the weights are fp32; the bias needs no tag.
        self.numbers += [b"\0\0\0\0", weight.numpy().tobytes(), bias.numpy().tobytes()]
        return self.add(kind, x, _0=len(bias), outputs=1, _1=weight.shape[-1], _5=1, _6=weight.numel(), **fields)

    def split(self, x: str, count: int) -> list[str]:
        """Append a split, which ncnn wants wherever a blob is read more than once."""
        return self.add("Split", x, outputs=count).replace(",", " ").split()

    @property
    def param(self) -> str:
        """The .param file."""
        return "\n".join(["7767517", f"{len(self.lines)} {self.blobs}", *self.lines, ""])


def photo(graph: Graph, weights: Tensors, x: str) -> str:
    """Append waifu2x upconv_7, which consumes its halo."""
    for index in range(6):
        x = graph.conv(weights, f"conv.{index}", x, _9=2, _m23310="1,0.1")  # leaky ReLU
    return graph.conv(weights, "deconv", x, "Deconvolution", _3=2, _4=3)


def fast(graph: Graph, weights: Tensors, x: str) -> str:
    """Append Anime4K x2 VL."""
    y, picture = graph.split(x, 2)
    layers = []
    for index in range(7):
        y = graph.add("Padding", y, _0=1, _1=1, _2=1, _3=1, _4=1)  # type 1: repeat the border
        positive, negative = graph.split(graph.conv(weights, f"conv.{index}", y), 2)
        negative = graph.add("ReLU", graph.add("UnaryOp", negative, _0=1))  # op 1: minus
        y = graph.add("Concat", graph.add("ReLU", positive), negative, _0=0)
        y, layer = graph.split(y, 2) if index < 6 else ("", y)
        layers.append(layer)
    detail = graph.add("PixelShuffle", graph.conv(weights, "conv.7", graph.add("Concat", *layers, _0=0)), _0=2)
    base = graph.add("Interp", picture, _0=2, _1=2.0, _2=2.0)  # bilinear
    return graph.add("BinaryOp", detail, base, _0=0)


def anime(graph: Graph, weights: Tensors, x: str, scale: int) -> str:
    """Append realesr-animevideov3 at `scale` 2 or 4."""
    y, picture = graph.split(x, 2)
    for index in range(17):
        slope = weights[f"slope.{index}"].float()
        y = graph.conv(weights, f"conv.{index}", y, _4=1)
        y = graph.add("PReLU", y, _0=len(slope))
        graph.numbers.append(slope.numpy().tobytes())
    y = graph.add("PixelShuffle", graph.conv(weights, "conv.17", y, _4=1), _0=4)
    y = graph.add("BinaryOp", y, graph.add("Interp", picture, _0=1, _1=4.0, _2=4.0), _0=0)  # nearest, add
    return graph.add("Interp", y, _0=3, _1=0.5, _2=0.5) if scale == 2 else y  # bicubic


def build(name: str, scale: int) -> Graph:
    """Give the net of model `name` that enlarges by `scale` as ncnn has it. Raises Unavailable."""
    weights, graph = read_weights(MODELS[name]), Graph()
    x = graph.add("Input")
    if name == "photo":
        photo(graph, weights, x)
    elif name == "fast":
        fast(graph, weights, x)
    else:
        anime(graph, weights, x, scale)
    return graph


def load(name: str, *, scale: int) -> Net:
    """Give the net of model `name` that enlarges by `scale`, with the contract of `nets.load`: fp32 on the CPU.

    It uses as many threads as torch does at the moment of loading. Strips may differ from the
    whole picture by rounding (1e-5): Winograd tiles lie where the strip begins.

    Raises Unavailable if the weights are damaged or ncnn refuses them.
    """
    model = MODELS[name]
    return Net(
        model=model,
        scale=scale,
        device="cpu",
        valid=name == "photo",
        bytes_per_pixel=model.channels * 4,
        forward=forward(build(name, scale)),
    )


def forward(graph: Graph) -> Callable[[Tensor], Tensor]:
    """Give `graph` as a function of one strip, [1, 3, h, w] fp32."""
    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    # By default ncnn keeps numbers between layers in 16 bits: up to 3e-2 off.
    net.opt.use_bf16_storage = net.opt.use_fp16_storage = net.opt.use_fp16_packed = False
    net.opt.use_fp16_arithmetic = False
    net.opt.num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory(prefix="darkroom-ncnn-") as folder:  # the package reads numbers from files only
        param, numbers = Path(folder, "net.param"), Path(folder, "net.bin")
        param.write_text(graph.param)
        numbers.write_bytes(b"".join(graph.numbers))
        if net.load_param(str(param)) or net.load_model(str(numbers)):
            raise Unavailable("ncnn: refuses the embedded network; reinstall ncnn, or set backend: torch")
    result = f"b{graph.blobs - 1}"

    def run(x: Tensor) -> Tensor:
        with net.create_extractor() as extractor:
            picture = np.ascontiguousarray(x[0].numpy())  # named, for ncnn reads this memory but does not hold it
            extractor.input("b0", ncnn.Mat(picture))
            status, strip = extractor.extract(result)
            if status:
                raise Unavailable("ncnn: out of memory for one strip; free memory, or set backend: torch")
            return torch.from_numpy(np.array(strip)).clamp_(0, 1)[None]

    return run
