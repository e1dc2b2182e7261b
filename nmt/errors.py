"""Every error that is meant for the user, with its exit code; it knows nothing of what raises them.

    NmtError                 1  (never raised itself)
    ├── OptionError          2  a wrong option or config
    ├── DataError            3  bad data: missing files, broken encodings, unequal sides
    ├── ModelError           4  a bad model or checkpoint
    ├── ResourceError        5  disk, memory, permission
    └── DivergedError        6  training became numerically useless

A message is one line, `<where>: <what>; <what to do>`, where *where* is `file:line`, a file or an option.
"""

NO_MEMORY = "can't allocate memory", "out of memory", "ALLOC_FAILED"


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that memory did not suffice; torch says it by a class on GPUs, on CPUs by words."""
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or (isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY))


class NmtError(Exception):
    """Base of all errors whose text is shown to the user as it stands, without a traceback."""

    exit_code = 1


class OptionError(NmtError):
    """A wrong option, a wrong value, an unknown key of a config."""

    exit_code = 2


class DataError(NmtError):
    """A text or a corpus that cannot be used as it is."""

    exit_code = 3


class ModelError(NmtError):
    """A model, tokenizer or checkpoint that is missing, damaged or does not fit."""

    exit_code = 4


class ResourceError(NmtError):
    """The machine said no: disk full, permission denied, out of memory."""

    exit_code = 5


class DivergedError(NmtError):
    """Training produced numbers that no further step can mend."""

    exit_code = 6
