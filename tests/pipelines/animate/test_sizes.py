import pytest

from darkroom.pipelines.animate.sizes import Size, choose_size, default_shift, parse_size, round_frames, tokens


@pytest.mark.parametrize(
    ("asked", "made"),
    [(5, 5), (6, 5), (10, 9), (11, 13), (24, 25), (41, 41), (80, 81), (81, 81), (120, 121), (241, 241)],
)
def test_the_nearest_length_of_4n_and_1_is_made(asked: int, made: int) -> None:
    assert round_frames(asked) == made


@pytest.mark.parametrize(
    ("image", "wish", "size"),
    [
        ((1920, 1080), "480p", Size(832, 464)),
        ((1080, 1920), "480p", Size(464, 832)),
        ((1280, 720), "720p", Size(1280, 720)),
        ((1000, 1000), "480p", Size(624, 624)),
        ((4000, 100), "480p", Size(1248, 304)),
        ((512, 512), "512x512", Size(512, 512)),
    ],
)
def test_an_image_keeps_its_shape_in_the_pixels_asked_for(image: tuple[int, int], wish: str, size: Size) -> None:
    assert choose_size(*image, wish, "keep") == size


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_otherwise_the_size_is_as_asked_and_a_named_one_stands_upright_with_the_image(fit: str) -> None:
    assert choose_size(500, 900, "720p", fit) == Size(720, 1280)  # type: ignore[arg-type]
    assert choose_size(500, 900, "650x400", fit) == Size(640, 400)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("big", 'expected "480p", "720p" or a size such as "832x480", got "big"'),
        ("64x480", "sides are 128 to 1920 pixels, got 64x480"),
        ("1920x1080", "1920x1080 has 2,073,600 pixels; the model makes 1,152,000 at most"),
    ],
)
def test_what_cannot_be_made_is_told_with_what_can(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match="^" + fault.replace("?", r"\?") + "$"):
        parse_size(text)


def test_sizes_are_written_with_a_cross_or_a_star() -> None:
    assert parse_size("832x480") == parse_size("832*480") == parse_size("832 X 480") == Size(832, 480)


def test_the_sequences_are_as_long_as_published() -> None:
    assert tokens(Size(832, 480), 81) == 32_760
    assert tokens(Size(1280, 720), 81) == 75_600


def test_the_shift_goes_with_the_size() -> None:
    assert (default_shift(Size(832, 464)), default_shift(Size(1280, 720))) == (3.0, 5.0)
