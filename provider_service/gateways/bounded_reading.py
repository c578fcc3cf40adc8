"""Reading what an external service answers without trusting it to be short."""

import aiohttp


async def read_bounded(stream: aiohttp.StreamReader, *, maximum_bytes: int) -> bytes:
    """Reads to the end. Raises ValueError when there is more than there may be."""
    body = bytearray()
    while chunk := await stream.read(maximum_bytes + 1 - len(body)):
        body += chunk
        if len(body) > maximum_bytes:
            raise ValueError("the answer is too long")
    return bytes(body)
