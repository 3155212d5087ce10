"""What goes wrong with one backend while the others go on."""


class BackendError(Exception):
    """A backend could not be loaded, crashed, hung or answered nonsense: one line that says which and why."""


class BackendMissing(BackendError):
    """The runtime is not installed on this machine, or the machine lacks what it needs."""
