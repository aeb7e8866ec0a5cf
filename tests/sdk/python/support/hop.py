"""A TCP hop between client and server, to cut the connection and to hold it up."""

import asyncio
import contextlib
import socket
import struct

# A text frame of two bytes, and in protobuf a binary frame of one: the length of a message with nothing in it.
_PINGS = (b"\x81\x02{}", b"\x82\x01\x00")


class Hop:
    @classmethod
    async def start(cls, port):
        """A hop to `port` on loopback."""
        hop = cls()
        # Connections that went through it, ever.
        hop.passed = 0
        # Pings of the protocol that the server sent through it.
        hop.pings = 0
        hop._target = port
        hop._pairs = set()
        hop._tasks = set()
        hop._open = True
        hop._flowing = asyncio.Event()
        hop._flowing.set()
        hop._server = await asyncio.start_server(hop._serve, "127.0.0.1", 0)
        hop.ws = f"ws://127.0.0.1:{hop._server.sockets[0].getsockname()[1]}/connection/websocket"
        return hop

    async def _serve(self, near_reader, near):
        if not self._open:
            _reset(near)
            return
        self.passed += 1
        try:
            far_reader, far = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            _reset(near)
            return
        pair = (near, far)
        self._pairs.add(pair)
        up = asyncio.create_task(self._up(near_reader, far))
        down = asyncio.create_task(self._down(far_reader, near))
        self._tasks |= {up, down}
        await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        for task in (up, down):
            task.cancel()
        self._tasks -= {up, down}
        self._pairs.discard(pair)
        for writer in pair:
            writer.close()

    async def _up(self, reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()

    async def _down(self, reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._flowing.wait()
                self.pings += sum(data.count(ping) for ping in _PINGS)
                writer.write(data)
                await writer.drain()

    def cut(self):
        """Cuts what goes through it with a reset to both sides, and lets new connections in."""
        for pair in list(self._pairs):
            for writer in pair:
                _reset(writer)

    def shut(self):
        """Cuts, and lets nobody in until `open`."""
        self._open = False
        self.cut()

    def open(self):
        self._open = True

    def freeze(self):
        """Reads nothing more from the server, so that its socket fills up."""
        self._flowing.clear()

    def thaw(self):
        """Reads again."""
        self._flowing.set()

    async def close(self):
        self.shut()
        self._server.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _reset(writer):
    # With linger 0 the kernel sends a reset, and forgets what was not sent yet.
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
