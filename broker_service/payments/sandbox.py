"""The sandbox gateway: payments that move no money, completed by whoever plays the payer."""


def checkout_url(purchase_id: str) -> str:
    """Returns where a purchase is paid: a URI that says to call CompleteSandboxPayment."""
    return f"sandbox:{purchase_id}"
