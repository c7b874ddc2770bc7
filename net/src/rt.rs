//! The runtime, real or simulated: every `cfg(madsim)` difference of the shell is here.
//!
//! `tokio` is tokio itself, or madsim's stand-in where the build is given `--cfg madsim`. The stand-in has no threads, no
//! unix signals and no way to take a stream apart by value, so the rest of the shell gets those from this module.
//!
//! Threads of our own serve the disk. They are described as *workers*: a queue and a function called with what
//! has come in. In simulation a worker is a task, and its function still blocks, but only on a simulated disk.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use varve_core::ids::Timestamp;
use varve_core::time::{Instant, Now};

/// The node's monotonic clock: microseconds since the clock was made.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    zero: tokio::time::Instant,
}

impl Clock {
    /// A clock that stands at a small, non-zero time.
    ///
    /// Core subtracts durations from its present; an early present must not saturate at zero.
    #[must_use]
    pub fn start() -> Self {
        let now = tokio::time::Instant::now();
        Self {
            zero: now.checked_sub(HEAD_START).unwrap_or(now),
        }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Instant {
        let micros = tokio::time::Instant::now()
            .duration_since(self.zero)
            .as_micros();
        Instant(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// The time by this clock and by the wall clock.
    #[must_use]
    pub fn both(&self) -> Now {
        Now {
            instant: self.now(),
            wall: wall_clock(),
        }
    }

    /// Waits until the clock shows this time.
    pub async fn sleep_until(&self, instant: Instant) {
        tokio::time::sleep_until(self.zero + Duration::from_micros(instant.0)).await;
    }
}

const HEAD_START: Duration = Duration::from_secs(1);

/// The wall clock.
#[must_use]
pub fn wall_clock() -> Timestamp {
    let millis = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis());
    Timestamp(i64::try_from(millis).unwrap_or(i64::MAX))
}

/// Starts a worker that is called with all queued items, at most `batch_max` at a time. It ends when every sender is
/// dropped and the queue is empty.
///
/// # Panics
/// When the operating system cannot start a thread.
pub fn spawn_worker<T, F>(name: String, mut queue: mpsc::Receiver<T>, batch_max: usize, mut work: F)
where
    T: Send + 'static,
    F: FnMut(&mut Vec<T>) + Send + 'static,
{
    #[cfg(not(madsim))]
    thread(name, move || {
        let mut batch = Vec::new();
        while queue.blocking_recv_many(&mut batch, batch_max) > 0 {
            work(&mut batch);
            batch.clear();
        }
    });
    #[cfg(madsim)]
    {
        drop(name);
        tokio::spawn(async move {
            let mut batch = Vec::new();
            while queue.recv_many(&mut batch, batch_max).await > 0 {
                work(&mut batch);
                batch.clear();
            }
        });
    }
}

/// Starts several workers on one queue; each item goes to one of them.
///
/// # Panics
/// When the operating system cannot start a thread.
pub fn spawn_pool<T, F>(name: &str, threads: usize, queue: mpsc::Receiver<T>, work: F)
where
    T: Send + 'static,
    F: Fn(T) + Send + Sync + 'static,
{
    #[cfg(not(madsim))]
    {
        let queue = Arc::new(Mutex::new(queue));
        let work = Arc::new(work);
        for index in 0..threads.max(1) {
            let (queue, work) = (Arc::clone(&queue), Arc::clone(&work));
            thread(format!("{name}-{index}"), move || {
                loop {
                    // The lock is held while waiting: one worker waits for the queue, the others for the lock.
                    let item = queue
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .blocking_recv();
                    let Some(item) = item else { break };
                    work(item);
                }
            });
        }
    }
    #[cfg(madsim)]
    {
        let _ = (name, threads, Arc::new(Mutex::new(PoisonError::new(()))));
        let mut queue = queue;
        tokio::spawn(async move {
            while let Some(item) = queue.recv().await {
                work(item);
            }
        });
    }
}

/// Runs a future on a thread of its own, where no other task delays it.
///
/// # Panics
/// When the operating system cannot start a thread.
pub fn spawn_apart<F>(name: String, future: F)
where
    F: Future<Output = ()> + Send + 'static,
{
    #[cfg(not(madsim))]
    thread(name, move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        runtime
            .expect("a runtime without IO takes nothing but memory")
            .block_on(future);
    });
    #[cfg(madsim)]
    {
        drop(name);
        tokio::spawn(future);
    }
}

#[cfg(not(madsim))]
fn thread<F: FnOnce() + Send + 'static>(name: String, run: F) {
    std::thread::Builder::new()
        .name(name.clone())
        .spawn(move || {
            let _bug_stops_the_node = StopOnPanic(name);
            run();
        })
        .expect("the operating system gives a thread at start");
}

