"""Lists that the server gives page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from . import _limits as limits

__all__ = ["Page", "Pages"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """One page of a list."""

    items: tuple[T, ...]
    """What it holds; it may be short, even empty, and still have a next page."""
    next_page_token: str
    """Token of the next page. Empty: there is none."""


class Pages(Generic[T]):
    """A list: `async for` reads it page by page, `page` gives one page for programs that show pages themselves.

    Example:
        >>> async def failed(client: Client) -> None:
        ...     async for job in client.list_jobs(JobFilter(states=(JobState.FAILED,))):
        ...         print(job.id)
        ...     first = await client.list_jobs().page(size=20)
        ...     second = await client.list_jobs().page(first.next_page_token, size=20)
    """

    def __init__(self, ask: Callable[[str, int], Awaitable[Page[T]]], limit: int | None) -> None:
        self._ask = ask
        self._limit = limit

    async def page(self, token: str = "", *, size: int = limits.PAGE_SIZE) -> Page[T]:
        """One page.

        Args:
            token: Token of the page, from the page before; the list must be the same. Default: the first page.
            size: Most items in it; at most 500.
        """
        return await self._ask(token, size)

    async def __aiter__(self) -> AsyncIterator[T]:
        left, token = self._limit, ""
        while left is None or left > 0:
            page = await self._ask(token, limits.PAGE_SIZE if left is None else min(left, limits.PAGE_SIZE))
            for item in page.items if left is None else page.items[:left]:
                yield item
            if left is not None:
                left -= len(page.items)
            if not page.next_page_token:
                return
            token = page.next_page_token
