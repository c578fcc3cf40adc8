"""The error that ends a process before it serves."""


class StartupError(Exception):
    """A setting or the machine keeps this process from serving.

    Its text is one clear line for the operator; `commands.invoke` prints it and exits with code 2.
    """