/// Stops the process when the task or thread that holds it panics.
///
/// A panic in core, in the driver or in the store is a bug, and the node's state is unknown afterwards: it stops at
/// once, as if its power had been cut, which the protocol tolerates. (A connection's task may panic alone: it owns
/// nothing but its connection.)
pub struct StopOnPanic(pub String);

impl fmt::Debug for StopOnPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StopOnPanic").field(&self.0).finish()
    }
}

impl Drop for StopOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "varve: {} met a bug (above) and the node stops at once. Nothing acknowledged is lost; please \
                 report the message with the log before it.",
                self.0
            );
            // In simulation a panic ends the run by itself, and an exit would hide the seed.
            #[cfg(not(madsim))]
            std::process::exit(EXIT_BUG);
        }
    }
}

/// The exit status after a bug: `EX_SOFTWARE` of sysexits.h.
#[cfg(not(madsim))]
const EXIT_BUG: i32 = 70;

/// Waits for Ctrl-C or SIGTERM, and returns which it was.
///
/// # Panics
/// When no signal handler can be installed.
pub async fn stop_signal() -> &'static str {
    #[cfg(not(madsim))]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).expect("SIGTERM can be handled");
        let mut interrupt = signal(SignalKind::interrupt()).expect("SIGINT can be handled");
        tokio::select! {
            biased;
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "Ctrl-C",
        }
    }
    #[cfg(madsim)]
    {
        tokio::signal::ctrl_c()
            .await
            .expect("Ctrl-C can be handled");
        "Ctrl-C"
    }
}

/// A port that this process has bound and does not listen on yet: connections are refused.
#[derive(Debug)]
pub struct BoundPort {
    #[cfg(not(madsim))]
    socket: tokio::net::TcpSocket,
    #[cfg(madsim)]
    listener: TcpListener,
}

impl BoundPort {
    /// Binds `host:port`.
    ///
    /// # Errors
    /// The error of the operating system; most likely another process listens there.
    pub async fn bind(address: &str) -> io::Result<Self> {
        #[cfg(not(madsim))]
        {
            let mut last = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
            for address in tokio::net::lookup_host(address).await? {
                match bind_socket(address) {
                    Ok(socket) => return Ok(Self { socket }),
                    Err(error) => last = error,
                }
            }
            Err(last)
        }
        // The stand-in cannot bind a port without listening on it: connections wait.
        #[cfg(madsim)]
        Ok(Self {
            listener: TcpListener::bind(address).await?,
        })
    }

    /// Its address.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        #[cfg(not(madsim))]
        return self.socket.local_addr();
        #[cfg(madsim)]
        return self.listener.local_addr();
    }

    /// Begins to listen.
    ///
    /// # Errors
    /// The error of the operating system: another process may have bound the port as well, and listened first.
    pub fn listen(self) -> io::Result<TcpListener> {
        #[cfg(not(madsim))]
        return self.socket.listen(BACKLOG);
        #[cfg(madsim)]
        return Ok(self.listener);
    }
}

/// Connections that may wait to be accepted.
#[cfg(not(madsim))]
const BACKLOG: u32 = 1024;

#[cfg(not(madsim))]
fn bind_socket(address: SocketAddr) -> io::Result<tokio::net::TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    // Connections of the previous process may still be closing on this port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Sets TCP_NODELAY: writes are batched already.
pub fn prepare_stream(stream: &tokio::net::TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
}
