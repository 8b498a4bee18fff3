"""Faults of steps.cu and of its launch code."""

TESTS = ("ops/test_cuda_steps.py", "execution/test_cuda_graph.py")

CU, PY = "cuda/steps.cu", "cuda/steps.py"
FAULTS = [
    (CU, "if (i < batch) {", "if (i <= batch) {", "a bound"),
    (CU, "const int index = order[place * batch + i];", "const int index = order[i];", "an index"),
    (CU, "rows[i] = all_rows[place * batch + i];", "rows[i] = index;", "an index"),
    (
        CU,
        "labels[i] = all_labels[index];",
        "labels[i] = all_labels[place * batch + i];",
        "an index",
    ),
    (CU, "        indices[i] = index;\n", "", "an unwritten output"),
    (CU, "step[0] = steps[place];", "step[0] = steps[0];", "an index"),
    (CU, "rate[0] = rates[place];", "rate[0] = rates[0];", "an index"),
    (CU, "if (i == 0) {", "if (threadIdx.x == 0) {", "a race between blocks"),
    (CU, "if (threadIdx.x != 0) return;", "if (threadIdx.x > 1) return;", "a race"),
    (
        CU,
        "losses[place] = loss_sum[0] / (T)batch;",
        "losses[place] = loss_sum[0];",
        "a lost division",
    ),
    (CU, "correct_counts[place] = correct[0];", "correct_counts[0] = correct[0];", "an index"),
    (CU, "cursor[0] = place + 1;", "cursor[0] = 1;", "a cursor that stays"),
    (
        PY,
        "(blocks(tables.batch, _THREADS),),",
        "(max(1, tables.batch // _THREADS),),",
        "a grid rounding",
    ),
]
