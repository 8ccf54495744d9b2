"""The engine: trains with Online DPO and knows nothing of any screen."""

import os

# How long idle threads of OpenBLAS, numpy's too, keep their cores: 2^18 cycles, a tenth of a
# millisecond, in place of 2^26. By then a product of decoding has had its turn, and where another
# program takes up a core, they do not hold up each other for ever. It is read as numpy is imported.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "18")
