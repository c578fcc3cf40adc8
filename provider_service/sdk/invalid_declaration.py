"""What is wrong with how a service is declared."""


class InvalidDeclaration(Exception):
    """A service is declared in a way that cannot work; the message says what to write instead."""
