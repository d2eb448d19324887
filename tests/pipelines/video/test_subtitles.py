from darkroom.pipelines.video.subtitles import to_mov_text, to_subrip


def test_markup_is_left_behind_and_the_words_are_kept() -> None:
    assert to_mov_text("<i>Häschen</i>\r\n{\\an8}3 < 4".encode()) == b"\x00\x0e" + "Häschen\n3 < 4".encode()


def test_text_survives_the_way_there_and_back() -> None:
    assert to_subrip(to_mov_text("Zwei\nZeilen, größer".encode())) == "Zwei\nZeilen, größer".encode()


def test_styles_after_the_text_are_ignored_and_utf16_is_read() -> None:
    assert to_subrip(b"\x00\x02Hi\x00\x00\x00\x10styl") == b"Hi"
    assert to_subrip(b"\x00\x06" + "\ufeffHi".encode("utf-16-be")) == b"Hi"


def test_an_empty_sample_is_no_subtitle() -> None:
    assert to_subrip(b"\x00\x00") == b""
