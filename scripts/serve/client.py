"""What bench-serve and load-serve share: servers that are started for a trial, and plain HTTP/1.1 to them.

Python 3.11 or later; no packages. A request has a connection of its own, so that a client that leaves, stalls or sends
half of something is no special case.
"""
import asyncio, json, os, pathlib, re, signal, socket, subprocess, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parents[2]
RETUNE = ROOT / "target/release/retune"


class Server:
    """A program that answers HTTP on this machine. What it prints goes into `log`."""

    def __init__(self, name, command, port=None, env=None):
        self.name, self.log = name, tempfile.TemporaryFile()
        self.host, self.port = "127.0.0.1", port
        self.process = subprocess.Popen([str(part) for part in command], stdout=self.log, stderr=self.log,
                                        stdin=subprocess.DEVNULL, env=env)

    def printed(self):
        return os.pread(self.log.fileno(), 1 << 20, 0).decode(errors="replace")

    async def ready(self, path="/health", seconds=600):
        """Waits until it listens and answers `path`. A port that is not known is read from what it prints."""
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up:
            if self.process.poll() is not None:
                raise SystemExit(f"{self.name} ended with {self.process.returncode}:\n{self.printed()}")
            if self.port is None and (found := re.search(r"listening +http://\S+:(\d+)", self.printed())):
                self.port = int(found[1])
            try:
                if self.port and (await ask(self, "GET", path)).status == 200:
                    return self
            except OSError:
                pass
            await asyncio.sleep(0.05)
        raise SystemExit(f"{self.name} does not answer {path} after {seconds} s:\n{self.printed()}")

    async def ended(self, seconds):
        """Its exit code, or None if it still runs after `seconds`."""
        give_up = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < give_up:
            await asyncio.sleep(0.01)
        return self.process.poll()

    def signal(self, number):
        self.process.send_signal(number)

    def stop(self):
        if self.process.poll() is None:
            # One that was paused hears nothing but this.
            self.signal(signal.SIGKILL)
        self.process.wait()
        self.log.close()

    def status(self, key):
        """A figure of /proc/PID/status in bytes, such as VmRSS or VmHWM."""
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"{key}:\s+(\d+) kB", text)[1]) * 1024

    def open_files(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


def retune(name, folder, *options, program=RETUNE):
    """`retune serve` on any free port. A key in the environment is none of the trial's."""
    env = {key: value for key, value in os.environ.items() if key != "RETUNE_API_KEY"}
    return Server(name, [program, "serve", folder, "--port", "0", *options], env=env)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Reply:
    """What came back: `status`, `headers` by names in lower case, and the body, whole or as it comes."""

    def __init__(self, reader, writer):
        self.reader, self.writer, self.body = reader, writer, b""

    async def read_head(self):
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        self.status = int(head[0].split()[1])
        pairs = (line.split(":", 1) for line in head[1:] if ":" in line)
        self.headers = {name.strip().lower(): value.strip() for name, value in pairs}

    async def pieces(self):
        if self.headers.get("transfer-encoding") == "chunked":
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                yield (await self.reader.readexactly(size + 2))[:-2]
        else:
            while piece := await self.reader.read(1 << 16):
                yield piece

    async def read(self):
        self.body = b"".join([piece async for piece in self.pieces()])
        return self

    async def events(self):
        """The data of a stream's events, as text."""
        rest = b""
        async for piece in self.pieces():
            *events, rest = (rest + piece).replace(b"\r\n", b"\n").split(b"\n\n")
            for event in events:
                # A colon alone begins a comment, which keeps a connection open.
                if event.startswith(b"data: "):
                    yield event[6:].decode()

    def json(self):
        return json.loads(self.body)

    def leave(self, at_once=False):
        """Closes the connection; `at_once` by a reset."""
        if at_once and (own := self.writer.get_extra_info("socket")):
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.writer.close()


def head_of(method, path, headers):
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", errors="replace")


async def send(server, method, path, body=None, headers=None):
    """Sends a request and reads the head of its reply. A body is JSON, or bytes as they are."""
    headers = dict(headers or {})
    if body is not None:
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Content-Length": len(body), **headers}
    reader, writer = await asyncio.open_connection(server.host, server.port)
    reply = Reply(reader, writer)
    try:
        writer.write(head_of(method, path, headers) + (body or b""))
        await reply.read_head()
    except BaseException:
        writer.close()
        raise
    return reply


async def ask(server, method, path, body=None, headers=None, seconds=600):
    """A request and all of its reply."""
    async with asyncio.timeout(seconds):
        if isinstance(body, bytes) and len(body) > 1 << 20:
            return await ask_whatever_is_read(server, method, path, body, headers)
        reply = await send(server, method, path, body, headers)
        try:
            return await reply.read()
        finally:
            reply.leave()


async def ask_whatever_is_read(server, method, path, body, headers):
    """The reply to a body that the server may not read to its end, as clients get it that go on to read all the same."""
    def blocking():
        with socket.create_connection((server.host, server.port)) as connection:
            try:
                connection.sendall(head_of(method, path, {"Content-Length": len(body), **(headers or {})}) + body)
            except ConnectionError:
                pass
            found = b""
            while piece := connection.recv(1 << 16):
                found += piece
            return found

    reader = asyncio.StreamReader()
    reader.feed_data(await asyncio.to_thread(blocking)), reader.feed_eof()
    reply = Reply(reader, None)
    await reply.read_head()
    return await reply.read()


def percentile(values, share):
    """The smallest value that `share` of all are not above."""
    values = sorted(values)
    return values[min(len(values) - 1, max(0, -int(-share * len(values) // 1) - 1))]
