"""The exit statuses of the program."""

DONE, FAILED, BAD_INPUT, NOTHING_LEARNED = 0, 1, 2, 3
STOPPED_BY = 128  # plus the number of the signal
