//! The thread of the ordered stream. What a record goes through from the queue to the socket is many small steps, each of which wakes the next: on one thread
//! that is a call, on several it is the wake-up of a core, which costs more than the step. Lanes, of which there are several, have the daemon's other threads.

use crate::exit::{Code, Failure};
use std::future::Future;
use std::thread::{self, JoinHandle};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

/// It runs until it is ended, or dropped with the process.
#[derive(Debug)]
pub struct StreamThread {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl StreamThread {
    /// Runs a session. What its connections still have to say when it is over is said until [`Self::end`].
    pub fn start(session: impl Future<Output = ()> + Send + 'static) -> Result<Self, Failure> {
        let failed = |e| Failure::io(Code::System, "cannot start the threads of the source daemon", &e);
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (stop, stopped) = oneshot::channel();
        let run = async move {
            // A task as those of its connections are: tokio looks for something else to do, by a call of the kernel, before it looks at what it was started with.
            let session = tokio::spawn(session);
            let all = async {
                if let Err(error) = session.await
                    && let Ok(panic) = error.try_into_panic()
                {
                    std::panic::resume_unwind(panic);
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = all => {}
                // Told, or dropped: either is the end.
                _ = stopped => {}
            }
        };
        let thread =
            thread::Builder::new().name("stream".to_owned()).spawn(move || runtime.block_on(run)).map_err(failed)?;
        Ok(Self { stop, thread })
    }

    /// Ends it, whatever it is at.
    pub fn end(self) {
        // It may have panicked: then it has ended.
        let _over = self.stop.send(());
        let _over = self.thread.join();
    }
}
