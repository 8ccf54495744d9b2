"""The engine: trains with Online DPO and knows nothing of any screen."""

import os

# How long idle threads of OpenBLAS, numpy's too, wait busily: 2^18 cycles, which is a tenth of a
# millisecond, not 2^26. That is until the next product of a decoding step; for longer, where
# another program takes up a core, they keep each other from work. Read as numpy is imported.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "18")
