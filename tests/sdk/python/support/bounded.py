"""Waiting with a limit. Every wait of these tests is for an event, and goes through here."""

import asyncio

# Far above anything a healthy run needs, so that only a real fault runs into it.
PATIENCE = 20.0


async def bounded(awaitable, what, seen=lambda: ""):
    """What `awaitable` brings, or an error that says what was awaited and, by `seen()`, what came instead."""
    try:
        return await asyncio.wait_for(awaitable, PATIENCE)
    except asyncio.TimeoutError:
        raise AssertionError(f"waited {PATIENCE} s in vain for {what}\n{seen()}") from None


async def polled(probe, what):
    """Asks `probe` again and again until it brings something true: for what the server tells only when asked."""

    async def found():
        while not (value := await probe()):
            await asyncio.sleep(0.01)
        return value

    return await bounded(found(), what)
