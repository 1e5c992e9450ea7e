"""Timings of our paths beside the ones they replace, in one run, interleaved: medians and ratios,
never a number from another day.

    python -m speed.train_step     one GRUN step: pyvene's path over the cached one, and stock
                                   pyreft's where it is installed
    python -m speed.forget_run     a whole forget05-shaped run, cache build included
    python -m speed.evaluation     our scoring over a batch-1 loop, same numbers
    python -m speed.rmu_step       RMU's step over the two-model loop, same gradients
    python -m speed.scaling        forget-set size, retain-set size, stacked requests, processes
    python -m speed.gpu_8b         an 8B-shaped run, for a GPU

Each writes runs/benchmarks/<name>.json and .md, and ends with one line of JSON. No test asserts a
time."""
