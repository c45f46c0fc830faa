"""Many asynchronous replies, as an iterator of those that have finished."""

import asyncio
from collections.abc import Coroutine, Iterator, Sequence

from harness.engines import Drawn


def as_finished(loop: asyncio.AbstractEventLoop, replies: Sequence[Coroutine[None, None, Drawn]]) -> Iterator[Drawn]:
    """Run all of them at once; yield what has finished since the last time.

    The first that fails ends the iteration with its error, once what had finished before has been yielded.
    """
    finished: asyncio.Queue[Drawn | BaseException] = asyncio.Queue()

    async def run(reply: Coroutine[None, None, Drawn]) -> None:
        try:
            finished.put_nowait(await reply)
        except Exception as error:  # raised again where the iterator is read
            finished.put_nowait(error)

    async def some() -> list[Drawn | BaseException]:
        batch = [await finished.get()]
        while not finished.empty():
            batch.append(finished.get_nowait())
        return batch

    tasks = [loop.create_task(run(reply)) for reply in replies]
    left = len(tasks)
    try:
        while left:
            batch = loop.run_until_complete(some())
            left -= len(batch)
            errors = [each for each in batch if isinstance(each, BaseException)]
            yield [pair for each in batch if not isinstance(each, BaseException) for pair in each]
            if errors:
                raise errors[0]
    finally:
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
