"""The engine: trains with Online DPO and knows nothing of any screen."""

import os

# For how long idle threads of OpenBLAS (numpy has one too) spin before they give up their core:
# 2^18 cycles, a tenth of a millisecond, instead of 2^26. That bridges the gap to the next product
# of a decoding step. Threads that spin longer keep each other from work once another program takes
# up a core. Set here because OpenBLAS reads it as numpy is imported.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "18")
