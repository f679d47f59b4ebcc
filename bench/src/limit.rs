//! The limit: a pull consumer that acknowledges each message and does nothing. Nobody who acknowledges each message himself, through
//! the same client, is faster.

use anyhow::{Result, ensure};
use futures::StreamExt;

use crate::stream;

/// What it reads.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// NATS server
    #[arg(long)]
    nats: String,
    /// Messages to acknowledge
    #[arg(long)]
    signals: u64,
    /// Messages asked for with one request
    #[arg(long, default_value_t = 4_096)]
    batch: usize,
}

/// Acknowledges them, and waits to be ended.
pub(crate) fn run(args: &Args) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let context = stream::connect(&args.nats).await?;
        let consumer = stream::limit(&context).await?;
        let mut messages = consumer.stream().max_messages_per_batch(args.batch).messages().await?;
        let mut bytes = 0;
        for _ in 0..args.signals {
            let Some(message) = messages.next().await else { break };
            let message = message?;
            bytes += message.payload.len();
            message.ack().await.map_err(anyhow::Error::from_boxed)?;
        }
        ensure!(bytes > 0, "nothing came");
        context.client().flush().await?;
        // What it has cost is read from outside, as long as it is there.
        std::future::pending::<Result<()>>().await
    })
}
