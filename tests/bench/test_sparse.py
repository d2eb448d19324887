from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from tables import bench
from torch import Tensor

sparse, agreement = bench("sparse"), bench("agreement")
CPU = torch.device("cpu")
GRID = 2, 3
CASE = sparse.Case(name="some", query_slices=1, key_slices=2, share=0.3)


@pytest.fixture(scope="module")
def inputs() -> Any:
    return sparse.inputs(CASE, GRID, 2, 64, torch.float32, CPU)


def test_a_mask_keeps_the_share_that_was_asked_for_in_rows_of_many_lengths() -> None:
    x = sparse.inputs(sparse.CASES[0], (6, 11), 2, 64, torch.float32, CPU)
    assert x.topk == 7919  # as FlashVSR at 768x1408
    assert x.mask.sum((1, 2)).tolist() == [7919, 7919]
    mixed = x.mask.sum(-1).float().std()
    even = sparse.inputs(sparse.CASES[1], (6, 11), 2, 64, torch.float32, CPU).mask.sum(-1).float().std()
    assert mixed > 2 * even
    assert not x.mask[:, 0, 10::66].any()  # beyond the local range


def test_operations_are_counted_for_the_pairs_that_are_computed(inputs: Any) -> None:
    assert inputs.flop(True) == 4 * (6 * 128) * (12 * 128) * 64
    assert inputs.flop(False) == inputs.flop(True) * float(inputs.mask.double().mean())


@pytest.mark.parametrize("prepare", [sparse.by_definition, sparse.by_flex])
def test_sparse_ways_compute_the_attention_to_what_is_selected(prepare: Callable[[Any], Any], inputs: Any) -> None:
    out = prepare(inputs)(0)
    assert sparse.sampled_error(out, inputs, dense=False) < 1e-5
    assert sparse.sampled_error(out, inputs, dense=True) > 0.1


def test_the_dense_way_computes_the_attention_to_all(inputs: Any) -> None:
    assert sparse.sampled_error(sparse.by_sdpa(inputs)(0), inputs, dense=True) < 1e-5


def test_blocks_for_flex_attention_are_those_of_the_mask(inputs: Any) -> None:
    blocks = sparse.block_mask(inputs)
    assert torch.equal(blocks.to_dense()[0].bool(), inputs.mask) or torch.equal(
        blocks.full_kv_num_blocks[0].long(), inputs.mask.sum(-1)
    )


def test_all_ways_have_a_row_and_those_that_cannot_run_say_why() -> None:
    rows = list(sparse.rows([CASE], GRID, 2, 64, torch.float32, CPU, 1.0, 1))
    ran = {row["way"]: row for row in rows if row["ms"] != "–"}
    assert {"SDPA, all keys", "definition in torch"} <= set(ran)
    missing = ("needs CUDA", "triton is not installed")
    assert all(row["remark"].endswith(missing) for row in rows if row["ms"] == "–")
    assert {"FlexAttention", "sageattention, all keys", "Triton"} <= {row["way"] for row in rows}
    assert ran["definition in torch"]["SDPA / this"] == pytest.approx(
        ran["SDPA, all keys"]["ms"] / ran["definition in torch"]["ms"]
    )
    assert len({tuple(row) for row in rows}) == 1


def wrong(x: Any) -> Callable[[int], Tensor]:
    return lambda turn: 1.01 * sparse.by_definition(x)(turn)


def broken(x: Any) -> Callable[[int], Tensor]:
    raise RuntimeError("no such instruction")


def test_a_kernel_of_ours_that_is_wrong_ends_the_program(inputs: Any) -> None:
    way = sparse.Way(name="mine", prepare=wrong, dense=False, ours=True)
    with pytest.raises(agreement.Disagreement, match=r"mine: off by 0\.01"):
        sparse.measured(way, inputs, 1.0, 1)
    with pytest.raises(RuntimeError, match="no such instruction"):
        sparse.measured(replace(way, prepare=broken), inputs, 1.0, 1)


def test_a_library_that_is_wrong_or_fails_is_not_timed_and_the_rest_goes_on(inputs: Any) -> None:
    way = sparse.Way(name="theirs", prepare=wrong, dense=False)
    row, took = sparse.measured(way, inputs, 1.0, 1)
    assert (row["remark"], took) == ("wrong: not timed", None)
    row, took = sparse.measured(replace(way, prepare=broken), inputs, 1.0, 1)
    assert (row["remark"], took) == ("failed: RuntimeError: no such instruction", None)
