"""The built binary as a child: started on a free port, watched from outside, ended with its test."""

import asyncio
import json
import os
import re
import signal
import urllib.request
from pathlib import Path

from .bounded import bounded
from .config import API_KEY

_ROOT = Path(__file__).resolve().parents[4]
_BINARY = _ROOT / os.environ.get("SDK_TEST_SERVER", "target/debug/pubsub-server")

# A proxy of the surroundings has no business between these tests and loopback.
_HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ApiError(Exception):
    """The HTTP API answered with an error of the protocol."""

    def __init__(self, method, code, message):
        self.code = code
        super().__init__(f"{method}: {code} {message}")


class Server:
    @classmethod
    async def start(cls, folder, config, port=0):
        """Starts a server with `config`, the content of a configuration file, on a free port or on `port`."""
        server = cls()
        file = folder / "config.json"
        file.write_text(json.dumps(config))
        # Variables of the surroundings must not configure the server under test.
        env = {name: value for name, value in os.environ.items() if not name.startswith("PUBSUB_")}
        server._log = open(folder / f"log-{port}", "w+", encoding="utf-8")
        command = [_BINARY, "--config", file, "--port", str(port)]
        server._process = await asyncio.create_subprocess_exec(
            *command, env=env, stdout=asyncio.subprocess.PIPE, stderr=server._log
        )
        line = await bounded(server._process.stdout.readline(), "the server to listen", server.log)
        found = re.fullmatch(r"listening on (http://.*:(\d+))\n", line.decode())
        assert found, f"it said {line!r} instead of where it listens:\n{server.log()}"
        server.http = found[1]
        server.port = int(found[2])
        server.ws = found[1].replace("http", "ws", 1) + "/connection/websocket"
        return server

    def log(self):
        """Everything it wrote to standard error."""
        self._log.seek(0)
        return self._log.read()

    async def api(self, method, **params):
        """A call of the HTTP API."""
        request = urllib.request.Request(
            f"{self.http}/api/{method}",
            json.dumps(params).encode(),
            {"X-API-Key": API_KEY, "Content-Type": "application/json"},
        )
        answer = json.loads(await self._ask(request))
        if "error" in answer:
            raise ApiError(method, answer["error"]["code"], answer["error"]["message"])
        return answer["result"]

    async def publish(self, channel, data, **more):
        return await self.api("publish", channel=channel, data=data, **more)

    async def publish_all(self, channel, payloads):
        """Publishes one after the other, so that the order is known."""
        for data in payloads:
            await self.publish(channel, data)

    async def metric(self, line):
        """The value of one line of /metrics, named with its labels; 0 if it is not there."""
        text = await self._ask(f"{self.http}/metrics")
        found = re.search(rf"^{re.escape(line)} (\S+)$", text.decode(), re.MULTILINE)
        return float(found[1]) if found else 0

    async def _ask(self, request):
        def ask():
            with _HTTP.open(request, timeout=10) as response:
                return response.read()

        return await asyncio.to_thread(ask)

    async def terminate(self):
        """Asks it to end, as an operator does, and waits until it has. Returns its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return await bounded(self._process.wait(), "the server to end after SIGTERM", self.log)

    async def kill(self):
        """Ends it at once, if it still runs."""
        if self._process.returncode is None:
            self._process.kill()
        await bounded(self._process.wait(), "the server to be gone")

    async def close(self):
        await self.kill()
        log = self.log()
        self._log.close()
        assert "panicked" not in log, log
