from goldens import distance, golden

from darkroom.kernels.dense_attention import dense_attention


def test_dense_attention_is_the_reference() -> None:
    found = golden("attention")
    assert distance(dense_attention(found["q"], found["k"], found["v"]), found["out_dense"]) < 1e-5
