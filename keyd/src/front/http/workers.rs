//! Where the work is done: on blocking threads, of which there are so many and no more. The two threads that serve all
//! connections never wait for a disk or for RSA.

use std::sync::Arc;

use tokio::{
    sync::{AcquireError, OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
    time::timeout,
};

use crate::{
    keyvault::{Kind, Problem},
    limits::{BODY_LEN_MAX, HTTP_MAKERS, HTTP_QUEUE_TIMEOUT, HTTP_RESTORES, HTTP_WORKERS},
};

/// The blocking threads.
#[derive(Debug, Clone)]
pub(super) struct Workers {
    places: Arc<Semaphore>,
    /// Making an RSA key takes seconds: a few at once, or unwraps would wait for them.
    makers: Arc<Semaphore>,
    /// A key's backup may be as long as a hundred ordinary requests.
    restores: Arc<Semaphore>,
}

impl Workers {
    pub(super) fn new() -> Self {
        let semaphore = |places| Arc::new(Semaphore::new(places));
        Self {
            places: semaphore(HTTP_WORKERS),
            makers: semaphore(HTTP_MAKERS),
            restores: semaphore(HTTP_RESTORES),
        }
    }

    /// Room for a body of that length, until what is returned is dropped.
    ///
    /// # Errors
    /// [`Kind::Throttled`] if there is none in time.
    pub(super) async fn room(&self, len: usize) -> Result<Option<OwnedSemaphorePermit>, Problem> {
        if len <= BODY_LEN_MAX {
            return Ok(None);
        }
        let room = timeout(HTTP_QUEUE_TIMEOUT, self.restores.clone().acquire_owned()).await;
        room.ok().and_then(Result::ok).map(Some).ok_or_else(busy)
    }

    /// Does something on a blocking thread, to the end even if nobody waits for it any more: a commit is not left half
    /// way because a client hung up.
    ///
    /// # Errors
    /// [`Kind::Throttled`] if no thread is free in time; what the work returns.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        makes_key: bool,
        work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let places = timeout(HTTP_QUEUE_TIMEOUT, self.places_for(makes_key)).await;
        let Ok(Ok(places)) = places else { return Err(busy()) };
        let done = spawn_blocking(move || {
            let _places = places;
            work()
        });
        done.await.unwrap_or_else(|_| Err(Problem::internal()))
    }

    async fn places_for(
        &self,
        makes_key: bool,
    ) -> Result<[Option<OwnedSemaphorePermit>; 2], AcquireError> {
        let maker = if makes_key { Some(self.makers.clone().acquire_owned().await?) } else { None };
        Ok([maker, Some(self.places.clone().acquire_owned().await?)])
    }
}

fn busy() -> Problem {
    Problem::new(Kind::Throttled, "keyd has more to do than it can: ask again in a moment")
}
