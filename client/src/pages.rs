//! Lists that come in pages: read as one stream, or page by page.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use futures::future::BoxFuture;

use crate::errors::Result;

/// One page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// What is on it; may be fewer than a full page, even none, while there is a next one.
    pub items: Vec<T>,
    /// Token of the next page. Empty: there is none.
    pub next_page_token: String,
}

type Fetch<T> = Box<dyn FnMut(String) -> BoxFuture<'static, Result<Page<T>>> + Send>;

/// A list as a stream over its pages, which are asked for as the stream is read. After an error it ends.
pub struct Pages<T> {
    fetch: Fetch<T>,
    read: VecDeque<T>,
    next: Next<T>,
}

enum Next<T> {
    Token(String),
    Fetching(BoxFuture<'static, Result<Page<T>>>),
    End,
}

impl<T> Pages<T> {
    pub(crate) fn new(
        fetch: impl FnMut(String) -> BoxFuture<'static, Result<Page<T>>> + Send + 'static,
    ) -> Self {
        Self { fetch: Box::new(fetch), read: VecDeque::new(), next: Next::Token(String::new()) }
    }

    /// One page: the first with an empty token, others with the token of the page before. The stream is not moved by it.
    pub async fn page(&mut self, token: impl Into<String>) -> Result<Page<T>> {
        (self.fetch)(token.into()).await
    }
}

impl<T: Unpin> Stream for Pages<T> {
    type Item = Result<T>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(item) = this.read.pop_front() {
                return Poll::Ready(Some(Ok(item)));
            }
            match &mut this.next {
                Next::End => return Poll::Ready(None),
                Next::Token(token) => this.next = Next::Fetching((this.fetch)(std::mem::take(token))),
                Next::Fetching(page) => match ready!(page.as_mut().poll(cx)) {
                    Ok(page) => {
                        this.read = page.items.into();
                        let token = page.next_page_token;
                        this.next = if token.is_empty() { Next::End } else { Next::Token(token) };
                    }
                    Err(error) => {
                        this.next = Next::End;
                        return Poll::Ready(Some(Err(error)));
                    }
                },
            }
        }
    }
}

impl<T> fmt::Debug for Pages<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").field("read", &self.read.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt as _;

    #[tokio::test]
    async fn a_stream_goes_over_empty_pages_to_the_last_one() {
        let pages = Pages::new(|token| {
            let (items, next) = match token.as_str() {
                "" => (vec![1, 2], "a"),
                "a" => (vec![], "b"),
                _ => (vec![3], ""),
            };
            Box::pin(async move { Ok(Page { items, next_page_token: next.to_owned() }) })
        });
        assert_eq!(pages.map(Result::unwrap).collect::<Vec<_>>().await, [1, 2, 3]);
    }
}
