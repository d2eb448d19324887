import socket

import pytest
from vl_server import VLServer, served

from darkroom.pipelines.errors import Unavailable
from darkroom.pipelines.ocr.vl.server import Server, check_ready, served_model


def refusal(url: str) -> Unavailable | None:
    """Give what `check_ready` raises."""
    try:
        check_ready(url)
    except Unavailable as error:
        return error
    return None


def nobody() -> str:
    """Give an address where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/v1"


@pytest.mark.parametrize("url", ["http://gpu:8118/v1", "http://gpu:8118/v1/", "http://gpu:8118", "http://gpu:8118/"])
def test_the_v1_of_an_address_may_be_left_out(url: str) -> None:
    assert Server(url=url).root == "http://gpu:8118"


def test_a_server_is_ready_once_its_health_is_good() -> None:
    with served(VLServer(not_ready=2)) as server:
        one, two, three = (refusal(server.url) for _ in range(3))
        assert server.asked == ["/health"] * 3
    assert one and two and "/health says 503" in str(one)
    assert one.patient and two.patient
    assert three is None


def test_a_server_that_cannot_be_reached_has_its_reason() -> None:
    for url in (nobody(), "http://", "no address at all"):
        assert "does not answer (" in str(refusal(url))


def test_a_server_that_is_away_is_waited_for_and_no_server_at_all_is_not() -> None:
    away, nowhere = refusal(nobody()), refusal("no address at all")
    assert away and away.patient
    assert nowhere and not nowhere.patient


def test_another_kind_of_server_is_not_waited_for() -> None:
    with served(VLServer()) as server:
        elsewhere = refusal(f"{server.url}/elsewhere")
    assert elsewhere and not elsewhere.patient
    assert "is this the address" in str(elsewhere)


def test_the_model_is_the_one_that_is_served() -> None:
    with served(VLServer(model="mine")) as server:
        assert served_model(Server(url=server.url)) == "mine"
        assert served_model(Server(url=server.url, model="mine")) == "mine"
        assert server.asked == ["/v1/models"] * 2


def test_a_model_that_is_not_served_is_said_with_what_is() -> None:
    with (
        served(VLServer(model="PaddleOCR-VL-0.9B")) as server,
        pytest.raises(Unavailable, match=r"serves PaddleOCR-VL-0\.9B, not PaddleOCR-VL-1\.6-0\.9B; set vl\.model"),
    ):
        served_model(Server(url=server.url, model="PaddleOCR-VL-1.6-0.9B"))


def test_a_server_that_is_away_is_the_machines_fault() -> None:
    with pytest.raises(Unavailable, match="does not say what it serves") as refused:
        served_model(Server(url=nobody()))
    assert refused.value.patient


def test_another_kind_of_server_is_told_as_one() -> None:
    with served(VLServer()) as server, pytest.raises(Unavailable, match=r"serves .*404") as other:
        served_model(Server(url=f"{server.url}/elsewhere"))
    assert not other.value.patient
    assert "is this the address" in str(other.value)


@pytest.mark.parametrize("answer", ["[]", '{"data": [{}]}', "<html>"])
def test_an_answer_that_lists_no_models_is_told(answer: str) -> None:
    with served(VLServer(models=answer)) as server, pytest.raises(Unavailable, match="no list of models"):
        served_model(Server(url=server.url))
