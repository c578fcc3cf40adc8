"""What every gateway raises when an external service does not do what it was asked."""


class GatewayError(Exception):
    """An external service refused, failed or could not be reached.

    The text may reach a customer: it holds no secret, no address and nothing of what the service answered.
    """

    def __init__(self, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.retryable = retryable
        """Whether the same request may be taken later; it may also have been taken already, unheard."""
