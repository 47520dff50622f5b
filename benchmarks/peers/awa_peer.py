"""awa: jobs are started with COPY; a thousand coroutine handlers at once: its fastest."""

import asyncio
from dataclasses import dataclass

import awa
from common import Peer, Producer, main

CONCURRENCY = 1000


@dataclass
class Noop:
    """What a job is given."""

    n: int


def connect(url):
    """A client; its URLs must name a host, even when a socket's folder follows."""
    return awa.AsyncClient(url.replace("@/", "@localhost/"))


async def install(url):
    client = connect(url)
    await client.migrate()
    await client.install_queue_storage(schema="awa")  # what a new database comes to once its first worker has started
    await client.close()


async def produce(url, use):
    client = connect(url)

    async def one(n):
        await client.insert(Noop(n))

    async def many(numbers):
        await client.enqueue_many_copy([Noop(n) for n in numbers])

    await use(Producer(one, many))
    await client.close()


async def start(url, began):
    client = connect(url)

    @client.task(Noop)
    async def noop(_job):
        began()

    await client.start([("default", CONCURRENCY)])
    return client


async def process(url, count):
    all_ = asyncio.Event()
    left = count

    def began():
        nonlocal left
        left -= 1
        if left == 0:
            all_.set()

    client = await start(url, began)
    await all_.wait()
    await client.shutdown()
    await client.close()


async def work(url, began):
    await start(url, began)
    await asyncio.Event().wait()


main(Peer(install, produce, process, work))
