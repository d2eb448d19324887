"""Which container the result gets, and what becomes of each stream of the source. Pure."""

from dataclasses import dataclass
from typing import Literal

from darkroom.pipelines.errors import Rejected
from darkroom.pipelines.video.encode import EncoderSettings
from darkroom.pipelines.video.facts import StreamFacts, VideoFacts
from darkroom.pipelines.video.options import VideoOptions
from darkroom.pipelines.video.source import spoken

Format = Literal["mp4", "mov", "mkv"]
Action = Literal["copy", "attach", "to_mov_text", "to_subrip", "drop"]

# What FFmpeg's muxers take and players know; FFmpeg's names of the formats.
_PCM = {f"pcm_{kind}{end}" for kind in ("s16", "s24", "s32", "f32", "f64") for end in ("le", "be")}
_MPEG4_AUDIO = {"aac", "ac3", "eac3", "mp2", "mp3", "alac", "opus", "flac", "dts"}
AUDIO: dict[Format, set[str]] = {
    "mp4": _MPEG4_AUDIO | _PCM | {"vorbis"},
    "mov": _MPEG4_AUDIO - {"opus", "flac"}
    | _PCM
    | {"pcm_alaw", "pcm_mulaw", "pcm_s8", "pcm_u8", "adpcm_ima_qt", "amr_nb", "amr_wb"},
    "mkv": _MPEG4_AUDIO
    | _PCM - {"pcm_f32be", "pcm_f64be"}
    | {"vorbis", "truehd", "mlp", "mp1", "pcm_u8", "tta", "wavpack", "cook", "atrac3", "sipr", "ra_144", "ra_288"},
}
SUBTITLES: dict[Format, set[str]] = {
    "mp4": {"mov_text", "dvd_subtitle"},
    "mov": {"mov_text", "eia_608"},
    "mkv": {"subrip", "ass", "webvtt", "text", "dvd_subtitle", "dvb_subtitle", "hdmv_pgs_subtitle"},
}
VIDEO: dict[Format, set[str]] = {
    "mp4": {"h264", "hevc", "av1", "vp9", "mpeg4", "mpeg2video", "mpeg1video", "mjpeg", "png"},
    "mov": {"h264", "hevc", "mpeg4", "mpeg2video", "mpeg1video", "mjpeg", "png", "prores", "dnxhd"},
    "mkv": {"h264", "hevc", "av1", "vp8", "vp9", "mpeg4", "mpeg2video", "mpeg1video", "mjpeg", "theora", "prores"},
}
COVERS = {"mjpeg", "png", "bmp"}  # what mp4's "covr" can hold; mkv attaches any picture

# The tags that iTunes-style mp4 has boxes for; others need QuickTime keys, which not every player shows.
COMMON_TAGS = frozenset(
    {"title", "artist", "album_artist", "composer", "album", "date", "encoder", "comment", "genre", "copyright"}
    | {"grouping", "lyrics", "description", "synopsis", "show", "episode_id", "network", "keywords", "episode_sort"}
    | {"season_number", "media_type", "hd_video", "gapless_playback", "compilation", "track", "disc", "creation_time"}
)
BRANDING = {
    "major_brand",
    "minor_version",
    "compatible_brands",
    "encoder",
    "software",
}  # say what wrote the source file


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPlan:
    """What becomes of one stream of the source."""

    index: int  # in the source
    action: Action


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerPlan:
    """The container of the result and the fate of every stream beside the video."""

    suffix: str  # ".mp4", ".mov" or ".mkv"
    streams: tuple[StreamPlan, ...]  # in the order of the source, the dropped ones included
    keyed_tags: bool  # the file's tags are written as QuickTime keys, which hold any name
    warnings: tuple[str, ...]

    @property
    def format(self) -> str:
        """FFmpeg's muxer."""
        return {".mp4": "mp4", ".mov": "mov"}.get(self.suffix, "matroska")


