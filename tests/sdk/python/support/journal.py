"""What an SDK object told, in order, and a way to await what it tells next."""

import asyncio

from .bounded import bounded


class Journal:
    def __init__(self, name):
        self.name = name
        self._told = []
        self._waiting = []
        self._changed = asyncio.Event()

    def handlers(self, base):
        """An object of the SDK's class `base` whose handlers all write into this journal."""
        handlers = base()
        for name in dir(base):
            if name.startswith("on_"):
                setattr(handlers, name, self._writer(name.removeprefix("on_")))
        return handlers

    def _writer(self, event):
        async def write(context):
            self._told.append((event, context))
            self._waiting.append((event, context))
            self._changed.set()

        return write

    async def next(self, event):
        """Takes the first `event` that nobody took, now or when it comes."""

        async def found():
            while True:
                for index, (other, context) in enumerate(self._waiting):
                    if other == event:
                        del self._waiting[index]
                        return context
                self._changed.clear()
                await self._changed.wait()

        return await bounded(found(), f"'{event}' of {self.name}", lambda: str(self))

    async def take(self, event, count):
        """Takes `count` of them."""
        return [await self.next(event) for _ in range(count)]

    def count(self, event):
        """How often an event was told, taken or not."""
        return sum(other == event for other, _ in self._told)

    def nothing_left(self, event):
        """Asserts that no `event` came which nobody took."""
        left = [context for other, context in self._waiting if other == event]
        assert left == [], f"{self.name} told more than was expected"

    def __str__(self):
        return "\n".join(f"  {self.name}: {event} {context}" for event, context in self._told)
