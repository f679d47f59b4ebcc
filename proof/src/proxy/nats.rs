//! A wire between a NATS client and its server, that sees messages.

mod frame;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::rules::{Armed, Rule, Script, Trigger, call};
use super::{block_on, runtime};
use crate::random::Random;

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server: what it publishes, its requests and its acknowledgements (`$JS.ACK.…`).
    Up,
    /// From the server to the client: deliveries, and answers on the client's inbox (`_INBOX.…`).
    Down,
}

/// One message on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Which way it goes.
    pub direction: Direction,
    /// Its subject. A message of a pull consumer keeps the subject under which it lies in its stream.
    pub subject: String,
    /// Where an answer or an acknowledgement would go.
    pub reply: Option<String>,
    /// The block of headers as it is on the wire, `NATS/1.0` first; empty without any.
    pub headers: Bytes,
    /// What it carries.
    pub payload: Bytes,
}

impl Message {
    /// The payload as text.
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.payload)
    }
}

/// What to do with a message.
#[derive(Clone, Debug, Default)]
pub enum NatsAct {
    /// Nothing special.
    #[default]
    Pass,
    /// It never arrives.
    Drop,
    /// It arrives later, and so does what follows it.
    Delay(Duration),
    /// It arrives when its trigger releases it. One that goes up is then brought by a connection of its own, even if its
    /// sender is gone, and others overtake it; one that goes down keeps back what follows it.
    Hold,
    /// It arrives twice.
    Twice,
    /// The connection is reset, and it never arrives.
    CutBefore,
    /// It arrives, and then the connection is reset.
    CutAfter,
    /// From here on nothing passes on this connection, in either direction, and nobody is told.
    BlackHole,
    /// It arrives with these bytes of its frame changed by the function, in place.
    Rewrite(fn(&mut [u8])),
    /// It passes; this is done with the first answer to it, and the rule's calls are made for the answer.
    Answer(Box<NatsAct>),
}

impl NatsAct {
    /// The request arrives and its answer does not.
    pub fn swallow_answer() -> Self {
        Self::Answer(Box::new(Self::Drop))
    }
}

/// A rule for messages.
pub type NatsRule = Rule<Message, NatsAct>;

type Awaited = HashMap<String, Arc<Armed<Message, NatsAct>>>;

#[derive(Default)]
struct Shared {
    script: Script<Message, NatsAct>,
    awaited: Mutex<Awaited>,
    delay_millis: AtomicU64,
    latency_millis: AtomicU64,
    jitter_millis: AtomicU64,
    black_hole: AtomicBool,
    refuses: AtomicBool,
}

/// The wire. Dropping it cuts every connection.
pub struct NatsProxy {
    port: u16,
    shared: Arc<Shared>,
    cut: watch::Sender<u64>,
    listening: JoinHandle<()>,
}

impl Drop for NatsProxy {
    fn drop(&mut self) {
        self.listening.abort();
        self.cut_all();
    }
}

impl NatsProxy {
    /// Lays a wire to the server that listens on `port` of this machine.
    ///
    /// # Errors
    /// There is no port to listen on.
    pub fn to(port: u16) -> Result<Self> {
        let listener = block_on(TcpListener::bind("127.0.0.1:0")).context("a port for a proxy of NATS")?;
        let here = listener.local_addr()?.port();
        let (shared, (cut, cuts)) = (Arc::<Shared>::default(), watch::channel(0));
        let listening = runtime().spawn(listen(listener, port, shared.clone(), cuts));
        Ok(Self { port: here, shared, cut, listening })
    }

    /// Where clients connect: `nats://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Puts a rule in force.
    pub fn add(&self, rule: NatsRule) -> Trigger {
        self.shared.script.add(rule)
    }

