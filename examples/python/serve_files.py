"""A file server: ordinary asyncio sockets, and files read by Corella, in one event loop.

    CORELLA_LIBRARY=/usr/local/lib/libcorella.so python3 serve_files.py DIRECTORY [PORT]

A client sends a name and a newline and gets the file. Without a port it serves itself: a hundred clients at once, each
checked, and a ticker beside them that shows that nobody holds the loop up.
"""

import asyncio
import os
import sys

import corella_asyncio

CHUNK_BYTES = 16 * 1024


async def serve(loop, directory, reader, writer):
    name = os.path.basename((await reader.readline()).decode().strip())
    try:
        file = await loop.corella.open(os.path.join(directory, name))
    except corella_asyncio.CorellaError as error:
        writer.write(f"error: {error}\n".encode())
    else:
        offset = 0
        while chunk := await file.read_at(CHUNK_BYTES, offset):
            writer.write(chunk)
            await writer.drain()
            offset += len(chunk)
        await file.close()
    writer.close()
    await writer.wait_closed()


async def fetch(port, name):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(name.encode() + b"\n")
    content = await reader.read()
    writer.close()
    await writer.wait_closed()
    return content


async def serve_itself(loop, directory, port):
    content = bytes(range(256)) * 300
    file = await loop.corella.open(
        os.path.join(directory, "served"), corella_asyncio.WRITE | corella_asyncio.CREATE | corella_asyncio.TRUNCATE
    )
    assert await file.write_at(content, 0) == len(content)
    await file.close()
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            ticks += 1

    ticker = asyncio.ensure_future(tick())
    fetched = await asyncio.gather(*(fetch(port, "served") for _ in range(100)))
    assert all(one == content for one in fetched)
    missing = await fetch(port, "missing")
    assert b"No such file" in missing, missing
    ticker.cancel()
    assert ticks > 0

    # A task that is cancelled while it reads loses nothing and leaks nothing.
    file = await loop.corella.open(os.path.join(directory, "served"))
    reading = asyncio.ensure_future(file.read_at(1 << 20, 0))
    await asyncio.sleep(0)
    reading.cancel()
    try:
        await reading
    except asyncio.CancelledError:
        pass
    await file.close()
    print(f"served {len(fetched)} clients, {sum(map(len, fetched))} bytes")


async def main(loop, directory, port):
    server = await asyncio.start_server(lambda r, w: serve(loop, directory, r, w), "127.0.0.1", port or 0)
    if port is not None:
        print(f"serving {directory} on 127.0.0.1:{port}", flush=True)
        await server.serve_forever()
    await serve_itself(loop, directory, server.sockets[0].getsockname()[1])
    server.close()
    await server.wait_closed()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: serve_files.py DIRECTORY [PORT]")
    loop = corella_asyncio.EventLoop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(main(loop, sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else None))
    finally:
        loop.close()
