"""Procrastinate: coroutine tasks, ten at once; with fifty it was slower."""

import logging

import procrastinate
from common import Peer, Producer, main

CONCURRENCY = 10

logging.getLogger("procrastinate").setLevel(logging.ERROR)  # it warns of applications made in a script


def open_app(url, began=lambda: None):
    app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=url, min_size=4, max_size=20))

    @app.task(name="noop")
    async def noop(n):
        began()

    return app, noop


async def install(url):
    app, _ = open_app(url)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()


async def produce(url, use):
    app, noop = open_app(url)

    async def one(n):
        await noop.defer_async(n=n)

    async def many(numbers):
        await noop.batch_defer_async(*({"n": n} for n in numbers))

    async with app.open_async():
        await use(Producer(one, many))


async def process(url, count):
    app, _ = open_app(url)
    async with app.open_async():
        await app.run_worker_async(concurrency=CONCURRENCY, wait=False)


async def work(url, began):
    app, _ = open_app(url, began)
    async with app.open_async():
        await app.run_worker_async(concurrency=CONCURRENCY)


main(Peer(install, produce, process, work))