    /// Takes all rules out of force, those that await an answer too.
    pub fn clear(&self) {
        self.shared.script.clear();
        self.shared.awaited.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Each frame takes so long from now on, one after the other.
    pub fn delay(&self, each: Duration) {
        let millis = u64::try_from(each.as_millis()).unwrap_or(u64::MAX);
        self.shared.delay_millis.store(millis, Ordering::SeqCst);
    }

    /// Each frame arrives so long after it was sent, on the connections that are made from now on: a long link, not a narrow one.
    pub fn latency(&self, each_way: Duration) {
        let millis = u64::try_from(each_way.as_millis()).unwrap_or(u64::MAX);
        self.shared.latency_millis.store(millis, Ordering::SeqCst);
    }

    /// Beside the latency each frame takes up to so much longer, drawn anew for each. None overtakes another.
    pub fn jitter(&self, most: Duration) {
        let millis = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
        self.shared.jitter_millis.store(millis, Ordering::SeqCst);
    }

    /// Swallows everything in both directions, on new connections too, without closing any; or lets it pass again. What was
    /// swallowed is lost, so connections that lived through it should be cut.
    pub fn black_hole(&self, on: bool) {
        self.shared.black_hole.store(on, Ordering::SeqCst);
    }

    /// Closes new connections at once; or no longer.
    pub fn refuse(&self, on: bool) {
        self.shared.refuses.store(on, Ordering::SeqCst);
    }

    /// Resets every connection.
    pub fn cut_all(&self) {
        self.cut.send_modify(|count| *count += 1);
    }
}

async fn listen(listener: TcpListener, port: u16, shared: Arc<Shared>, cuts: watch::Receiver<u64>) {
    while let Ok((client, _)) = listener.accept().await {
        if shared.refuses.load(Ordering::SeqCst) {
            continue;
        }
        let (shared, mut cuts) = (shared.clone(), cuts.clone());
        cuts.mark_unchanged();
        tokio::spawn(carry(client, port, shared, cuts));
    }
}

/// One connection, until either end closes it, a rule cuts it or the proxy goes.
async fn carry(mut client: TcpStream, port: u16, shared: Arc<Shared>, mut cuts: watch::Receiver<u64>) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    // Small messages must not wait for each other: it would be a delay that nobody asked for.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let swallows = AtomicBool::new(false);
    let over = watch::Sender::new(false);
    let lane = |direction| Lane { direction, port, shared: &shared, swallows: &swallows, over: &over };
    let (up, down) = (lane(Direction::Up), lane(Direction::Down));
    // When one direction ends the other still finishes the frame it has in hand: a rule that kills the client is carried
    // out whole.
    let both = async { tokio::join!(up.run(from_client, to_server), down.run(from_server, to_client)) };
    let cut = tokio::select! {
        (up, down) = both => up.is_err() || down.is_err(),
        _ = cuts.changed() => true,
    };
    if cut {
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
}

/// One direction of one connection.
struct Lane<'a> {
    direction: Direction,
    port: u16,
    shared: &'a Arc<Shared>,
    swallows: &'a AtomicBool,
    over: &'a watch::Sender<bool>,
}

