"""wsproto at both ends of the proxy: each judges what comes out of it."""
import asyncio

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Message, Ping, Pong, Request, TextMessage
from wsproto.extensions import PerMessageDeflate

IN_TIME = 10
CODES = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]
SIZES = [0, 1, 125, 126, 127, 128, 65_535, 65_536, 1 << 20]

# What a page must not send, as bytes under the mask 0000, and the code that the other end closes with.
VIOLATIONS = {
    "a reserved bit": (b"\xc1\x81\0\0\0\0x", 1002),
    "a reserved opcode": (b"\x83\x80\0\0\0\0", 1002),
    "a reserved control opcode": (b"\x8b\x80\0\0\0\0", 1002),
    "a frame without a mask": (b"\x81\x01x", 1002),
    "a ping that is too long": (b"\x89\xfe\0\x7e\0\0\0\0" + bytes(126), 1002),
    "a ping in fragments": (b"\x09\x81\0\0\0\0x", 1002),
    "a continuation of nothing": (b"\x80\x81\0\0\0\0x", 1002),
    "a message within a message": (b"\x01\x81\0\0\0\0x\x81\x81\0\0\0\0x", 1002),
    "a close frame with half a code": (b"\x88\x81\0\0\0\0\x03", 1002),
    "a code that is never sent": (b"\x88\x82\0\0\0\0\x03\xed", 1002),
    "text that is no UTF-8": (b"\x81\x82\0\0\0\0\xc3\x28", 1007),
    "a reason that is no UTF-8": (b"\x88\x84\0\0\0\0\x03\xe8\xc3\x28", 1007),
    "text that is no UTF-8, in fragments": (b"\x01\x81\0\0\0\0\xed\x80\x82\0\0\0\0\xa0\x80", 1007),
}


class Page:
    """The browser's end."""

    def __init__(self, reader, writer):
        self.reader, self.writer, self.end = reader, writer, WSConnection(ConnectionType.CLIENT)

    @classmethod
    async def open(cls, port, trusting, **wishes):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname="localhost")
        page = cls(reader, writer)
        origin = f"https://localhost:{port}".encode()
        await page.send(Request(host=f"localhost:{port}", target="/ws", extra_headers=[(b"Origin", origin)], **wishes))
        accepted = await page.next()
        assert isinstance(accepted, AcceptConnection), accepted
        return page, accepted

    async def send(self, event):
        await self.send_bytes(self.end.send(event))

    async def send_bytes(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def next(self):
        while True:
            for event in self.end.events():
                return event
            data = await self.reader.read(64 * 1024)
            self.end.receive_data(data or None)

    async def message(self):
        """All pieces of the next message, and the control frames between them."""
        pieces, between = [], []
        while True:
            event = await self.next()
            if not isinstance(event, (TextMessage, BytesMessage)):
                between.append(event)
                continue
            pieces.append(event.data)
            if event.message_finished:
                return type(event.data)().join(pieces), between


async def run(port, trusting):
    """Says how many cases failed."""
    passed = failed = 0
    for name, case in cases():
        try:
            await asyncio.wait_for(case(port, trusting), IN_TIME)
            passed += 1
        except Exception as error:  # whatever it is, the others are still to be run
            print(f"websocket: {name}: {error!r}")
            failed += 1
    print(f"websocket: {passed + failed} tests, {passed} passed, {failed} failed")
    return failed


def cases():
    for size in SIZES:
        yield f"{size} bytes of text", echo("é" * (size // 2) + "e" * (size % 2))
        yield f"{size} bytes", echo(bytes(size))
    yield "compressed", echo("compress me " * 100_000, extensions=[PerMessageDeflate()])
    yield "fragments", fragments
    yield "a subprotocol", subprotocol
    for code in CODES:
        yield f"the page closes with {code}", page_closes(code)
        yield f"the server closes with {code}", server_closes(code)
    for name, (data, code) in VIOLATIONS.items():
        yield name, violation(data, code)


def echo(data, **wishes):
    async def case(port, trusting):
        page, accepted = await Page.open(port, trusting, **wishes)
        assert bool(accepted.extensions) == bool(wishes), accepted
        sending = asyncio.create_task(page.send(Message(data=data)))
        come, _ = await page.message()
        await sending
        assert come == data, f"{len(come)} came"
        page.writer.close()
    return case


async def fragments(port, trusting):
    page, _ = await Page.open(port, trusting)
    for piece in ["one, ", "", "two, ", "three"]:
        await page.send(Ping(payload=piece.encode()))
        await page.send(Message(data=piece, message_finished=piece == "three"))
    come, between = await page.message()
    assert come == "one, two, three", come
    assert [bytes(event.payload) for event in between] == [b"one, ", b"", b"two, ", b"three"], between
    assert all(isinstance(event, Pong) for event in between)
    page.writer.close()


async def subprotocol(port, trusting):
    _, accepted = await Page.open(port, trusting, subprotocols=["chat", "superchat"])
    assert accepted.subprotocol == "chat", accepted


def page_closes(code):
    async def case(port, trusting):
        page, _ = await Page.open(port, trusting)
        await page.send(CloseConnection(code=code, reason="done"))
        said = await page.next()
        assert isinstance(said, CloseConnection) and (said.code, said.reason) == (code, "done"), said
    return case


def server_closes(code):
    async def case(port, trusting):
        page, _ = await Page.open(port, trusting)
        await page.send(Message(data=f"close {code}"))
        said = await page.next()
        assert isinstance(said, CloseConnection) and (said.code, said.reason) == (code, "asked"), said
    return case


def violation(data, code):
    async def case(port, trusting):
        page, _ = await Page.open(port, trusting)
        await page.send_bytes(data)
        while not isinstance(said := await page.next(), CloseConnection):
            pass
        assert said.code == code, said
    return case
