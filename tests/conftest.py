"""What all tests share: one thread a process, for tests run side by side and models here are small."""

import os

# Before torch is imported, and for the programs that tests start: threads of several processes that wait for each other
# on the same cores take more than twice the time.
os.environ.setdefault("OMP_NUM_THREADS", "1")
