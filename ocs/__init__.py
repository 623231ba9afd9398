"""The charging system. From its first import the garbage collector runs rarely: what imports make stays, and to look
for garbage in it took a tenth of each start.
"""

import gc

GC_THRESHOLDS = (50_000, 50, 100)
"""Thresholds of the garbage collector. It runs rarely: requests make hardly any reference cycles, and each run delays
answers.
"""

gc.set_threshold(*GC_THRESHOLDS)
