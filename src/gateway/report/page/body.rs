//! [`PageBody`]: the body of an answer, whole or as events that come later.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::sync::mpsc;

/// The body of an answer.
#[derive(Debug)]
pub(super) enum PageBody {
    /// All of it; `None` once it is sent.
    Whole(Option<Bytes>),
    /// Events, as they come; the stream ends with its sender.
    Events(mpsc::Receiver<Bytes>),
}

impl PageBody {
    /// A body that is known.
    pub(super) fn whole(text: String) -> Self {
        Self::Whole((!text.is_empty()).then(|| Bytes::from(text)))
    }
}

impl Body for PageBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Whole(text) => Poll::Ready(text.take().map(|it| Ok(Frame::data(it)))),
            Self::Events(events) => events
                .poll_recv(context)
                .map(|event| event.map(|it| Ok(Frame::data(it)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(text) => {
                SizeHint::with_exact(text.as_ref().map_or(0, |it| it.len() as u64))
            }
            Self::Events(_) => SizeHint::default(),
        }
    }
}
