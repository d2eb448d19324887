import pytest

from darkroom.daemon.plain_yaml import read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0022", "0022"),  # YAML 1.1 reads 18
        ("13:30", "13:30"),  # and 810
        ("1_000", "1_000"),
        ("0", 0),
        ("-12", -12),
        ("+7", 7),
        ("0.25", 0.25),
        ("true", True),
        ("null", None),
        ("{a: [1, x]}", {"a": [1, "x"]}),
        (b"\xef\xbb\xbfa: 1", {"a": 1}),  # a byte order mark, as some editors on Windows write it
    ],
)
def test_values_are_what_they_look_like(text: str | bytes, value: object) -> None:
    assert read_yaml(text) == value


@pytest.mark.parametrize("text", ["a: 1\na: 2", "x: {b: 1, c: 2, b: 3}"])
def test_a_key_that_is_there_twice_is_a_fault_with_its_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"not usable YAML: the key '[ab]' is there twice.*line 1"):
        read_yaml(text)


def test_anchors_may_be_merged_and_overridden() -> None:
    text = "base: &base {a: 1, b: 2}\nmine: {<<: *base, b: 3}"
    assert read_yaml(text)["mine"] == {"a": 1, "b": 3}


@pytest.mark.parametrize("text", [b"\xff\xfe\x00", "a: [", "!!python/object:os.system x", "[" * 5000, "2024-99-99"])
def test_rubbish_is_one_fault_in_one_line(text: str | bytes) -> None:
    with pytest.raises(ValueError, match="not usable YAML") as caught:
        read_yaml(text)
    assert "\n" not in str(caught.value)


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 30)
)


@pytest.mark.parametrize("text", [LAUGHS, "a: &a [1, *a]", "a: &a {b: *a}", "[" + "1, " * 100_001 + "]"])
def test_what_unfolds_to_too_much_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="over 100000 values"):
        read_yaml(text)


@pytest.mark.parametrize("text", ["a: &a [x]\nb: *a", LAUGHS])
def test_aliases_can_be_left_out_altogether(text: str) -> None:
    with pytest.raises(ValueError, match=r"an alias \(\*name\); write the value itself"):
        read_yaml(text, aliases=False)
    assert read_yaml("n: 0022\nm: 22", aliases=False) == {"n": "0022", "m": 22}


def test_no_object_is_made_and_no_other_loader_is_changed() -> None:
    import yaml

    assert yaml.safe_load("13:30") == 810
    with pytest.raises(ValueError, match="could not determine a constructor"):
        read_yaml("!!python/name:os.system")