def choose_container(options: VideoOptions, facts: VideoFacts, settings: EncoderSettings) -> ContainerPlan:
    """The container that keeps every stream: the source's own kind where it can, else mkv, else mov.

    A wish for mp4 or mkv turns plain text subtitles into that container's kind. Streams without
    picture, sound or text for the viewer (timecode, phone sensors) may be dropped, with a warning.

    Raises Rejected if the wish, or with "auto" any container, would lose a stream.
    """
    problems: list[str] = []
    for container in _candidates(options, facts):
        actions = [_action(stream, container, options.container != "auto") for stream in facts.streams]
        homeless = [stream for stream, action in zip(facts.streams, actions, strict=True) if action is None]
        if not homeless and not (container == "mov" and settings.name in ("libsvtav1", "av1_nvenc")):
            return _plan(facts, container, [action for action in actions if action])
        problems.append(f"{container} cannot hold " + (", ".join(map(_describe, homeless)) or "AV1"))
    remedy = "set container: auto" if options.container != "auto" else "convert or remove that stream first"
    raise Rejected(f"{spoken(facts.source)}: {'; '.join(problems)}; {remedy}")


def _candidates(options: VideoOptions, facts: VideoFacts) -> tuple[Format, ...]:
    if options.container != "auto":
        return (options.container,)
    if "matroska" in facts.container:
        return ("mkv",)
    if facts.brand.strip() == "qt":
        return ("mov", "mp4", "mkv")
    return ("mp4", "mkv", "mov")  # mov last: for the telephone sound of old phones and cameras


def _action(stream: StreamFacts, container: Format, forced: bool) -> Action | None:
    """What to do with the stream in this container, or None if that would lose it."""
    if stream.kind == "data" or (stream.packets == 0 and stream.kind != "attachment"):
        return "drop"
    if stream.kind == "subtitle":
        return _subtitle(stream.codec, container, forced)
    if container == "mkv" and stream.kind in ("picture", "attachment"):
        return "attach" if stream.kind == "picture" else "copy"
    fitting = {"audio": AUDIO[container], "video": VIDEO[container], "picture": COVERS}
    return "copy" if stream.codec in fitting.get(stream.kind, ()) else None


def _subtitle(codec: str | None, container: Format, forced: bool) -> Action | None:
    if codec in SUBTITLES[container]:
        return "copy"
    if container == "mkv" and codec == "mov_text":
        return "to_subrip"
    if container != "mkv" and codec in ("subrip", "text") and forced:
        return "to_mov_text"
    return None


def _plan(facts: VideoFacts, container: Format, actions: list[Action]) -> ContainerPlan:
    tags = {name for name, _ in facts.tags} - BRANDING
    covers = any(stream.kind == "picture" for stream in facts.streams)
    keyed = container != "mkv" and not tags <= COMMON_TAGS and not covers
    # mp4 keeps chapters as a text track, which comes along as data, often without its packets; they are
    # written anew, not lost.
    told = (0, facts.chapters) if facts.chapters else ()
    index_track = [stream for stream in facts.streams if stream.kind == "data" and stream.packets in told]
    warnings = [
        "" if stream in index_track else _loss(stream, container, action)
        for stream, action in zip(facts.streams, actions, strict=True)
    ]
    if container != "mkv" and covers and tags - COMMON_TAGS:
        lost = ", ".join(sorted(tags - COMMON_TAGS))
        warnings.append(f"{container} holds a cover or free tags, not both: not kept are {lost}")
    return ContainerPlan(
        suffix=f".{container}",
        streams=tuple(
            StreamPlan(index=stream.index, action=action) for stream, action in zip(facts.streams, actions, strict=True)
        ),
        keyed_tags=keyed,
        warnings=tuple(warning for warning in warnings if warning),
    )


def _loss(stream: StreamFacts, container: Format, action: Action) -> str:
    """What the user should know of this stream's fate, or ""."""
    if action == "drop":
        why = "is empty" if stream.packets == 0 else f"is not for the viewer and does not fit into {container}"
        return f"{_describe(stream)} {why}: not kept"
    if action in ("to_mov_text", "to_subrip"):
        return f"{_describe(stream)} becomes {action[3:]}: words and times are kept, colours and places are not"
    if stream.kind == "video":
        return f"{_describe(stream)} is kept as it is: only the main video is processed"
    return ""


def _describe(stream: StreamFacts) -> str:
    return f"stream {stream.index} ({stream.kind} {stream.codec or 'of unknown format'})"
