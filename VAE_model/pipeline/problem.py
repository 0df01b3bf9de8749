"""The error that a user reads."""


class Problem(Exception):
    """Bad input, in one clear line: which file, what is wrong with it, what to do.

    A script that meets one prints the line and ends with exit code 1, without a traceback.
    """