impl Lane<'_> {
    /// Carries frames until either end closes; an error means that the connection is to be reset.
    async fn run(&self, from: impl AsyncRead + Unpin, to: impl AsyncWrite + Unpin) -> Result<()> {
        let ended = self.carry(from, to).await;
        self.over.send_replace(true);
        ended
    }

    async fn carry(&self, from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> Result<()> {
        let mut from = BufReader::with_capacity(1 << 16, from);
        let latency = Duration::from_millis(self.shared.latency_millis.load(Ordering::SeqCst));
        if latency.is_zero() {
            while let Some(frame) = self.next(&mut from).await? {
                self.pass(frame, &mut to).await?;
            }
            return Ok(());
        }
        let (sent, mut under_way) = mpsc::unbounded_channel();
        let jitter = self.shared.jitter_millis.load(Ordering::SeqCst);
        let mut random = Random::new(u64::from(self.port));
        let reading = async move {
            while let Some(frame) = self.next(&mut from).await? {
                let late = Duration::from_millis(random.below(jitter + 1));
                // Who no longer writes has ended the connection.
                let _ = sent.send((Instant::now() + latency + late, frame));
            }
            Ok(())
        };
        let writing = async {
            while let Some((due, frame)) = under_way.recv().await {
                tokio::time::sleep_until(due).await;
                self.pass(frame, &mut to).await?;
            }
            Ok(())
        };
        tokio::try_join!(reading, writing).map(|_| ())
    }

    /// The next frame; none when either direction has ended.
    async fn next(&self, from: &mut (impl AsyncBufRead + Unpin)) -> Result<Option<frame::Frame>> {
        let mut over = self.over.subscribe();
        tokio::select! {
            frame = frame::read(from, self.direction) => frame,
            _ = over.wait_for(|over| *over) => Ok(None),
        }
    }

    async fn pass(&self, frame: frame::Frame, to: &mut (impl AsyncWrite + Unpin)) -> Result<()> {
        if self.is_silent() {
            return Ok(());
        }
        let delay = self.shared.delay_millis.load(Ordering::SeqCst);
        if delay > 0 {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
        match frame.message.and_then(|message| Some((self.rule(&message)?, message))) {
            None => Ok(to.write_all(&frame.raw).await?),
            Some((armed, message)) => self.obey(&armed, &message, frame.raw, to).await,
        }
    }

    fn is_silent(&self) -> bool {
        self.swallows.load(Ordering::SeqCst) || self.shared.black_hole.load(Ordering::SeqCst)
    }

    /// The rule for a message: that which awaits it as an answer, else that which matches.
    fn rule(&self, message: &Message) -> Option<Arc<Armed<Message, NatsAct>>> {
        if self.direction == Direction::Down {
            let mut awaited = self.shared.awaited.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(armed) = awaited.remove(&message.subject) {
                return Some(armed);
            }
        }
        self.shared.script.find(message)
    }

    async fn obey(
        &self,
        armed: &Arc<Armed<Message, NatsAct>>,
        message: &Message,
        raw: Bytes,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Result<()> {
        let act = match (&armed.rule.act, self.direction) {
            (NatsAct::Answer(_), Direction::Up) => {
                if let Some(inbox) = &message.reply {
                    let mut awaited = self.shared.awaited.lock().unwrap_or_else(PoisonError::into_inner);
                    awaited.insert(inbox.clone(), armed.clone());
                }
                return Ok(to.write_all(&raw).await?);
            }
            (NatsAct::Answer(inner), Direction::Down) => inner.as_ref(),
            (act, _) => act,
        };
        call(armed.rule.before.as_ref(), message).await;
        let cut = self.carry_out(act, armed, raw, to).await?;
        call(armed.rule.after.as_ref(), message).await;
        armed.trigger.carried_out();
        ensure!(!cut, "cut by a rule");
        Ok(())
    }

    /// Does it; true when the connection is to be reset.
    async fn carry_out(
        &self,
        act: &NatsAct,
        armed: &Armed<Message, NatsAct>,
        raw: Bytes,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Result<bool> {
        match act {
            // An answer has no answer.
            NatsAct::Pass | NatsAct::Answer(_) => to.write_all(&raw).await?,
            NatsAct::Drop => {}
            NatsAct::Delay(time) => {
                tokio::time::sleep(*time).await;
                to.write_all(&raw).await?;
            }
            NatsAct::Hold if self.direction == Direction::Down => {
                armed.trigger.released().await;
                to.write_all(&raw).await?;
            }
            NatsAct::Hold => {
                let (trigger, port) = (armed.trigger.clone(), self.port);
                tokio::spawn(async move {
                    trigger.released().await;
                    // A server that is gone gets no late message either.
                    let _ = bring(port, &raw).await;
                });
            }
            NatsAct::Twice => {
                to.write_all(&raw).await?;
                to.write_all(&raw).await?;
            }
            NatsAct::Rewrite(change) => {
                let mut changed = raw.to_vec();
                change(&mut changed);
                to.write_all(&changed).await?;
            }
            NatsAct::CutBefore => return Ok(true),
            NatsAct::CutAfter => {
                to.write_all(&raw).await?;
                to.flush().await?;
                return Ok(true);
            }
            NatsAct::BlackHole => self.swallows.store(true, Ordering::SeqCst),
        }
        Ok(false)
    }
}

/// Publishes what was held. The answer goes to the inbox of whoever sent it, wherever it is connected.
async fn bring(port: u16, raw: &[u8]) -> Result<()> {
    let server = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut server = BufReader::new(server);
    let mut line = String::new();
    server.read_line(&mut line).await?;
    let hello =
        br#"CONNECT {"verbose":false,"pedantic":false,"headers":true,"lang":"rust","version":"1","protocol":1}"#;
    server.write_all(&[hello.as_slice(), b"\r\n", raw, b"PING\r\n"].concat()).await?;
    // The pong comes when what went before it has been taken.
    while !line.starts_with("PONG") {
        line.clear();
        if server.read_line(&mut line).await? == 0 {
            bail!("the server closed the connection");
        }
    }
    Ok(())
}
