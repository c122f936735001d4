"""The errors that stemblend raises for input it cannot use.

Every message is one sentence that names the file or value and the remedy, so that the command
line can print it as it is.
"""


class StemblendError(Exception):
    """Base of all errors that a user can mend; the command line prints it and exits with 2."""


class AudioError(StemblendError):
    """An audio file or array cannot be read, written or separated."""


class ModelError(StemblendError):
    """A model is unknown, or its weight file is missing, corrupt or of another kind."""


class DataError(StemblendError):
    """A dataset, folder of songs or training configuration cannot be used."""
