"""A server that answers every request with a page, and every WebSocket with what came."""
import asyncio
import contextlib

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection, BytesMessage, CloseConnection, Message, Ping, Request, TextMessage,
)
from wsproto.extensions import PerMessageDeflate
from wsproto.utilities import RemoteProtocolError

PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\nhello, world\n"


@contextlib.asynccontextmanager
async def serve():
    """Gives its port."""
    server = await asyncio.start_server(connection, "127.0.0.1", 0, limit=64 * 1024)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def connection(reader, writer):
    # However it ends.
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if b"upgrade: websocket" in head.lower():
                await websocket(head, reader, writer)
                break
            await body(head.lower(), reader)
            writer.write(PAGE.split(b"hello")[0] if head.startswith(b"HEAD ") else PAGE)
            await writer.drain()
    writer.close()


async def body(head, reader):
    if b"transfer-encoding: chunked" in head:
        while size := int(await reader.readline(), 16):
            await reader.readexactly(size + 2)
        await reader.readline()
    elif b"content-length: " in head:
        await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))


async def websocket(head, reader, writer):
    end = WSConnection(ConnectionType.SERVER)
    end.receive_data(head)
    while True:
        try:
            for event in end.events():
                writer.write(answer(end, event))
        except RemoteProtocolError as error:
            writer.write(end.send(error.event_hint))
        await writer.drain()
        if end.state.name in ("CLOSED", "LOCAL_CLOSING"):
            writer.write_eof()
            await reader.read()
            return
        data = await reader.read(64 * 1024)
        if not data:
            return
        try:
            end.receive_data(data)
        except RemoteProtocolError as error:
            writer.write(end.send(error.event_hint))
            return


def answer(end, event):
    if isinstance(event, Request):
        first = event.subprotocols[0] if event.subprotocols else None
        return end.send(AcceptConnection(subprotocol=first, extensions=[PerMessageDeflate()]))
    if isinstance(event, Ping):
        return end.send(event.response())
    # An answer to the page's, or what wsproto makes of a violation.
    if isinstance(event, CloseConnection) and end.state.name in ("OPEN", "REMOTE_CLOSING"):
        return end.send(CloseConnection(code=event.code, reason=event.reason))
    if isinstance(event, TextMessage) and event.data.startswith("close "):
        return end.send(CloseConnection(code=int(event.data[6:]), reason="asked"))
    if isinstance(event, (TextMessage, BytesMessage)):
        return end.send(Message(data=event.data, message_finished=event.message_finished))
    return b""
