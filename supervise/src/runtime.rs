//! Runtimes of a room's own.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

/// A runtime whose end nobody waits for: whoever drops it may be a task, which must not block.
#[derive(Debug)]
pub struct OwnRuntime {
    handle: Handle,
    /// Only its end takes it away.
    runtime: Option<Runtime>,
}

impl OwnRuntime {
    /// Starts what `builder` describes.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn start(builder: &mut Builder) -> io::Result<Self> {
        let runtime = builder.build()?;
        Ok(OwnRuntime {
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
        })
    }

    /// What tasks are started by.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_may_drop_it() {
        let own =
            OwnRuntime::start(Builder::new_multi_thread().worker_threads(1).enable_time()).expect("threads");
        let kept = own.handle().spawn(std::future::pending::<()>());
        assert_eq!(own.handle().spawn(async { 7 }).await.expect("runs"), 7);
        drop(own);
        assert!(kept.await.expect_err("ended").is_cancelled());
    }
}
