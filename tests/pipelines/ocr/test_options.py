import pytest
from pydantic import ValidationError

from darkroom.pipelines.ocr.options import Options


def faults(**given: object) -> str:
    with pytest.raises(ValidationError) as error:
        Options.model_validate(given)
    return str(error.value)


def test_the_defaults_make_a_searchable_pdf_its_text_and_its_json() -> None:
    assert Options().outputs == ("pdf", "txt", "json")
    assert (Options().engine, Options().mode, Options().structure) == ("rapidocr", "skip", "off")


def test_what_yaml_makes_of_words_and_numbers_is_understood() -> None:
    options = Options.model_validate({"pages": 3, "orientation": False, "structure": False})
    assert (options.pages, options.orientation, options.structure) == ("3", "off", "off")


def test_two_pdfs_of_one_name_are_refused() -> None:
    assert "pdf and pdfa would get one name" in faults(outputs=["pdf", "pdfa"])


def test_an_output_is_named_once() -> None:
    assert "outputs names one twice: txt, txt" in faults(outputs=["txt", "txt"])


def test_sheets_need_tables() -> None:
    assert "set structure: tables" in faults(outputs=["xlsx"])
    assert Options.model_validate({"outputs": ["xlsx"], "structure": "tables"}).outputs == ("xlsx",)


def test_own_models_need_their_folder() -> None:
    assert "model: custom needs model_dir" in faults(model="custom")


def test_a_range_of_pages_that_means_nothing_is_refused_at_once() -> None:
    assert 'got "a"' in faults(pages="1-3,a")


@pytest.mark.parametrize("url", ["host:8118", "file:///etc/passwd", "http://a b"])
def test_a_server_is_an_http_address(url: str) -> None:
    assert "vl.url" in faults(vl={"url": url})
