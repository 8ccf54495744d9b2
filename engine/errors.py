"""Errors that are meant for a person: one sentence saying what, where and what to do."""


class UserError(Exception):
    """Something the user can mend: a file, a key, a missing model. Exit status 2."""


class RunError(Exception):
    """A run that cannot go on for a reason outside the user's input. Exit status 1."""


class CannotGoOn(RunError):
    """A run that has stopped with a checkpoint, since nobody is there to help it. Status 3."""


class NothingLearned(RunError):
    """A run that has taken its last step without one pair to learn from. Status 3."""
